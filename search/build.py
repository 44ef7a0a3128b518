"""ArchSpec -> tf_keras model: one Keras layer per primitive layer, under the same name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from core.keras_env import keras

from core.errors import CandidateError
from search.arch import ArchSpec
from search.keras_layers import ChannelShuffle, ChannelSlice, HardSigmoid, HardSwish, Swish
from search.layers import Layer
from search.lowering import layers_of

# Keras' default momentum of 0.99 leaves the statistics of a short training far from the data's: such networks test at
# chance level.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-3


def build(arch: ArchSpec, *, batch_norm: bool = True) -> keras.Model:
    """A functional model: float32 [batch, R, R, 3] in 0..1 -> logits [batch, num_classes].

    With `batch_norm` False, convolutions have a bias instead of the normalization, as after folding. Seed with
    core.keras_env.reset before, for weights that can be repeated. Raises CandidateError if the shapes do not fit.
    """
    layers = layers_of(arch if batch_norm else dataclasses.replace(arch, norm="bias"))
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
        padding=layer.padding,
        use_bias=layer.use_bias,
        kernel_initializer="he_normal",
        name=layer.name,
    )


def _depthwise(layer: Layer) -> Any:
    return keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.stride,
        padding=layer.padding,
        use_bias=layer.use_bias,
        depthwise_initializer="he_normal",
        name=layer.name,
    )


def _batch_norm(layer: Layer) -> Any:
    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=layer.name)


# tfmot quantizes ReLU layers with a maximum, not Activation("relu6").
_ACTIVATIONS: dict[str, Callable[[str], Any]] = {
    "relu6": lambda name: keras.layers.ReLU(6.0, name=name),
    "relu": lambda name: keras.layers.ReLU(name=name),
    "sigmoid": lambda name: keras.layers.Activation("sigmoid", name=name),
    "hard_sigmoid": lambda name: HardSigmoid(name=name),
    "hswish": lambda name: HardSwish(name=name),
    "swish": lambda name: Swish(name=name),
}


def _pool(layer: Layer, kind: Any) -> Any:
    return kind(layer.kernel_size, strides=layer.stride, padding=layer.padding, name=layer.name)


def _global_pool(layer: Layer) -> Any:
    return keras.layers.GlobalAveragePooling2D(keepdims=layer.keepdims, name=layer.name)


_KERAS: dict[str, Callable[[Layer], Any]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "dense": lambda layer: keras.layers.Dense(layer.out_shape[2], name=layer.name),
    "batch_norm": _batch_norm,
    "activation": lambda layer: _ACTIVATIONS[layer.activation](layer.name),
    "add": lambda layer: keras.layers.Add(name=layer.name),
    "multiply": lambda layer: keras.layers.Multiply(name=layer.name),
    "concat": lambda layer: keras.layers.Concatenate(name=layer.name),
    "slice": lambda layer: ChannelSlice(layer.begin, layer.out_shape[2], name=layer.name),
    "shuffle": lambda layer: ChannelShuffle(layer.groups, name=layer.name),
    "pad": lambda layer: keras.layers.ZeroPadding2D(layer.pixels, name=layer.name),
    "max_pool": lambda layer: _pool(layer, keras.layers.MaxPooling2D),
    "avg_pool": lambda layer: _pool(layer, keras.layers.AveragePooling2D),
    "global_pool": _global_pool,
    "flatten": lambda layer: keras.layers.Flatten(name=layer.name),
}
