"""A part of a network as a function of its input and of one flat vector of weights.

Where one of several parts is to be executed, chosen by a tensor, all of them must take the same arguments: an image,
one row of a matrix of weights, and one of a matrix of statistics. Layers without weights are those that search.build
makes; the others are the same operations with weights cut out of the row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
from numpy.typing import NDArray

from search.build import BATCH_NORM_EPSILON
from search.layers import Layer
from search.supernet.places import Branch, Place

Moments = list[tuple[Any, Any]]  # mean and variance [channels] of each batch normalization
WITH_WEIGHTS = ("conv", "depthwise", "dense", "batch_norm")


@dataclass(frozen=True, slots=True)
class Part:
    """Where a row holds one weight of a layer: `shape` from `begin` on."""

    layer: str
    shape: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


class Segment:
    """The layers of a branch.

    Attributes:
      size: how many values of a row of weights it reads, from the first on.
      channels: how many of a row of statistics: the channels of all its batch normalizations.
    """

    def __init__(self, place: Place, branch: Branch, network: keras.Model) -> None:
        """`network` is a model of search.build that has the branch; its other layers are not touched."""
        self._branch = branch
        self._parts: dict[str, list[Part]] = {}
        self._plain: dict[str, Any] = {}
        self._channels: dict[str, slice] = {}
        self.size = self.channels = 0
        for layer in branch.layers:
            made = network.get_layer(place.layer_name(layer.name))
            if layer.kind in WITH_WEIGHTS:
                self._add_weights(layer, made)
            else:
                self._plain[layer.name] = made.__class__.from_config(made.get_config())

    def _add_weights(self, layer: Layer, made: Any) -> None:
        parts = []
        for variable in made.trainable_variables:
            parts.append(Part(layer.name, tuple(variable.shape), self.size))
            self.size += parts[-1].size
        self._parts[layer.name] = parts
        if layer.kind == "batch_norm":
            channels = layer.out_shape[2]
            self._channels[layer.name] = slice(self.channels, self.channels + channels)
            self.channels += channels

    def row(self, place: Place, network: keras.Model) -> NDArray[np.float32]:
        """The weights of a built network as a row [size]."""
        values = [
            variable.numpy().ravel()
            for name in self._parts
            for variable in network.get_layer(place.layer_name(name)).trainable_variables
        ]
        return np.concatenate(values) if values else np.zeros(0, np.float32)

    def layer_weights(
        self, row: NDArray[np.float32], statistics: NDArray[np.float32]
    ) -> Mapping[str, list[NDArray[np.float32]]]:
        """What Keras' `set_weights` takes of each layer with weights, by relative name; statistics [2, channels]."""
        found = {}
        for name, parts in self._parts.items():
            values = [row[part.begin : part.begin + part.size].reshape(part.shape) for part in parts]
            if name in self._channels:
                values += list(statistics[:, self._channels[name]])
            found[name] = values
        return found

    def run(self, inputs: tf.Tensor, row: tf.Tensor, statistics: tf.Tensor | None) -> tuple[tf.Tensor, Moments]:
        """The output, and the moments of each batch normalization in order.

        With `statistics` [2, channels or more] (means, variances) these normalize; with None the batch's own do.
        """
        tensors: dict[str, Any] = {"": inputs}
        weights = self._weights(row)
        moments: Moments = []
        for layer in self._branch.layers:
            x = [tensors[name] for name in layer.inputs]
            if layer.kind not in WITH_WEIGHTS:
                tensors[layer.name] = self._plain[layer.name](x[0] if len(x) == 1 else x)
                continue
            if layer.kind == "batch_norm":
                given = None if statistics is None else statistics[:, self._channels[layer.name]]
                tensors[layer.name], mean, variance = _normalized(x[0], weights[layer.name], given)
                moments.append((mean, variance))
            else:
                tensors[layer.name] = _OPERATIONS[layer.kind](layer, x[0], weights[layer.name])
        return tensors[self._branch.output], moments

    def _weights(self, row: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        """The weights of each layer. One split: its gradient is one concatenation."""
        sizes = [part.size for parts in self._parts.values() for part in parts]
        cut = iter(tf.split(row, [*sizes, row.shape[0] - self.size]))
        return {name: [tf.reshape(next(cut), part.shape) for part in parts] for name, parts in self._parts.items()}


def packed(moments: Moments, channels: int) -> tf.Tensor:
    """Means and variances [2, channels] of all batch normalizations in a row, filled up with zeros."""
    if not moments:
        return tf.zeros([2, channels])
    rows = tf.stack([tf.concat(values, 0) for values in zip(*moments, strict=True)])
    return tf.pad(rows, [[0, 0], [0, channels - rows.shape[1]]])


def _normalized(x: tf.Tensor, weights: list[tf.Tensor], given: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
    mean, variance = ([], []) if given is None else (given[0], given[1])
    outputs: tuple[tf.Tensor, ...] = tf.compat.v1.nn.fused_batch_norm(
        x, *weights, mean, variance, epsilon=BATCH_NORM_EPSILON, is_training=given is None
    )
    return outputs


def _conv(layer: Layer, x: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
    return _biased(tf.nn.conv2d(x, weights[0], layer.stride, layer.padding.upper()), weights)


def _depthwise(layer: Layer, x: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
    strides = [1, layer.stride, layer.stride, 1]
    return _biased(tf.nn.depthwise_conv2d(x, weights[0], strides, layer.padding.upper()), weights)


def _dense(layer: Layer, x: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
    return _biased(tf.matmul(x, weights[0]), weights)


def _biased(x: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
    return tf.nn.bias_add(x, weights[1]) if len(weights) > 1 else x


_OPERATIONS = {"conv": _conv, "depthwise": _depthwise, "dense": _dense}
