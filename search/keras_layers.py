"""The primitive layers that Keras has no layer for. Plain layers without variables, so that tfmot can wrap them.

They are written as TensorFlow graphs that the TFLite converter recognises (hard swish becomes one HARD_SWISH).
"""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, tf

PACKAGE = "litesmith"
HARD_SHIFT, HARD_RANGE = 3.0, 6.0


@keras.saving.register_keras_serializable(PACKAGE)
class HardSwish(keras.layers.Layer):
    """x * relu6(x + 3) / 6 (Howard et al. 2019, arXiv:1905.02244)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        return inputs * (tf.nn.relu6(inputs + HARD_SHIFT) * (1 / HARD_RANGE))


@keras.saving.register_keras_serializable(PACKAGE)
class HardSigmoid(keras.layers.Layer):
    """relu6(x + 3) / 6 (Howard et al. 2019, arXiv:1905.02244)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        return self.clipped(inputs) * (1 / HARD_RANGE)

    def clipped(self, inputs: tf.Tensor) -> tf.Tensor:
        """The part that is between 0 and 6; the converter fuses it into a convolution before it."""
        return tf.nn.relu6(inputs + HARD_SHIFT)


@keras.saving.register_keras_serializable(PACKAGE)
class Swish(keras.layers.Layer):
    """x * sigmoid(x) (Ramachandran et al. 2017, arXiv:1710.05941)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The function of a tensor of any shape."""
        return inputs * tf.sigmoid(inputs)


@keras.saving.register_keras_serializable(PACKAGE)
class ChannelSlice(keras.layers.Layer):
    """Channels `begin` to `begin + size` of [batch, h, w, c]."""

    def __init__(self, begin: int, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.begin, self.size = begin, size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[batch, h, w, c] -> [batch, h, w, size]."""
        return inputs[..., self.begin : self.begin + self.size]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "begin": self.begin, "size": self.size}


@keras.saving.register_keras_serializable(PACKAGE)
class ChannelShuffle(keras.layers.Layer):
    """Channels [groups, n] transposed to [n, groups] (Zhang et al. 2018, arXiv:1707.01083)."""

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[batch, h, w, c] -> the same shape."""
        _, height, width, channels = inputs.shape
        parts = tf.reshape(inputs, [-1, height, width, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(parts, [0, 1, 2, 4, 3]), [-1, height, width, channels])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "groups": self.groups}
