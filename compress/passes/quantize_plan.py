"""Which tensors of a network have a range of their own in int8: what the .tflite converter will make of each layer."""

from __future__ import annotations

from dataclasses import dataclass

from core.keras_env import keras

from core.errors import CandidateError
from search.keras_layers import ChannelShuffle, ChannelSlice, HardSigmoid, HardSwish, Swish

Layers = keras.layers
WITH_KERNEL = (Layers.Conv2D, Layers.DepthwiseConv2D, Layers.Dense)
NORMS = (Layers.BatchNormalization,)
# These move values or choose among them (LiteRT's average too keeps the scale): their tensors share one range.
PASSING = (
    ChannelShuffle,
    ChannelSlice,
    Layers.AveragePooling2D,
    Layers.Concatenate,
    Layers.Dropout,
    Layers.Flatten,
    Layers.MaxPooling2D,
    Layers.Permute,
    Layers.Reshape,
    Layers.ZeroPadding2D,
)
COMPUTING = (
    HardSigmoid,
    HardSwish,
    Swish,
    Layers.Activation,
    Layers.Add,
    Layers.GlobalAveragePooling2D,
    Layers.Multiply,
    Layers.ReLU,
    Layers.Rescaling,
)
ACTIVATIONS = (keras.activations.linear, keras.activations.relu, keras.activations.sigmoid)
SUPPORTED = (Layers.InputLayer, *WITH_KERNEL, *NORMS, *PASSING, *COMPUTING)


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """Layers by name.

    Attributes:
      ranges: those whose output has a range of its own; all others are fused into the next layer or pass values on.
      shared: groups of `ranges` that must be equal, because their values are concatenated.
      lone_norms: batch normalizations that no convolution can take in.
    """

    ranges: frozenset[str]
    shared: tuple[tuple[str, ...], ...]
    lone_norms: frozenset[str]


def plan_of(model: keras.Model) -> QuantizePlan:
    """The plan of a functional model, each of whose layers is used once.

    Raises CandidateError naming a layer that has no integer form.
    """
    consumers: dict[str, list[keras.layers.Layer]] = {_checked(layer).name: [] for layer in model.layers}
    for layer in model.layers:
        for before in inputs_of(layer):
            consumers[before.name].append(layer)
    fused = {layer.name for layer in model.layers if _is_fused(layer, consumers[layer.name])}
    lone = {layer.name for layer in model.layers if type(layer) in NORMS and inputs_of(layer)[0].name not in fused}
    ranges: set[str] = set()
    source: dict[str, str] = {}  # of each layer's values: a layer with a range, or the input
    groups: dict[str, frozenset[str]] = {}  # by source
    for layer in model.layers:
        sources = [source[before.name] for before in inputs_of(layer)]
        if type(layer) in PASSING and not _joins_fixed_range(sources, ranges):
            source[layer.name] = sources[0]
            merged = frozenset().union(*(groups[name] for name in sources))
            groups |= dict.fromkeys(merged, merged)
        else:
            source[layer.name] = layer.name
            groups[layer.name] = frozenset((layer.name,))
            if type(layer) is not Layers.InputLayer and layer.name not in fused:
                ranges.add(layer.name)
    shared = {tuple(sorted(group)) for group in groups.values() if len(group) > 1}
    return QuantizePlan(frozenset(ranges), tuple(sorted(shared)), frozenset(lone))


def inputs_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers whose outputs a layer reads."""
    before = layer.inbound_nodes[0].inbound_layers
    return list(before) if isinstance(before, (list, tuple)) else [before]


def _checked(layer: keras.layers.Layer) -> keras.layers.Layer:
    has_form = type(layer) is not Layers.Activation or layer.activation in ACTIVATIONS
    if type(layer) not in SUPPORTED or len(layer.inbound_nodes) != 1 or not has_form:
        raise CandidateError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be trained quantization-aware; use ptq instead"
        )
    return layer


def _is_fused(layer: keras.layers.Layer, consumers: list[keras.layers.Layer]) -> bool:
    """Whether the converter makes one operator of a layer and its only consumer."""
    if len(consumers) != 1:
        return False
    consumer = type(consumers[0])
    if type(layer) in (*WITH_KERNEL, *NORMS):  # a normalization is folded, as is the constant in a hard sigmoid
        return consumer in (*NORMS, Layers.ReLU, HardSigmoid)
    return type(layer) is Layers.Add and consumer is Layers.ReLU


def _joins_fixed_range(sources: list[str], ranges: set[str]) -> bool:
    """Whether values are concatenated with the image's, whose range is always 0..1."""
    return len(sources) > 1 and not ranges.issuperset(sources)
