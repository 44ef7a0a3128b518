"""What structured pruning knows of the networks that search.build makes, by the names of their layers.

Their layers are named "s{stage}_b{block}_...". A pruned one of them has a text in the grammar as long as the widths for
which the grammar has one number stay equal.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.blocks.table import BLOCKS
from search.grammar import from_text, to_text
from search.lowering import layers_of

Shape = tuple[int, int, int]
_BLOCK = re.compile(r"s(\d+)_b(\d+)_(.+)")
_ENDS = re.compile(r"(image|stem|head|pool|flatten|logits|scores|units\d+)(_.+)?")
# Layers of a block that have one width; those that agree in what the groups found.
_EQUAL = (
    r"(.+_slice)\d+",  # equal parts of the channels
    r"(.+_conv)\d+",  # the convolutions of a grouped one
    r"(.+)_expand1?_conv",  # both halves of a fire module, where there are two
    r"(.+)_pw[01]_conv",  # ShuffleNet's Xception-like unit
    r"(s\d+)_b\d+_e\d\d_conv",  # all cells of a stage
)
# The first two convolutions of a bottleneck, and of a reduction of cells, which has these layers too.
_PAIR = re.compile(r"(.+)_[12]_conv")
_WITH_PAIR = (("_3_conv",), ("_shortcut_conv", "_pool"))
# By operator: the ends of the names of the layers that are as wide as the block inside; the first that is there counts.
_HIDDEN = {
    "ir": ("expand_conv",),
    "ir3": ("expand_conv",),
    "irg": ("dw",),
    "uib": ("expand_conv",),
    "fused": ("fused_conv",),
    "basic": ("1_conv",),
    "basic8": ("1_conv",),
    "bottleneck": ("1_conv",),
    "fire": ("squeeze_conv",),
    "shuffle1": ("dw",),
    "shuffle2": ("1_conv",),
    "shufflex": ("pw0_conv",),
}


def is_ours(names: Iterable[str]) -> bool:
    """Whether all layers are named as search.lowering names them."""
    return all(_BLOCK.fullmatch(name) or _ENDS.fullmatch(name) for name in names)


def equal_widths(names: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Sets of layers whose outputs must keep equal numbers of channels; none in a network that is not ours."""
    if not is_ours(names):
        return ()
    patterns = [re.compile(pattern) for pattern in _EQUAL]
    sets: dict[tuple[int, str], list[str]] = {}
    for name in names:
        for index, pattern in enumerate(patterns):
            if match := pattern.fullmatch(name):
                sets.setdefault((index, match[1]), []).append(name)
        match = _PAIR.fullmatch(name)
        if match and any(all(match[1] + end in names for end in ends) for ends in _WITH_PAIR):
            sets.setdefault((-1, match[1]), []).append(name)
    return tuple(tuple(members) for members in sets.values() if len(members) > 1)


def blocks_of(names: Iterable[str]) -> dict[int, list[int]]:
    """The numbers of the blocks of each stage that have layers."""
    found: dict[int, set[int]] = {}
    for name in names:
        if match := _BLOCK.fullmatch(name):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    return {stage: sorted(blocks) for stage, blocks in found.items()}


def renamed(names: Collection[str], before: Collection[str]) -> dict[str, str]:
    """New names of the layers left of `before`: blocks move up where one before them in their stage is gone."""
    if not is_ours(before):
        return {name: name for name in names}
    old, left = blocks_of(before), blocks_of(names)
    moves = {(i, j): j - sum(gone not in left[i] for gone in old[i] if gone < j) for i in left for j in left[i]}
    result = {}
    for name in names:
        match = _BLOCK.fullmatch(name)
        result[name] = f"s{match[1]}_b{moves[int(match[1]), int(match[2])]}_{match[3]}" if match else name
    return result


def arch_text(before: str, removed: Collection[tuple[int, int]], shapes: Mapping[str, Shape]) -> str:
    """The text of a pruned network; "" if there is none.

    Args:
      before: the text of the network that was pruned, "" if it had none.
      removed: stage and block of each block that went.
      shapes: (height, width, channels) of the output of each layer that is left.
    """
    if not before or "image" not in shapes or not is_ours(shapes):
        return ""
    try:
        arch = _absolute(from_text(before), removed, shapes)
        if {layer.name: layer.out_shape for layer in layers_of(arch)} != shapes:
            return ""
        return to_text(_simplest(arch))
    except (CandidateError, UsageError):
        return ""


def _absolute(arch: ArchSpec, removed: Collection[tuple[int, int]], shapes: Mapping[str, Shape]) -> ArchSpec:
    """The network with all widths as they are now."""
    channels = _width(shapes, ("stem_",)) or shapes["image"][2]
    stem, stages = _width(shapes, ("stem_",)), []
    for i, stage in enumerate(arch.stages):
        blocks: list[BlockSpec] = []
        for j, block in enumerate(stage.active):
            if (i, j) not in removed:
                place = f"s{i}_b{len(blocks)}_"
                channels = _width(shapes, (place,)) or channels
                blocks.append(_block(block, place, channels, shapes))
        blocks = blocks or [BlockSpec("id", out_channels=channels)]
        stages.append(StageSpec(tuple(blocks), len(blocks)))
    units = tuple(_width(shapes, (f"units{index}",)) for index in range(len(arch.head_units)))
    return dataclasses.replace(
        arch,
        stem_channels=stem,
        stages=tuple(stages),
        head_channels=_width(shapes, ("head_",)),
        head_units=units,
        width_multiplier=1.0,
    )


def _width(shapes: Mapping[str, Shape], beginnings: tuple[str, ...]) -> int:
    """The channels of the last layer with such a name, 0 if there is none."""
    return next((shape[2] for name, shape in reversed(list(shapes.items())) if name.startswith(beginnings)), 0)


def _block(block: BlockSpec, place: str, channels: int, shapes: Mapping[str, Shape]) -> BlockSpec:
    fields = BLOCKS[block.op].fields
    changes: dict[str, Any] = {"out_channels": channels} if "out_channels" in fields else {}
    if block.op in _HIDDEN:
        inside = (shapes[place + end][2] for end in _HIDDEN[block.op] if place + end in shapes)
        single = block.op == "fused" and f"{place}project_conv" not in shapes
        changes["hidden_channels"] = 0 if single else next(inside, 0)
    if f"{place}se_reduce" in shapes:
        changes["se_channels"] = shapes[f"{place}se_reduce"][2]
    if "skip" in fields:  # what had no addition must not get one because its shapes have become equal
        changes["skip"] = f"{place}add" in shapes
    return dataclasses.replace(block, **changes)


def _simplest(arch: ArchSpec) -> ArchSpec:
    """The same network with ratios in place of the absolute widths that follow from them."""
    layers = layers_of(arch)
    for i, stage in enumerate(arch.stages):
        for j in range(len(stage.blocks)):
            for field in ("hidden_channels", "se_channels"):
                simpler = _with_rule(arch, i, j, field)
                try:
                    arch = simpler if layers_of(simpler) == layers else arch
                except CandidateError:  # the operator's own rule does not fit these channels
                    continue
    return arch


def _with_rule(arch: ArchSpec, i: int, j: int, field: str) -> ArchSpec:
    blocks = list(arch.stages[i].blocks)
    changes: dict[str, Any] = {field: 0}
    blocks[j] = dataclasses.replace(blocks[j], **changes)
    stages = list(arch.stages)
    stages[i] = StageSpec(tuple(blocks), len(blocks))
    return dataclasses.replace(arch, stages=tuple(stages))
