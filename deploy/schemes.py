"""The quantization schemes of a .tflite file. No TensorFlow here."""

from __future__ import annotations

FLOAT32 = "float32"
FLOAT16 = "float16"
DYNAMIC_RANGE = "dynamic_range"
FULL_INTEGER = "full_integer"

# float32: no quantization. float16: weights stored as float16. dynamic_range: int8 weights, float32 activations.
# full_integer: int8 weights and activations, uint8 input and output.
SCHEMES = (FLOAT32, FLOAT16, DYNAMIC_RANGE, FULL_INTEGER)

# A full-integer model takes the raw pixel: byte b stands for b / 255.
INPUT_SCALE, INPUT_ZERO_POINT = 1 / 255, 0
# What the converter gives every softmax, whatever its values: byte b stands for b / 256.
OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 256, 0
