"""What each kind of layer does to channels: one rule for each, in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.keras_env import keras

import numpy as np

from compress.structured.graph import Call, channels_of
from compress.structured.labels import Labels, LabelSets
from search.keras_layers import ChannelShuffle, ChannelSlice, HardSigmoid, HardSwish, Swish

Layers = keras.layers
Inputs = tuple[Labels, ...]
Axes = dict[str, tuple[Labels | None, ...]]
# The labels of the outputs, and of the axes of the layer's variables by their short names.
Rule = tuple[tuple[Labels, ...], Axes]
RuleFunction = Callable[[LabelSets, Call, Inputs], Rule]

PRODUCERS = (Layers.Conv1D, Layers.Conv2D, Layers.SeparableConv2D, Layers.Dense)
# Functions that mix channels, so that none can go.
MIXING = ("softmax", "log_softmax")


def rule_of(layer: keras.layers.Layer) -> RuleFunction:
    """The rule of a layer; `freezing` if there is none for its kind or its settings."""
    odd = (
        getattr(layer, "data_format", "channels_last") == "channels_first"
        or getattr(getattr(layer, "activation", None), "__name__", "") in MIXING
        or (isinstance(layer, Layers.Rescaling) and np.ndim(layer.scale) + np.ndim(layer.offset) > 0)
    )
    return freezing if odd else _RULES.get(type(layer), freezing)


def is_sized(layer: keras.layers.Layer) -> bool:
    """Whether all uses of a layer must have the same channels: it has variables or a number of channels."""
    return bool(layer.weights) or type(layer) in (ChannelSlice, Layers.Reshape)


def freezing(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """The rule for a layer of which nothing is known: whatever it reads and puts out stays."""
    for vector in inputs:
        labels.freeze(vector)
    return _input(labels, call, inputs)


def _input(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    return tuple(labels.frozen(channels_of(tensor)) for tensor in call.outputs), {}


def _passing(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """One value of each channel from values of that channel alone."""
    return inputs, {}


def _normalization(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    axis = call.layer.axis
    last = len(call.inputs[0].shape) - 1
    if list(axis if isinstance(axis, (list, tuple)) else [axis]) not in ([last], [-1]):
        return freezing(labels, call, inputs)
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return inputs, dict.fromkeys(names, (inputs[0],))


def _prelu(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    rank = len(call.layer.weights[0].shape)
    if call.layer.weights[0].shape[-1] != len(inputs[0]):  # one slope for all channels
        return inputs, {}
    return inputs, {"alpha": (*[None] * (rank - 1), inputs[0])}


def _convolution(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """A grouped one keeps the same places of all its groups, because one kernel holds them side by side."""
    layer = call.layer
    out, rows = labels.fresh(layer.filters), inputs[0]
    if layer.groups > 1:
        labels.tie(*inputs[0].reshape(layer.groups, -1))
        labels.tie(*out.reshape(layer.groups, -1))
        rows = rows[: len(rows) // layer.groups]
    return (out,), {"kernel": (*[None] * len(layer.kernel_size), rows, out), "bias": (out,)}


def _depthwise(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    out = np.repeat(inputs[0], call.layer.depth_multiplier)
    return (out,), {"depthwise_kernel": (None, None, inputs[0], None), "bias": (out,)}


def _separable(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    out, rows = labels.fresh(call.layer.filters), np.repeat(inputs[0], call.layer.depth_multiplier)
    return (out,), {
        "depthwise_kernel": (None, None, inputs[0], None),
        "pointwise_kernel": (None, None, rows, out),
        "bias": (out,),
    }


def _dense(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    out = labels.fresh(call.layer.units)
    return (out,), {"kernel": (inputs[0], out), "bias": (out,)}


def _elementwise(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """Channels at the same place go together; an input of one channel is broadcast over the others', and stays."""
    widest = max(inputs, key=len)
    for vector in inputs:
        if len(vector) == len(widest):
            labels.tie(widest, vector)
        else:
            labels.freeze(vector)
    return (widest,), {}


def _concatenation(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    rank = len(call.outputs[0].shape)
    if call.layer.axis % rank == rank - 1:
        return (np.concatenate(inputs),), {}
    labels.tie(*inputs)
    return inputs[:1], {}


def _flattening(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    return (_at_places(inputs[0], channels_of(call.outputs[0])),), {}


def _reshaping(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """Legal are the same last axis, flattening, and its inverse: then the rows in memory are the channels."""
    before, after = len(inputs[0]), channels_of(call.outputs[0])
    if after == before:
        return inputs, {}
    if before and after and len(call.outputs[0].shape) == 2:
        return _flattening(labels, call, inputs)
    if before and after and len(call.inputs[0].shape) == 2 and before % after == 0:
        places = inputs[0].reshape(-1, after)
        labels.tie(*places)
        return (places[0],), {}
    return freezing(labels, call, inputs)


def _slice(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    return (inputs[0][call.layer.begin : call.layer.begin + call.layer.size],), {}


def _shuffle(labels: LabelSets, call: Call, inputs: Inputs) -> Rule:
    """[groups, n] -> [n, groups]: it stays one as long as all groups keep the same places."""
    groups = inputs[0].reshape(call.layer.groups, -1)
    labels.tie(*groups)
    return (groups.T.reshape(-1),), {}


def _at_places(labels: Labels, total: int) -> Labels:
    return np.tile(labels, total // len(labels)) if len(labels) else labels


_RULES: dict[Any, RuleFunction] = {
    Layers.InputLayer: _input,
    **dict.fromkeys((Layers.Conv1D, Layers.Conv2D), _convolution),
    Layers.DepthwiseConv2D: _depthwise,
    Layers.SeparableConv2D: _separable,
    Layers.Dense: _dense,
    Layers.BatchNormalization: _normalization,
    Layers.PReLU: _prelu,
    Layers.Concatenate: _concatenation,
    Layers.Flatten: _flattening,
    Layers.Reshape: _reshaping,
    ChannelSlice: _slice,
    ChannelShuffle: _shuffle,
    **dict.fromkeys(
        (Layers.Add, Layers.Average, Layers.Maximum, Layers.Minimum, Layers.Multiply, Layers.Subtract), _elementwise
    ),
    **dict.fromkeys(
        (
            HardSigmoid,
            HardSwish,
            Swish,
            Layers.Activation,
            Layers.AveragePooling1D,
            Layers.AveragePooling2D,
            Layers.Cropping2D,
            Layers.Dropout,
            Layers.ELU,
            Layers.GaussianDropout,
            Layers.GaussianNoise,
            Layers.GlobalAveragePooling1D,
            Layers.GlobalAveragePooling2D,
            Layers.GlobalMaxPooling2D,
            Layers.LeakyReLU,
            Layers.MaxPooling1D,
            Layers.MaxPooling2D,
            Layers.ReLU,
            Layers.Rescaling,
            Layers.SpatialDropout2D,
            Layers.ThresholdedReLU,
            Layers.UpSampling2D,
            Layers.ZeroPadding2D,
        ),
        _passing,
    ),
}
