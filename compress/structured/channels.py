"""Which channels of a network depend on each other: what must go together so that an ordinary network is left.

The idea is DepGraph's (Fang et al. 2023, "Towards Any Structural Pruning"), done channel by channel: every channel of
every tensor has a label; convolutions and dense layers make new ones, additions and gates tie those of their inputs,
concatenations, slices, shuffles and flattening move them. A layer that is not known freezes all channels it touches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from compress.invariants import short_name
from compress.model_cost import KERNELS, positions_of
from compress.structured.graph import Call, calls_of
from compress.structured.labels import Labels, LabelSets
from compress.structured.rules import PRODUCERS, freezing, is_sized, rule_of


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable of a layer.

    Attributes:
      axes: the classes along each axis; None for an axis without channels.
      positions: at how many places of one image it is applied, 0 if it multiplies nothing.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[Labels | None, ...]
    positions: int


@dataclass(frozen=True, eq=False)
class LayerChannels:
    """The channels of one layer, as classes: those of each input, of the output and of its variables' axes."""

    name: str
    inputs: tuple[Labels, ...]
    output: Labels
    variables: tuple[Variable, ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a network. A class is a set of channels that go together.

    Attributes:
      layers: by name, in the order of execution.
      frozen: for each class, whether it must stay.
      producers: the convolutions and dense layers whose output channels are new ones.
      gates: the producers whose channels scale others (squeeze-excite), rather than being values of their own.
      sources: of each layer's output, the producers whose channels it holds.
    """

    layers: dict[str, LayerChannels]
    frozen: npt.NDArray[np.bool_]
    producers: tuple[str, ...]
    gates: frozenset[str]
    sources: dict[str, frozenset[str]]

    @property
    def num_classes(self) -> int:
        """How many sets of dependent channels there are."""
        return len(self.frozen)


def channels_in(model: keras.Model, excluded: Collection[str] = ()) -> Channels:
    """The channels of a functional model; layers named in `excluded` keep all they put out."""
    walk = _Walk(excluded)
    for call in calls_of(model):
        walk.visit(call)
    for tensor in tf.nest.flatten(model.output):
        walk.labels.freeze(walk.values[id(tensor)])
    return walk.result()


@dataclass(eq=False)
class _Layer:
    """What is known of a layer while the walk goes on, as labels."""

    layer: keras.layers.Layer
    inputs: tuple[Labels, ...]
    outputs: tuple[Labels, ...]
    axes: dict[str, tuple[Labels | None, ...]]
    positions: int = 0


class _Walk:
    def __init__(self, excluded: Collection[str]) -> None:
        self.labels = LabelSets()
        self.values: dict[int, Labels] = {}  # by id of the symbolic tensor
        self._excluded = excluded
        self._known: dict[str, _Layer] = {}
        self._sources: dict[int, frozenset[str]] = {}
        self._layer_sources: dict[str, frozenset[str]] = {}
        self._gates: set[str] = set()

    def visit(self, call: Call) -> None:
        """Follows the channels through one call; those of its inputs are known."""
        name = call.layer.name
        inputs = tuple(self.values[id(tensor)] for tensor in call.inputs)
        before = self._known.get(name)
        if before is not None and is_sized(call.layer):
            self._tie_uses(before, inputs)
            outputs = before.outputs
        else:
            outputs, axes = rule_of(call.layer)(self.labels, call, inputs)
            if any(short_name(variable) not in axes for variable in call.layer.weights):
                outputs, axes = freezing(self.labels, call, inputs)
            before = self._known.setdefault(name, _Layer(call.layer, inputs, outputs, axes))
        before.positions += positions_of(call)
        if name in self._excluded:
            self._freeze_all(outputs)
        for tensor, labels in zip(call.outputs, outputs, strict=True):
            self.values[id(tensor)] = labels
        self._follow_sources(call)

    def result(self) -> Channels:
        """What is known when all calls have been visited."""
        classes, frozen = self.labels.classes()
        layers = {name: _as_classes(layer, classes) for name, layer in self._known.items()}
        producers = tuple(name for name, known in self._known.items() if type(known.layer) in PRODUCERS)
        return Channels(layers, frozen, producers, frozenset(self._gates), self._layer_sources)

    def _tie_uses(self, before: _Layer, inputs: tuple[Labels, ...]) -> None:
        for one, two in zip(before.inputs, inputs, strict=True):
            if len(one) == len(two):
                self.labels.tie(one, two)
            else:
                self._freeze_all((one, two))

    def _freeze_all(self, vectors: Sequence[Labels]) -> None:
        for vector in vectors:
            self.labels.freeze(vector)

    def _follow_sources(self, call: Call) -> None:
        if type(call.layer) in PRODUCERS:
            sources = frozenset((call.layer.name,))
        else:
            sources = frozenset().union(*(self._sources[id(tensor)] for tensor in call.inputs))
        if isinstance(call.layer, keras.layers.Multiply):
            values = max(_size(tensor) for tensor in call.inputs)
            gates = [self._sources[id(tensor)] for tensor in call.inputs if _size(tensor) < values]
            self._gates.update(*gates)
            sources -= frozenset().union(*gates)
        self._layer_sources[call.layer.name] = sources
        self._sources |= dict.fromkeys(map(id, call.outputs), sources)


def _size(tensor: Any) -> int:
    return int(tensor.shape[1:].num_elements() or 0)


def _as_classes(known: _Layer, classes: Labels) -> LayerChannels:
    variables = []
    for variable in known.layer.weights:
        name, shape = short_name(variable), tuple(int(side) for side in variable.shape)
        axes = known.axes.get(name, (None,) * len(shape))
        indices = tuple(None if axis is None else classes[axis] for axis in axes)
        variables.append(Variable(name, shape, indices, known.positions if name in KERNELS else 0))
    output = classes[known.outputs[0]] if known.outputs else np.zeros(0, np.int64)
    return LayerChannels(known.layer.name, tuple(classes[vector] for vector in known.inputs), output, tuple(variables))
