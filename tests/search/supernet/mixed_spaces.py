"""A small space whose places are a choice among every kind of block that a mixture can have."""

from __future__ import annotations

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import SearchSpace

CELL = ("conv3x3", "skip", "none", "avg3x3", "none", "conv1x1")
# Blocks of every file of search/blocks, the place's first with stride 2.
FIRST = (
    BlockSpec("ir3", 5, 2, 3, 16, 0.25, "hswish"),
    BlockSpec("fused", 3, 2, 2, 16, 0.25, "swish"),
    BlockSpec("shuffle1", 3, 2, out_channels=16, groups=2, activation="relu"),
    BlockSpec("bottleneck", 3, 2, out_channels=16, activation="relu"),
    BlockSpec("id", stride=2, out_channels=16),
)
SECOND = (
    BlockSpec("irg", 3, 1, 2, 16, groups=2),
    BlockSpec("uib", 3, 1, 2, 16, start_kernel_size=3),
    BlockSpec("cell", out_channels=16, edges=CELL),
    BlockSpec("fire", 3, out_channels=16, activation="relu"),
    BlockSpec("avg", 3),
    BlockSpec("id", out_channels=16),
)
PLACES = (OneOf(FIRST), OneOf(SECOND), OneOf((SECOND[1], SECOND[-1])))
TEMPLATE = ArchSpec(8, (StageSpec(PLACES, 3),), 16, 1.0, 16, 4, head_units=(8,))  # type: ignore[arg-type]
VARIED = SearchSpace("varied", TEMPLATE)
