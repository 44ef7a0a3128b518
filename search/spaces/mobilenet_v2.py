"""Spaces of MobileNetV2's inverted residuals (Sandler et al. 2018, arXiv:1801.04381)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.networks.mobilenet_v2 import MOBILENET_V2_STAGES
from search.space import SearchSpace
from search.spaces.parts import choose, depths_around, searched_stage

# Of `ofa_small`: output channels and stride of the searched stages.
OFA_SMALL_STAGES = ((24, 1), (40, 2), (64, 2))
OFA_SMALL_DEPTHS = (1, 2, 3)


def mobilenet_v2(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """Depth, channels, expand ratio, kernel size and skip of each stage around the published network."""
    stages = tuple(
        _stage(
            index,
            stride=stride,
            depths=depths_around(repeats),
            expand_ratios=(1,) if expand == 1 else (3, 4, 6),
            channels=_channels_around(channels),
        )
        for index, (expand, channels, repeats, stride) in enumerate(MOBILENET_V2_STAGES)
    )
    template = ArchSpec(32, stages, 1280, 1.0, resolution, num_classes)
    return SearchSpace("mobilenet_v2", template)


def mobilenet_v2_small(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """For images of 24 to 64 pixels: three resolutions, up to eleven blocks."""
    choices: tuple[tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
        (1, (1, 2), (1, 2), (8, 16)),
        (1, (1, 2, 3), (2, 3, 4), (16, 24)),
        (2, (1, 2, 3), (2, 3, 4), (24, 32, 40)),
        (2, (1, 2, 3), (2, 3, 4), (40, 56, 64)),
    )
    stages = tuple(
        _stage(index, stride=stride, depths=depths, expand_ratios=expands, channels=channels)
        for index, (stride, depths, expands, channels) in enumerate(choices)
    )
    template = ArchSpec(16, stages, OneOf((96, 160)), 1.0, resolution, num_classes)
    return SearchSpace("mobilenet_v2_small", template)


def mobilenet_v2_small_se(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """As mobilenet_v2_small, with squeeze-excite or without in each stage."""
    base = mobilenet_v2_small(resolution, num_classes).template
    stages = tuple(_with_squeeze_excite(index, stage) for index, stage in enumerate(base.stages))
    return SearchSpace("mobilenet_v2_small_se", dataclasses.replace(base, stages=stages))


def mobilenet_v2_small_xnnpack(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """As mobilenet_v2_small, in the form that XNNPACK can run sparse: its depthwise kernels have 3 or 5 pixels."""
    base = mobilenet_v2_small(resolution, num_classes).template
    stages = tuple(_with_kernel_sizes(index, stage, (3, 5)) for index, stage in enumerate(base.stages))
    return SearchSpace("mobilenet_v2_small_xnnpack", dataclasses.replace(base, stages=stages, form="xnnpack"))


def ofa_small(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """Once-for-All (Cai et al. 2020, arXiv:1908.09791) for images of 24 to 64 pixels, on V2 blocks: depth 1 to 3 of
    three stages; kernel size 3, 5 or 7 and expand ratio 2, 3 or 4 of each block.

    Made for weights that are shared: no skip is searched, since a block with an addition and one without need other
    weights.
    """
    stages = [StageSpec((BlockSpec(expand_ratio=1, out_channels=16),), 1)]
    for channels, stride in OFA_SMALL_STAGES:
        blocks = [
            BlockSpec("ir", OneOf((3, 5, 7)), stride if index == 0 else 1, OneOf((2, 3, 4)), channels)
            for index in range(max(OFA_SMALL_DEPTHS))
        ]
        stages.append(StageSpec(tuple(blocks), OneOf(OFA_SMALL_DEPTHS)))
    return SearchSpace("ofa_small", ArchSpec(16, tuple(stages), 160, 1.0, resolution, num_classes))


def _channels_around(channels: int) -> tuple[int, ...]:
    """A quarter less and a quarter more, rounded down to a multiple of 8."""
    return tuple(sorted({max(8, channels * 3 // 4 // 8 * 8), channels, channels * 5 // 4 // 8 * 8}))


def _stage(
    index: int, *, stride: int, depths: Sequence[int], expand_ratios: Sequence[int], channels: Sequence[int]
) -> StageSpec:
    """A stage whose depth, expand ratio, kernel size, channels and skip are searched, alike for all its blocks."""
    return searched_stage(
        stride=stride,
        depths=depths,
        kernel_size=choose((3, 5, 7), f"stage{index}/kernel_size"),
        expand_ratio=choose(expand_ratios, f"stage{index}/expand_ratio"),
        out_channels=choose(channels, f"stage{index}/out_channels"),
        skip=choose((True, False) if max(depths) > 1 else (True,), f"stage{index}/skip"),
    )


def _with_kernel_sizes(index: int, stage: StageSpec, sizes: Sequence[int]) -> StageSpec:
    kernel_size = choose(sizes, f"stage{index}/kernel_size")
    return dataclasses.replace(
        stage, blocks=tuple(dataclasses.replace(block, kernel_size=kernel_size) for block in stage.blocks)
    )


def _with_squeeze_excite(index: int, stage: StageSpec) -> StageSpec:
    gate = OneOf((0.0, 0.25), tie=f"stage{index}/se_ratio")
    return dataclasses.replace(stage, blocks=tuple(dataclasses.replace(block, se_ratio=gate) for block in stage.blocks))
