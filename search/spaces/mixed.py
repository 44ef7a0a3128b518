"""A space whose operators differ from block to block."""

from __future__ import annotations

from typing import Any

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import SearchSpace

# Stride, most blocks and the channels to choose from.
_STAGES = (
    (1, 2, (16, 24)),
    (2, 3, (24, 32, 40)),
    (2, 3, (48, 64, 80)),
)


def mixed_small(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """For images of 24 to 64 pixels: each block is an inverted residual (with squeeze-excite or without), fused, a
    universal inverted bottleneck, depthwise-separable, a shuffle unit, a residual pair or, but for a stage's first,
    nothing. Kernel size and expand ratio of a block go with whichever operator reads them."""
    stages = []
    for index, (stride, count, channels) in enumerate(_STAGES):
        width = OneOf(channels, f"stage{index}/out_channels")
        blocks = tuple(
            _block(f"s{index}b{place}", stride if place == 0 else 1, width, place == 0) for place in range(count)
        )
        stages.append(StageSpec(blocks, count))
    template = ArchSpec(16, tuple(stages), OneOf((96, 160)), 1.0, resolution, num_classes)
    return SearchSpace("mixed_small", template)


def _block(tie: str, stride: int, width: OneOf, is_first: bool) -> Any:
    shared: dict[str, Any] = {
        "stride": stride,
        "out_channels": width,
        "kernel_size": OneOf((3, 5), f"{tie}/kernel_size"),
    }
    expand: dict[str, Any] = {"expand_ratio": OneOf((2.0, 3.0, 4.0, 6.0), f"{tie}/expand_ratio")}
    gate: dict[str, Any] = {"se_ratio": OneOf((0.0, 0.25), f"{tie}/se_ratio")}
    start: dict[str, Any] = {"start_kernel_size": OneOf((3, 5), f"{tie}/start_kernel_size")}
    blocks = [
        BlockSpec("ir", **shared, **expand, **gate),
        BlockSpec("fused", **shared, **expand, **gate),
        BlockSpec("uib", **shared, **expand, **start),
        BlockSpec("ds", **shared),
        BlockSpec("shuffle2", **shared),
        BlockSpec("basic", **shared),
    ]
    return OneOf(tuple(blocks if is_first else [*blocks, BlockSpec("id", out_channels=width)]))
