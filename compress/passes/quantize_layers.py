"""Layers that take the place of others during quantization-aware training, so that the whole graph has an int8 form.

The .tflite of a layer may hold tensors inside it, which need ranges as well; those of the functions here are known
beforehand. The classes have no variables of their own and are deserialized by name.
"""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, tf

import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitConvQuantizeConfig,
)

from search.keras_layers import HARD_RANGE, PACKAGE, HardSigmoid, Swish

# LiteRT's LOGISTIC always has the scale 1/256: its largest byte stands for 255/256.
SIGMOID_MAX = 255 / 256


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedHardSigmoid(HardSigmoid):
    """A hard sigmoid as ADD with RELU6, of the range 0..6, and MUL."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        clipped = tf.quantization.fake_quant_with_min_max_args(self.clipped(inputs), 0.0, HARD_RANGE)
        return clipped * (1 / HARD_RANGE)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedSwish(Swish):
    """A swish as LOGISTIC and MUL."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        return inputs * tf.quantization.fake_quant_with_min_max_args(tf.sigmoid(inputs), 0.0, SIGMOID_MAX)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedSigmoid(keras.layers.Activation):
    """A sigmoid as LOGISTIC."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        return tf.quantization.fake_quant_with_min_max_args(super().call(inputs), 0.0, SIGMOID_MAX)


@keras.saving.register_keras_serializable(PACKAGE)
class DepthwiseBatchNormalization(keras.layers.BatchNormalization):
    """A batch normalization that follows no convolution, as a 1x1 depthwise convolution.

    Its kernel of ones is there for the converter to fold the normalization into. By itself a normalization would become
    a MUL and an ADD, with a tensor between them that has no range, and one scale for the factors of all channels.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """[batch, h, w, c] -> the same shape."""
        channels = inputs.shape[-1]
        bound = tf.ones([channels])
        ones = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            tf.ones([1, 1, 1, channels]), -bound, bound, narrow_range=True
        )
        ones = tf.reshape(ones, [1, 1, channels, 1])
        x = tf.nn.depthwise_conv2d(inputs, ones, strides=[1, 1, 1, 1], padding="VALID")
        return super().call(x, training=training)


class DepthwiseWeightsQuantizer(tfmot.quantization.keras.quantizers.LastValueQuantizer):
    """A range for each channel of a depthwise kernel [h, w, c, 1]; tfmot's has one for all of them."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: keras.layers.Layer) -> dict[str, tf.Variable]:
        """The variables of the ranges."""
        return {
            f"{end}_var": layer.add_weight(f"{name}_{end}", shape=(tensor_shape[2],), trainable=False)
            for end in ("min", "max")
        }

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        """The kernel as its int8 form represents it."""
        height, width, channels, _ = inputs.shape
        flat = tf.reshape(inputs, [height, width, 1, channels])
        return tf.reshape(super().__call__(flat, training, weights, **kwargs), inputs.shape)


@keras.saving.register_keras_serializable(PACKAGE)
class DepthwiseQuantizeConfig(Default8BitConvQuantizeConfig):
    """Quantizes a depthwise kernel channel by channel, and the output if `quantize_output`."""

    def __init__(self, weight_attrs: list[str], activation_attrs: list[str], quantize_output: bool) -> None:
        super().__init__(weight_attrs, activation_attrs, quantize_output)
        self.weight_quantizer = DepthwiseWeightsQuantizer()
