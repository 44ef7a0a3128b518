"""Which weights a supernet has, and what of them each of its networks takes. No TensorFlow here.

Every network of a space is described to the supernet by one vector of whole numbers, its *setting*: how many channels
each tensor has, which kernel sizes, operators and activations are taken, and what is there at all. As the setting is a
tensor to the supernet's graph, one graph serves all networks.

Names: a weight of Keras layer "s1_b0_expand_conv" of a block of operator "ir" is "s1_b0/ir/expand_conv/kernel"; outside
blocks it is as the layer's: "head_conv/kernel".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import bad_value
from search.arch import ArchSpec, BlockSpec, canonical
from search.choice import OneOf
from search.layers import Layer
from search.lowering import layers_of
from search.space import SearchSpace
from search.supernet.genotypes import genotype_of, largest_genotype, smallest_genotype
from search.supernet.parts import Branch, Ends, branches_of, ends_of
from search.supernet.template import places, values
from search.supernet.weight_specs import (
    WeightSpec,
    statistics_of,
    weights_of_branch,
    weights_of_head,
    weights_of_stem,
)

RESOLUTION = "resolution"
_FIXED = ("stem_stride", "stem_activation", "head_activation")
_CACHED_SETTINGS = 1 << 14  # some kB each


@dataclass(frozen=True, eq=False)
class Layout:
    """The weights of a space's supernet, and which part of them each network takes.

    Attributes:
      weights: trained; `statistics`: of the batch normalizations.
      slots: what the numbers of a setting stand for.
      branches: at each place, in the order of execution; `ends` is what comes before and after.
      largest, smallest: networks of the space (search.supernet.genotypes says in what sense).
    """

    space: SearchSpace
    weights: tuple[WeightSpec, ...]
    statistics: tuple[WeightSpec, ...]
    slots: tuple[str, ...]
    branches: tuple[tuple[Branch, ...], ...]
    ends: Ends
    largest: ArchSpec
    smallest: ArchSpec
    _settings: dict[ArchSpec, NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def _specs(self) -> dict[str, WeightSpec]:
        return {spec.name: spec for spec in (*self.weights, *self.statistics)}

    def spec(self, name: str) -> WeightSpec:
        """The weight or statistic of this name."""
        return self._specs[name]

    def name_of(self, arch: ArchSpec, layer: str) -> str:
        """What the supernet calls a Keras layer with weights of one of its networks."""
        place, _, part = layer.partition("_b")
        if not part or not place[1:].isdigit():
            return layer
        block, _, part = part.partition("_")
        return f"{place}_b{block}/{arch.stages[int(place[1:])].blocks[int(block)].op}/{part}"

    def setting(self, arch: ArchSpec) -> NDArray[np.int32]:
        """int32 [len(slots)]: what a network takes of everything; 0 for what it does not have.

        Raises UsageError if it is not a network of the space.
        """
        if arch not in self._settings:
            genotype_of(self.space, arch)
            found = self._setting(canonical(arch))
            found.flags.writeable = False
            if len(self._settings) >= _CACHED_SETTINGS:
                self._settings.clear()
            self._settings[arch] = found
        return self._settings[arch]

    def _setting(self, arch: ArchSpec) -> NDArray[np.int32]:
        layers = {layer.name: layer for layer in layers_of(arch)}
        blocks: dict[str, list[Layer]] = {}
        for name, layer in layers.items():
            blocks.setdefault("_".join(name.split("_", 2)[:2]), []).append(layer)
        found = dict.fromkeys(self.slots, 0)
        taken = {RESOLUTION: arch.resolution} | _taken_by_ends(self.ends, layers)
        for branches in self.branches:
            for branch in branches:
                block = _block(arch, branch)
                taken |= {} if block is None else _taken_by_branch(branch, block, blocks[branch.layer], layers)
        found |= {slot: number for slot, number in taken.items() if slot in found}
        return np.array(list(found.values()), np.int32)


def layout_of(space: SearchSpace) -> Layout:
    """The layout of a space's supernet. Raises UsageError naming what its networks cannot share."""
    _check(space)
    template, found = space.template, places(space)
    branches = branches_of(found)
    ends = ends_of(template, found, branches[-1][0].outputs.stream)
    weights = list(weights_of_stem(ends))
    slots = [RESOLUTION] if isinstance(template.resolution, OneOf) else []
    for branch in (branch for place in branches for branch in place):
        weights += weights_of_branch(branch)
        slots += branch.slots
    weights += weights_of_head(ends, template.head_norm)
    slots += ends.slots
    return Layout(
        space,
        tuple(weights),
        tuple(statistics_of(tuple(weights))),
        tuple(slots),
        branches,
        ends,
        largest=space.decode(largest_genotype(space)),
        smallest=space.decode(smallest_genotype(space)),
    )


