"""ProxylessNAS's space (Cai et al. 2019, arXiv:1812.00332, section 4.2)."""

from __future__ import annotations

import itertools

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import SearchSpace
from search.spaces.parts import StageRow, layerwise_stages

# The widths of the network that was found for mobile phones.
PROXYLESS_STAGES: tuple[StageRow, ...] = (
    (32, 4, 2),
    (40, 4, 2),
    (80, 4, 2),
    (96, 4, 1),
    (192, 4, 2),
    (320, 1, 1),
)
PROXYLESS_SMALL_STAGES: tuple[StageRow, ...] = ((16, 3, 1), (32, 3, 2), (64, 3, 2))


def proxyless(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """21 layers: MBConv with kernel size 3, 5 or 7 and expand ratio 3 or 6; none in all but a stage's first."""
    first = BlockSpec("ir", expand_ratio=1, out_channels=16)
    stages = (StageSpec((first,), 1), *layerwise_stages(PROXYLESS_STAGES, _candidates))
    return SearchSpace("proxyless", ArchSpec(32, stages, 1280, 1.0, resolution, num_classes))


def proxyless_small(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """The same candidates for images of 24 to 64 pixels: nine layers, of which the stages' first stay."""
    first = BlockSpec("ir", expand_ratio=1, out_channels=8)
    stages = (StageSpec((first,), 1), *layerwise_stages(PROXYLESS_SMALL_STAGES, _candidates))
    return SearchSpace("proxyless_small", ArchSpec(16, stages, 160, 1.0, resolution, num_classes))


def _candidates(channels: int, stride: int, is_first: bool) -> list[BlockSpec]:
    blocks = [
        BlockSpec("ir", kernel, stride, expand_ratio=expand, out_channels=channels)
        for kernel, expand in itertools.product((3, 5, 7), (3, 6))
    ]
    return blocks if is_first else [*blocks, BlockSpec("id", out_channels=channels)]
