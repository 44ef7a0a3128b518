"""What the templates of several spaces are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from search.arch import BlockSpec, StageSpec
from search.choice import OneOf

# Output channels, blocks, stride of the first block.
StageRow = tuple[int, int, int]


def choose(choices: Sequence[Any], tie: str = "") -> Any:
    """A OneOf, or the value itself where there is only one."""
    return OneOf(tuple(choices), tie) if len(choices) > 1 else choices[0]


def searched_stage(*, stride: int, depths: Sequence[int], **fields: Any) -> StageSpec:
    """Blocks of the same fields, as many as the largest of `depths`; the first has the stride."""
    blocks = (BlockSpec(stride=stride, **fields), *[BlockSpec(stride=1, **fields)] * (max(depths) - 1))
    return StageSpec(blocks, choose(depths))


def layerwise_stages(
    rows: Sequence[StageRow], candidates: Callable[[int, int, bool], Sequence[BlockSpec]]
) -> tuple[StageSpec, ...]:
    """Stages in which each block is one gene, which takes one of `candidates`.

    `candidates` is called with the output channels, the stride and whether the block is the stage's first. How deep a
    stage is follows from the candidates that do nothing.
    """
    stages = []
    for channels, count, stride in rows:
        first = choose(candidates(channels, stride, True))
        rest = [choose(candidates(channels, 1, False)) for _ in range(count - 1)]
        stages.append(StageSpec((first, *rest), count))
    return tuple(stages)


def around(channels: int, *factors: float) -> tuple[int, ...]:
    """`channels` times each factor, rounded to a multiple of 8, and `channels` itself; in rising order."""
    return tuple(sorted({channels, *(max(8, int(channels * factor + 4) // 8 * 8) for factor in factors)}))


def depths_around(repeats: int) -> tuple[int, ...]:
    """One block less, the published number, one more."""
    return tuple(sorted({max(1, repeats - 1), repeats, repeats + 1}))
