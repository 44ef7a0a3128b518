"""The quantization schemes of a .tflite file. No TensorFlow here."""

from __future__ import annotations

FLOAT32 = "float32"
FLOAT16 = "float16"
DYNAMIC_RANGE = "dynamic_range"
FULL_INTEGER = "full_integer"
MIXED = "mixed"
INT8_WEIGHTS = "int8_weights"
INT4_WEIGHTS = "int4_weights"

# float32: no quantization. float16: weights stored as float16. dynamic_range: int8 weights, float32 activations that
# the runtime quantizes while it computes. int8_weights, int4_weights: int8 or int4 weights, which the runtime widens to
# float32 once; it computes in float32. full_integer: int8 weights and activations, uint8 input and output. mixed: the
# same, but for layers that need float32 to hold the accuracy.
SCHEMES = (FLOAT32, FLOAT16, DYNAMIC_RANGE, INT8_WEIGHTS, INT4_WEIGHTS, FULL_INTEGER, MIXED)
# deploy.convert makes these from a model alone; "mixed" also needs images to judge by (deploy.mixed_precision).
CONVERTIBLE = tuple(scheme for scheme in SCHEMES if scheme != MIXED)
UINT8_IMAGES = (FULL_INTEGER, MIXED)  # the schemes whose input and output are uint8
# Of no recipe: int8_weights but for the last layer, with signatures by which an app trains that (deploy.personalize).
PERSONALIZE = "personalize"

# A model of uint8 images takes the raw pixel: byte b stands for b / 255.
INPUT_SCALE, INPUT_ZERO_POINT = 1 / 255, 0
# What the converter gives every softmax, whatever its values: byte b stands for b / 256.
OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 256, 0
