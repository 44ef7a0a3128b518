"""A network's latency by the rates of a target, as terms that channels multiply: what pruning for a device lowers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from core.keras_env import keras, tf

from compress.structured.channels import Channels, LayerChannels, Variable
from compress.structured.graph import Call, calls_of
from compress.structured.labels import Labels
from compress.structured.sizes import Term
from core.errors import CandidateError
from search.latency.rates import CONV, DENSE, DEPTHWISE, ELEMENTWISE, LatencyRates, kernel_kind

Layers = keras.layers
# Terms are whole numbers of these: a multiply-accumulate takes some 10,000 of them.
PER_NS = 1_000_000  # femtoseconds
PER_US = 1_000 * PER_NS
# What the converter leaves out, or makes a part of the operator before.
_FUSED = (
    Layers.BatchNormalization,
    Layers.Dropout,
    Layers.Flatten,
    Layers.GaussianDropout,
    Layers.GaussianNoise,
    Layers.InputLayer,
    Layers.ReLU,
    Layers.Reshape,
    Layers.SpatialDropout2D,
)
_FUSED_ACTIVATIONS = (keras.activations.linear, keras.activations.relu, tf.nn.relu6)


@dataclass
class _Uses:
    """Of layers by name: how often they are used, and at how many places of one image they have an operator."""

    times: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)


def latency_terms(model: keras.Model, channels: Channels, rates: LatencyRates) -> Iterator[Term]:
    """The terms of a functional model's predicted latency, in femtoseconds.

    A layer of a kind that is not known counts as elementwise. Raises CandidateError if the rates lack a kind of
    operators, or naming a layer whose size is not fixed.
    """
    yield Term("", round(rates.network_us * PER_US), ())
    uses = _uses(model)
    for name, layer in channels.layers.items():
        kernels = [variable for variable in layer.variables if variable.positions]
        for variable in kernels:
            yield from _kernel_terms(layer, variable, uses.times[name], rates)
        if not kernels and uses.places[name]:
            rate = rates.rate(ELEMENTWISE)
            yield _term(name, rate.ns_per_value * uses.places[name], (layer.output,))
            yield _term(name, rate.constant_ns * uses.times[name], ())


def _kernel_terms(layer: LayerChannels, variable: Variable, times: int, rates: LatencyRates) -> Iterator[Term]:
    """Those of the operator that a kernel is for."""
    rate = rates.rate(_kind(variable))
    pairs = list(zip(variable.shape, variable.axes, strict=True))
    # The last axis of a depthwise kernel is the outputs of each channel.
    outputs = pairs[-2:] if variable.name == "depthwise_kernel" else pairs[-1:]
    for ns, sides in ((rate.ns_per_mac, pairs), (rate.ns_per_value, outputs)):
        fixed = math.prod(side for side, axis in sides if axis is None)
        yield _term(layer.name, ns * variable.positions * fixed, tuple(axis for _, axis in sides if axis is not None))
    yield _term(layer.name, rate.constant_ns * times, ())


def _kind(variable: Variable) -> str:
    """The type of a kernel's operator, by its shape: that of a dense layer is a matrix."""
    if len(variable.shape) == 2:
        return DENSE
    depthwise = variable.name == "depthwise_kernel"
    return kernel_kind(DEPTHWISE if depthwise else CONV, max(variable.shape[:-2]))


def _term(layer: str, ns: float, axes: tuple[Labels, ...]) -> Term:
    return Term(layer, round(ns * PER_NS), axes)


def _uses(model: keras.Model) -> _Uses:
    uses = _Uses()
    for call in calls_of(model):
        uses.times[call.layer.name] += 1
        if not _is_fused(call.layer):
            uses.places[call.layer.name] += _places(call)
    return uses


def _is_fused(layer: keras.layers.Layer) -> bool:
    return type(layer) in _FUSED or (type(layer) is Layers.Activation and layer.activation in _FUSED_ACTIVATIONS)


def _places(call: Call) -> int:
    """At how many places of one image a call puts out values, or reads them where that is more (a pool does)."""
    sides = [tuple(tensor.shape[1:-1]) for tensor in (*call.inputs, *call.outputs)]
    if any(None in each for each in sides):
        raise CandidateError(
            f"layer {call.layer.name!r}: the size of its images is not fixed, so its latency is not known"
        )
    return max(map(math.prod, sides), default=0)
