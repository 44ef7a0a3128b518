"""The layers that are taken over from files, and which of their settings say what they compute. No TensorFlow here.

Everything else in a configuration is dropped (initializers, regularizers, constraints, seeds, data types: the weights
come from the file, and fine-tuning has its own weight decay) or, if it may change the outputs, refused.
"""

from __future__ import annotations

from typing import Any

_CONV = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "use_bias")
_DEPTHWISE = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier", "use_bias")
_POOL = ("pool_size", "strides", "padding")
FIELDS: dict[str, tuple[str, ...]] = {
    "Activation": (),
    "Add": (),
    "Attention": ("use_scale", "dropout", "score_mode"),
    "Average": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "CenterCrop": ("height", "width"),
    "Concatenate": ("axis",),
    "Conv1D": (*_CONV, "groups"),
    "Conv2D": (*_CONV, "groups"),
    "Conv2DTranspose": (*_CONV, "output_padding"),
    "Cropping2D": ("cropping",),
    "Dense": ("units", "use_bias"),
    "DepthwiseConv2D": _DEPTHWISE,
    "Dot": ("axes", "normalize"),
    "Dropout": ("rate",),
    "ELU": ("alpha",),
    "Embedding": ("input_dim", "output_dim"),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "GroupNormalization": ("groups", "axis", "epsilon", "center", "scale"),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "LeakyReLU": ("alpha",),
    "MaxPooling2D": _POOL,
    "Maximum": (),
    "Minimum": (),
    "MultiHeadAttention": (
        "num_heads",
        "key_dim",
        "value_dim",
        "dropout",
        "use_bias",
        "output_shape",
        "attention_axes",
    ),
    "Multiply": (),
    "Normalization": ("axis", "mean", "variance"),
    "PReLU": ("shared_axes",),
    "Permute": ("dims",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "Resizing": ("height", "width", "interpolation", "crop_to_aspect_ratio"),
    "SeparableConv2D": (*_DEPTHWISE, "filters"),
    "Softmax": ("axis",),
    "Subtract": (),
    "ThresholdedReLU": ("theta",),
    "UnitNormalization": ("axis",),
    "UpSampling2D": ("size", "interpolation"),
    "ZeroPadding2D": ("padding",),
}
WITH_ACTIVATION = ("Activation", "Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D")
# These change images and values in training only: fine-tuning has its own augmentation.
ABSENT_IN_INFERENCE = frozenset(
    (
        *("ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomHeight", "RandomRotation", "RandomTranslation"),
        *("RandomWidth", "RandomZoom", "SpatialDropout2D"),
    )
)
# What tf_keras wants to find in a configuration; the shapes are known when the layer is called.
REQUIRED: dict[str, dict[str, Any]] = {
    "MultiHeadAttention": {"query_shape": None, "key_shape": None, "value_shape": None}
}
# By Keras 3's name where it differs from Keras 2's: an activation, or the name of a field.
RENAMED_FIELDS = {("LeakyReLU", "negative_slope"): "alpha"}
# Functions of one tensor that tf_keras has under the same name and definition.
ACTIVATIONS = frozenset(
    (
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish", "exponential"),
        *("sigmoid", "tanh", "softmax", "softplus", "softsign"),
    )
)
# Keras 3 has another hard sigmoid than Keras 2 (relu6(x + 3) / 6 against 0.2 x + 0.5, clipped).
HARD_SIGMOID, HARD_SWISH, HARD_SIGMOID_2 = "litesmith_hard_sigmoid", "litesmith_hard_swish", "hard_sigmoid"
ACTIVATIONS_OF: dict[int, dict[str, str]] = {
    2: {HARD_SIGMOID_2: HARD_SIGMOID_2},
    3: {"hard_sigmoid": HARD_SIGMOID, "hard_silu": HARD_SWISH, "hard_swish": HARD_SWISH},
}
# What Keras writes for arithmetic on tensors ("TFOpLambda" in Keras 2, operations in Keras 3).
ARITHMETIC = {
    **{f"{prefix}{name}": name for prefix in ("math.", "__operators__.") for name in ("add", "subtract", "multiply")},
    **{f"{prefix}{name}": "divide" for prefix in ("math.", "__operators__.") for name in ("truediv", "divide")},
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Divide": "divide",
    "TrueDivide": "divide",
}
# Functions of one tensor, by TensorFlow's name (Keras 2) and by Keras 3's operation.
FUNCTIONS = {
    **{f"nn.{name}": name for name in ("relu", "relu6", "elu", "selu", "gelu", "softplus", "softmax", "silu", "swish")},
    **{f"{prefix}.{name}": name for prefix in ("math", "nn") for name in ("sigmoid", "tanh")},
    "Elu": "elu",
    "HardSigmoid": HARD_SIGMOID,
    "HardSilu": HARD_SWISH,
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
NEUTRAL = {("Elu", "alpha"): 1.0}  # settings of these operations that leave the function what its name says
FUNCTION_ARGUMENTS = ("name", "x", "features", "logits")
MODEL_CLASSES = ("Functional", "Model", "Sequential")

# Settings of training and bookkeeping: no effect on the outputs of a trained float32 network.
_IGNORED = frozenset(
    (
        *("name", "trainable", "seed", "noise_shape", "autocast", "batch_input_shape", "input_length", "activation"),
        *("renorm_momentum", "mask_zero", "flash_attention", "query_shape", "key_shape", "value_shape", "lora_alpha"),
        *("fill_mode", "fill_value"),
    )
)
_IGNORED_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def changes_outputs(key: str, value: Any) -> bool:
    """Whether a setting that is not in FIELDS may change what the layer computes."""
    if key == "data_format":
        return value not in (None, "channels_last")
    if key == "dtype":
        return not _is_float(value)
    if key == "groups":
        return value not in (None, 1)
    return not (key in _IGNORED or key.endswith(_IGNORED_ENDINGS) or value in (None, False, [], {}))


def _is_float(dtype: Any) -> bool:
    """Whether a data type or policy is one of plain floating point; weights and outputs become float32 then."""
    if isinstance(dtype, dict):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, dict) else None
    return dtype is None or str(dtype).removeprefix("mixed_") in _FLOATS
