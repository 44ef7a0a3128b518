"""From the sessions of blocks and networks to a latency table: pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from android_bench.bootstrap import median_interval
from android_bench.latency_table.meters import Timing
from android_bench.latency_table.units import Unit
from android_bench.stats import MAX_SPREAD
from search.arch import ArchSpec
from search.latency.isolate import Chained, block_us, file_overhead_us
from search.latency.table import BlockLatency

Sessions = Sequence[tuple[Timing, ...]]  # of one unit: each with a timing of each of its files

# A block's sessions that differ by less than this agree, whatever its size: a clock and a call take that long.
NEGLIGIBLE_US = 1.0


def disagrees(unit: Unit, sessions: Sessions) -> bool:
    """Whether the sessions of a unit differ so much that more are needed.

    The times of its files are compared: that of a block alone is a difference of two of them.
    """
    for number in range(len(unit.copies)):
        times = [session[number].median_us for session in sessions]
        # The outermost sessions are left out of five and more: the median does not depend on one disturbed process.
        kept = sorted(times)[1:-1] if len(times) > 4 else times
        if max(kept) - min(kept) > max(NEGLIGIBLE_US, MAX_SPREAD * statistics.median(times)):
            return True
    return False


def network_us(sessions: Sessions) -> float:
    """The latency of a network: the median of its sessions."""
    return statistics.median(session[0].median_us for session in sessions)


def block_latencies(blocks: Sequence[Unit], sessions: Mapping[str, Sessions]) -> tuple[BlockLatency, ...]:
    """The time of each block inside of a network, in their order.

    That of a block which can follow itself is what further copies add to its file. From files of the others the median
    cost of a file, which those blocks tell, is taken off.
    """
    overhead_us = file_overhead(blocks, sessions)
    return tuple(_latency(unit, sessions[unit.name], overhead_us) for unit in blocks)


def file_overhead(blocks: Sequence[Unit], sessions: Mapping[str, Sessions]) -> float:
    """What a file costs besides its block, in microseconds; 0 if there is no block that can follow itself."""
    chained = [_chained(unit, sessions[unit.name]) for unit in blocks if len(unit.copies) > 1]
    return file_overhead_us(chained) if chained else 0.0


def _chained(unit: Unit, sessions: Sessions) -> Chained:
    one, several = (statistics.median(session[number].median_us for session in sessions) for number in (0, 1))
    return one, several, unit.copies[1]


def _latency(unit: Unit, sessions: Sessions, overhead_us: float) -> BlockLatency:
    if len(unit.copies) > 1:
        values = [block_us(session[0].median_us, session[1].median_us, unit.copies[1]) for session in sessions]
    else:
        values = [max(0.0, session[0].median_us - overhead_us) for session in sessions]
    median_us = statistics.median(values)
    low_us, high_us = median_interval([np.array([value]) for value in values])
    if len(values) == 1:  # nothing is known of the error
        low_us = high_us = median_us
    runs = sum(timing.runs for session in sessions for timing in session)
    return BlockLatency(unit.text, median_us, min(low_us, median_us), max(high_us, median_us), runs)


def measured_networks(networks: Sequence[Unit], sessions: Mapping[str, Sessions]) -> tuple[tuple[ArchSpec, float], ...]:
    """Networks with their latencies in microseconds."""
    pairs = ((unit.part, network_us(sessions[unit.name])) for unit in networks)
    return tuple((part, us) for part, us in pairs if isinstance(part, ArchSpec))
