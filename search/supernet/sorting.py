"""Channels in the order of their importance, so that a narrow sub-network begins with the best ones.

Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.3) sorts before width shrinks: sub-networks use the leading
channels, and those should be the ones that the trained network leans on most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search.arch import ArchSpec
from search.space import SearchSpace
from search.supernet.layout import Layout
from search.supernet.network import ElasticNetwork
from search.supernet.parts import Branch
from search.supernet.phases import Phase, narrowest

_READERS = ("kernel", "dense")  # weights whose last axis but one takes the channels of what they read
Floats = NDArray[np.floating]
Setting = Mapping[str, int]


def sort_channels(network: ElasticNetwork, trained: Sequence[ArchSpec] = ()) -> None:
    """Puts channels in the order of falling importance.

    A channel's importance is the L1 norm of the weights that read it. Hidden channels of a block, squeeze-excite, head
    and stem each have their own order; tensors that are added have one together. Everything that makes or reads the
    channels is permuted alike.

    Args:
      trained: the narrowest networks so far; what all of them have is sorted, so that neither their outputs change nor
        those of wider networks. By default the largest network.

    A network must be recalibrated before it is judged again.
    """
    layout = network.layout
    values = {name: variable.numpy() for name, variable in network.weights.items()}
    orders = channel_orders(layout, values, trained or (layout.largest,))
    variables = network.weights | network.statistics
    for spec in (*layout.weights, *layout.statistics):
        found = variables[spec.name].numpy()
        for axis, stream in enumerate(spec.streams):
            found = np.take(found, orders[stream], axis) if stream in orders else found
        variables[spec.name].assign(found)
    network.forget_statistics()


def narrowed(space: SearchSpace, phase: Phase) -> list[ArchSpec]:
    """The narrowest networks of a phase, for `sort_channels` after it."""
    return [space.decode(genotype) for genotype in narrowest(space, phase)]


def channel_orders(
    layout: Layout, values: Mapping[str, Floats], trained: Sequence[ArchSpec]
) -> dict[str, NDArray[np.int64]]:
    """For each stream of channels the old places of its channels in their new order."""
    settings = [dict(zip(layout.slots, layout.setting(arch).tolist(), strict=True)) for arch in trained]
    importance = _importance(layout, values)
    floors = _floors(layout, settings)
    orders: dict[str, NDArray[np.int64]] = {}
    for group in _groups(layout, settings, floors, importance):
        count = min(floors[stream] for stream in group)
        scores = np.sum([importance[stream][:count] for stream in group], axis=0)
        best_first = np.argsort(-scores, kind="stable")
        orders |= {stream: np.concatenate([best_first, np.arange(count, len(importance[stream]))]) for stream in group}
    return orders


def _importance(layout: Layout, values: Mapping[str, Floats]) -> dict[str, Floats]:
    """The L1 norm of what reads each channel, for the streams that some weight makes and another one reads."""
    found: dict[str, Floats] = {}
    kernels = [spec for spec in layout.weights if spec.kind in _READERS]
    made = {spec.streams[-1] for spec in kernels}
    for spec in kernels:
        axis = len(spec.shape) - 2
        if spec.streams[axis] in made:
            others = tuple(other for other in range(len(spec.shape)) if other != axis)
            norms = np.abs(values[spec.name]).sum(axis=others, dtype=np.float64)
            found[spec.streams[axis]] = found.get(spec.streams[axis], 0.0) + norms
    return found


def _floors(layout: Layout, settings: Sequence[Setting]) -> dict[str, int]:
    """How many leading channels of each stream all networks have that have some of it."""
    floors: dict[str, int] = {}
    for spec in layout.weights:
        for stream, slot, size in zip(spec.streams, spec.axes, spec.shape, strict=True):
            used = [setting[slot] for setting in settings if setting[slot]] if slot else []
            floors[stream] = min([*used, floors.get(stream, size)])
    return floors


def _groups(
    layout: Layout, settings: Sequence[Setting], floors: Mapping[str, int], importance: Mapping[str, Floats]
) -> list[list[str]]:
    """The streams, together those whose leading channels meet in some trained network.

    Hidden channels are the block's inputs ("fused": its outputs) where they have no convolution of their own; and the
    channels of two stages are added where they happen to be as many.
    """
    group_of = {stream: [stream] for stream in importance}

    def join(a: str, b: str) -> None:
        if group_of[a] is not group_of[b]:
            group_of[a] += group_of[b]
            group_of.update(dict.fromkeys(group_of[b], group_of[a]))

    for branch in (branch for branches in layout.branches for branch in branches):
        if branch.own_width and any(_is_narrow(branch, setting) for setting in settings):
            other = branch.outputs if branch.op == "fused" else branch.inputs
            join(branch.hidden.stream, other.stream)
        a, b = branch.inputs, branch.outputs
        if branch.add is not None and max(floors[a.stream], floors[b.stream]) <= min(a.size, b.size):
            join(a.stream, b.stream)
    return list({id(group): group for group in group_of.values()}.values())


def _is_narrow(branch: Branch, setting: Setting) -> bool:
    """Whether a network has the block without the convolution that makes its hidden channels."""
    is_there = not branch.active or setting[branch.active] == 1
    return is_there and setting[branch.own_width or ""] == 0
