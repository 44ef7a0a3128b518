"""Residual blocks that can go whole: branches from a tensor back to an addition with that same tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

from compress.rewrite import Use
from compress.structured.channels import Channels
from compress.structured.graph import Call, calls_of


@dataclass(frozen=True, slots=True)
class ResidualBlock:
    """An addition of a tensor and of what a branch makes of it.

    Attributes:
      add, source: the uses of layers that put out the sum and the tensor: what reads the first may read the second.
      layers: of the branch, without the addition.
      ends, begins: the producers of the channels that are added, in the branch and in the tensor.
      after: the use of an activation that follows the addition and does nothing to the source, which had it already.
    """

    add: Use
    source: Use
    layers: tuple[str, ...]
    ends: frozenset[str]
    begins: frozenset[str]
    after: Use | None


def residual_blocks(
    model: keras.Model, channels: Channels, excluded: Collection[str] = ()
) -> tuple[ResidualBlock, ...]:
    """The blocks of a network, in its order; without those that hold a layer named in `excluded`."""
    graph = _Graph(list(calls_of(model)))
    blocks = []
    for call in graph.calls:
        if type(call.layer) is keras.layers.Add and len(call.inputs) == 2 and len(call.layer.inbound_nodes) == 1:
            for source, end in (call.inputs, call.inputs[::-1]):
                branch = graph.branch(id(source), id(end))
                names = tuple(dict.fromkeys(each.layer.name for each in branch))
                if branch and graph.is_private(branch, call) and not any(name in excluded for name in names):
                    blocks.append(_block(graph, call, source, end, names, channels))
                    break
    return tuple(blocks)


def _block(
    graph: _Graph, call: Call, source: Any, end: Any, names: tuple[str, ...], channels: Channels
) -> ResidualBlock:
    before, last = graph.makers[id(source)], graph.makers[id(end)]
    return ResidualBlock(
        add=(call.layer.name, call.use),
        source=(before.layer.name, before.use),
        layers=names,
        ends=channels.sources[last.layer.name],
        begins=channels.sources[before.layer.name],
        after=graph.repeated_activation(before, call),
    )


class _Graph:
    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.makers: Mapping[int, Call] = {id(tensor): call for call in calls for tensor in call.outputs}
        self._readers: dict[int, list[Call]] = {}
        for call in calls:
            for tensor in call.inputs:
                self._readers.setdefault(id(tensor), []).append(call)

    def branch(self, source: int, end: int) -> list[Call]:
        """The calls that make `end` of `source` alone; none if they need anything else."""
        found: set[int] = set()
        waiting = [end]
        while waiting:
            tensor = waiting.pop()
            call = self.makers[tensor]
            if tensor == source or id(call.node) in found:
                continue
            if not call.inputs:  # an input of the network
                return []
            found.add(id(call.node))
            waiting += map(id, call.inputs)
        return [call for call in self.calls if id(call.node) in found]

    def is_private(self, branch: list[Call], add: Call) -> bool:
        """Whether nothing but the addition reads the branch, and its layers have no other use."""
        nodes = {id(call.node) for call in (*branch, add)}
        readers = [reader for call in branch for tensor in call.outputs for reader in self._readers.get(id(tensor), ())]
        inside = all(id(reader.node) in nodes for reader in readers)
        return inside and all(len(call.layer.inbound_nodes) == 1 for call in branch)

    def repeated_activation(self, source: Call, add: Call) -> Use | None:
        """A ReLU after the addition, if the source comes from one of the same settings."""
        readers = self._readers.get(id(add.outputs[0]), [])
        if len(readers) != 1 or not _is_relu(readers[0].layer) or not _is_relu(source.layer):
            return None
        one, other = ({**each.layer.get_config(), "name": ""} for each in (readers[0], source))
        return (readers[0].layer.name, readers[0].use) if one == other else None


def _is_relu(layer: keras.layers.Layer) -> bool:
    """Whether a layer changes nothing in what it has put out before."""
    if type(layer) is keras.layers.ReLU:
        return not float(layer.negative_slope)
    return type(layer) is keras.layers.Activation and layer.activation in (keras.activations.relu, tf.nn.relu6)
