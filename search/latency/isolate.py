"""A block's own time, from files that hold it once and several times.

A run of a file costs something besides its operators: the call itself, and copying the input and the output. In a file
of one small block that can be half of the time. Two files of the same block in a row, one longer than the other, have
it in common.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from core.errors import bad_value

# Time of a file of one copy, of one of several copies, and how many these are.
Chained = tuple[float, float, int]


def block_us(one_us: float, several_us: float, copies: int) -> float:
    """The time of one block in microseconds: what each further copy adds, at least 0. Raises UsageError."""
    if copies < 2:
        raise bad_value("latency of a chained block: copies", copies, "2 or more")
    return max(0.0, (several_us - one_us) / (copies - 1))


def file_overhead_us(measured: Sequence[Chained]) -> float:
    """What a file costs besides its block, in microseconds: the median over the blocks, at least 0.

    It is to be taken off the files of the blocks that cannot follow themselves. Raises UsageError if there are none.
    """
    if not measured:
        raise bad_value("overhead of a file: chained blocks", measured, "one or more")
    return max(0.0, statistics.median(one - block_us(one, several, copies) for one, several, copies in measured))
