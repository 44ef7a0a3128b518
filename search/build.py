"""ArchSpec -> tf_keras model: one Keras layer per primitive layer, under the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.keras_env import keras

from core.errors import CandidateError
from search.arch import ArchSpec
from search.blocks import layers_of
from search.layers import Layer

# Keras' default momentum of 0.99 leaves the statistics of a short training far from the data's: such networks test at
# chance level.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-3


def build(arch: ArchSpec) -> keras.Model:
    """A functional model: float32 [batch, R, R, 3] in 0..1 -> logits [batch, num_classes].

    Seed with core.keras_env.reset before, for weights that can be repeated. Raises CandidateError if the spec's shapes
    do not fit.
    """
    layers = layers_of(arch)
    tensors = {layers[0].name: keras.Input(layers[0].out_shape, name=layers[0].name)}
    for layer in layers[1:]:
        inputs = [tensors[name] for name in layer.inputs]
        try:
            tensors[layer.name] = _KERAS[layer.kind](layer)(inputs[0] if len(inputs) == 1 else inputs)
        except (ValueError, MemoryError) as error:
            raise CandidateError(f"{layer.name}: cannot be built: {error}") from error
    return keras.Model(tensors[layers[0].name], tensors[layers[-1].name], name="network")


def _conv(layer: Layer) -> Any:
    return keras.layers.Conv2D(
        layer.out_shape[2],
        layer.kernel_size,
        strides=layer.stride,
        padding="same",
        use_bias=layer.use_bias,
        kernel_initializer="he_normal",
        name=layer.name,
    )


def _depthwise(layer: Layer) -> Any:
    return keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=layer.name,
    )


def _batch_norm(layer: Layer) -> Any:
    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=layer.name)


def _activation(layer: Layer) -> Any:
    # tfmot quantizes ReLU layers with a maximum, not Activation("relu6").
    if layer.activation == "relu6":
        return keras.layers.ReLU(6.0, name=layer.name)
    if layer.activation == "relu":
        return keras.layers.ReLU(name=layer.name)
    return keras.layers.Activation(layer.activation, name=layer.name)


def _global_pool(layer: Layer) -> Any:
    return keras.layers.GlobalAveragePooling2D(keepdims=layer.keepdims, name=layer.name)


_KERAS: dict[str, Callable[[Layer], Any]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "batch_norm": _batch_norm,
    "activation": _activation,
    "add": lambda layer: keras.layers.Add(name=layer.name),
    "multiply": lambda layer: keras.layers.Multiply(name=layer.name),
    "global_pool": _global_pool,
    "dense": lambda layer: keras.layers.Dense(layer.out_shape[2], name=layer.name),
}
