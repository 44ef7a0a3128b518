"""MobileNetV2 and a relative for small images."""

from __future__ import annotations

from typing import Any

from search.arch import ArchSpec, BlockSpec, StageSpec, make_divisible

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


def _stage(*, depth: int, stride: int, **fields: Any) -> StageSpec:
    blocks = (BlockSpec(stride=stride, **fields), *[BlockSpec(stride=1, **fields)] * (depth - 1))
    return StageSpec(blocks, depth)