def _check(space: SearchSpace) -> None:
    template, where = space.template, f"space {space.name}"
    for name, legal in (("norm", "bn"), ("pooling", "mean")):
        if getattr(template, name) != legal:
            raise bad_value(f"{where}: {name}", getattr(template, name), f"{legal!r} where weights are shared")
    for name in _FIXED:
        if isinstance(getattr(template, name), OneOf):
            raise bad_value(f"{where}: {name}", getattr(template, name), "one value where weights are shared")
    if 0 in values(template.stem_channels):
        raise bad_value(f"{where}: stem_channels", 0, "at least 1 where weights are shared")
    if 0 in values(template.head_channels) and len(values(template.head_channels)) > 1:
        raise bad_value(f"{where}: head_channels", 0, "at least 1, or 0 alone, where weights are shared")


def _block(arch: ArchSpec, branch: Branch) -> BlockSpec | None:
    """The block of a network that a branch has to make, if it has one there."""
    blocks = arch.stages[branch.stage].blocks
    block = blocks[branch.block] if branch.block < len(blocks) else None
    return block if block is not None and block.op == branch.op else None


def _taken_by_ends(ends: Ends, layers: Mapping[str, Layer]) -> dict[str, int]:
    taken = {ends.stem.slot or "": layers["stem_conv"].out_shape[2]}
    after = ["head_conv"] if ends.head else []
    after += [f"units{i}_conv" if f"units{i}_conv" in layers else f"units{i}" for i in range(len(ends.units))]
    for width, name in zip([*([ends.head] if ends.head else []), *ends.units], after, strict=True):
        taken[width.slot or ""] = layers[name].out_shape[2]
    reader = layers[after[0] if ends.head else "pool"]
    return taken | {ends.last.slot or "": layers[reader.inputs[0]].out_shape[2]}


def _taken_by_branch(
    branch: Branch, block: BlockSpec, own: Sequence[Layer], layers: Mapping[str, Layer]
) -> dict[str, int]:
    """What a network takes by a block; `own` are the block's layers."""
    name, spatial = branch.name, layers[f"{branch.layer}_{branch.spatial}"]
    reduce = layers.get(f"{branch.layer}_se_reduce")
    owner = "project_conv" if branch.op == "fused" else "expand_conv"
    taken = {
        branch.active: 1,
        f"{name}/in": layers[own[0].inputs[0]].out_shape[2],
        f"{name}/hidden": spatial.out_shape[2],
        f"{name}/out": own[-1].out_shape[2],
        f"{name}/se": reduce.out_shape[2] if reduce else 0,
        f"{name}/own_width": int(f"{branch.layer}_{owner}" in layers),
        f"{name}/squeeze": int(reduce is not None),
        f"{name}/add": int(f"{branch.layer}_add" in layers),
        f"{name}/kernel": spatial.kernel_size,
        f"{name}/activation": branch.activations.index(block.activation),
    }
    smaller = (*branch.kernel_sizes[1:], 0)
    for size, below in zip(branch.kernel_sizes, smaller, strict=True):
        # A smaller kernel is made of the centre of the next larger one, all of whose places the transform mixes.
        side = size if spatial.kernel_size == size else below if spatial.kernel_size < size else 0
        taken[branch.side_slot(size)] = side
    return taken
