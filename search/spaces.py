"""Named search spaces and reference networks: both are stage tables in the grammar's terms.

A space or network is a function of (resolution, num_classes), so that one definition serves every data set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from core.registry import check_name
from search.arch import ArchSpec, BlockSpec, StageSpec, make_divisible
from search.choice import OneOf
from search.space import SearchSpace

# Sandler et al. 2018, table 2: expand ratio, output channels, repeats, stride of the first block.
MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2)."""
    stages = tuple(
        _stage(depth=r, stride=s, expand_ratio=e, kernel_size=3, out_channels=c) for e, c, r, s in MOBILENET_V2_STAGES
    )
    head = make_divisible(1280 * max(1.0, width_multiplier))  # the authors never narrow the last layer
    return ArchSpec(32, stages, head, width_multiplier, resolution, num_classes)


def mobilenet_v2_small(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """An inverted-residual network for images of 24 to 64 pixels: three resolutions, eight blocks.

    MobileNetV2's five strides would leave such images one pixel; here the stem and two stages halve the side.
    """
    table = ((1, 16, 1, 1), (4, 24, 2, 1), (4, 40, 3, 2), (4, 64, 2, 2))
    stages = tuple(_stage(depth=r, stride=s, expand_ratio=e, kernel_size=3, out_channels=c) for e, c, r, s in table)
    return ArchSpec(16, stages, 160, width_multiplier, resolution, num_classes)


NETWORKS: dict[str, Callable[..., ArchSpec]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_small": mobilenet_v2_small,
}


def _mobilenet_v2_space(resolution: int, num_classes: int) -> SearchSpace:
    stages = tuple(
        _searched_stage(
            index,
            stride=stride,
            depths=tuple(sorted({max(1, repeats - 1), repeats, repeats + 1})),
            expand_ratios=(1,) if expand == 1 else (3, 4, 6),
            channels=tuple(sorted({max(8, channels * 3 // 4 // 8 * 8), channels, channels * 5 // 4 // 8 * 8})),
        )
        for index, (expand, channels, repeats, stride) in enumerate(MOBILENET_V2_STAGES)
    )
    template = ArchSpec(32, stages, 1280, 1.0, resolution, num_classes)
    return SearchSpace("mobilenet_v2", template)


def _mobilenet_v2_small_space(resolution: int, num_classes: int) -> SearchSpace:
    choices: tuple[tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
        (1, (1, 2), (1, 2), (8, 16)),
        (1, (1, 2, 3), (2, 3, 4), (16, 24)),
        (2, (1, 2, 3), (2, 3, 4), (24, 32, 40)),
        (2, (1, 2, 3), (2, 3, 4), (40, 56, 64)),
    )
    stages = tuple(
        _searched_stage(index, stride=stride, depths=depths, expand_ratios=expands, channels=channels)
        for index, (stride, depths, expands, channels) in enumerate(choices)
    )
    template = ArchSpec(16, stages, OneOf((96, 160)), 1.0, resolution, num_classes)
    return SearchSpace("mobilenet_v2_small", template)


def _mobilenet_v2_small_se_space(resolution: int, num_classes: int) -> SearchSpace:
    base = _mobilenet_v2_small_space(resolution, num_classes).template
    stages = tuple(_with_squeeze_excite(index, stage) for index, stage in enumerate(base.stages))
    return SearchSpace("mobilenet_v2_small_se", dataclasses.replace(base, stages=stages))


SPACES: dict[str, Callable[[int, int], SearchSpace]] = {
    "mobilenet_v2": _mobilenet_v2_space,
    "mobilenet_v2_small": _mobilenet_v2_small_space,
    "mobilenet_v2_small_se": _mobilenet_v2_small_se_space,
}


def space(name: str, resolution: int, num_classes: int) -> SearchSpace:
    """The named search space for a data set. Raises UsageError for an unknown name."""
    check_name(SPACES, name, "search space")
    return SPACES[name](resolution, num_classes)


def network(name: str, resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """The named reference network for a data set. Raises UsageError for an unknown name."""
    check_name(NETWORKS, name, "network")
    return NETWORKS[name](resolution, num_classes, width_multiplier)


def _stage(*, depth: int, stride: int, **fields: Any) -> StageSpec:
    blocks = (BlockSpec(stride=stride, **fields), *[BlockSpec(stride=1, **fields)] * (depth - 1))
    return StageSpec(blocks, depth)


def _searched_stage(
    index: int, *, stride: int, depths: Sequence[int], expand_ratios: Sequence[int], channels: Sequence[int]
) -> StageSpec:
    """A stage whose depth, expand ratio, kernel size, channels and skip are searched, alike for all its blocks."""

    def tied(name: str, choices: Sequence[Any]) -> Any:
        return OneOf(tuple(choices), tie=f"stage{index}/{name}") if len(choices) > 1 else choices[0]

    fields = {
        "kernel_size": tied("kernel_size", (3, 5, 7)),
        "expand_ratio": tied("expand_ratio", expand_ratios),
        "out_channels": tied("out_channels", channels),
        "skip": tied("skip", (True, False)) if max(depths) > 1 else True,
    }
    blocks = (BlockSpec(stride=stride, **fields), *[BlockSpec(stride=1, **fields)] * (max(depths) - 1))
    return StageSpec(blocks, OneOf(tuple(depths)) if len(depths) > 1 else depths[0])


def _with_squeeze_excite(index: int, stage: StageSpec) -> StageSpec:
    gate = OneOf((0.0, 0.25), tie=f"stage{index}/se_ratio")
    return dataclasses.replace(stage, blocks=tuple(dataclasses.replace(block, se_ratio=gate) for block in stage.blocks))
