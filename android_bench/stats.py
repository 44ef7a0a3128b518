"""Statistics of a measurement and the verdict on it: pure functions of the durations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from android_bench.session import Concern
from core.values import LatencyStats

# A single-threaded process that had its core less than this was interrupted in so many runs that the 95th percentile
# of all runs is the interruption's, and the median may have moved; timer interrupts take under 2 %.
MIN_CPU_SHARE = 0.90

# The steps a report shows (one compression pass to the next) differ by 10 % and more: with a wider spread than that
# their order could be chance. Undisturbed repeats on an idle core spread over 1-5 %.
MAX_SPREAD = 0.10


def latency_stats(durations_ns: Sequence[Sequence[int]]) -> LatencyStats:
    """Summarizes the durations of each process (see LatencyStats); every process has at least one run.

    The median of process medians is robust against a disturbed process as well as against slow single runs. The mean,
    minimum and 95th percentile (linear interpolation) are over all runs of all processes.
    """
    medians = np.array([float(np.median(process)) for process in durations_ns])
    runs = np.concatenate([np.asarray(process, dtype=np.float64) for process in durations_ns])
    median = float(np.median(medians))
    return LatencyStats(
        median_us=median / 1e3,
        p95_us=float(np.percentile(runs, 95)) / 1e3,
        mean_us=float(runs.mean()) / 1e3,
        min_us=float(runs.min()) / 1e3,
        runs=len(runs),
        processes=len(medians),
        spread=float(np.ptp(medians)) / median,
        process_medians_us=tuple(float(value) / 1e3 for value in medians),
    )


def noise(stats: LatencyStats, cpu_shares: Iterable[float | None]) -> tuple[Concern, ...]:
    """What the figures themselves say against trusting them: disagreeing processes, a core that was shared."""
    concerns = []
    if stats.spread > MAX_SPREAD:
        reason = f"process medians spread over {stats.spread:.0%} of their median (limit {MAX_SPREAD:.0%})"
        concerns.append(Concern("noisy", reason))
    lowest = min((share for share in cpu_shares if share is not None), default=1.0)
    if lowest < MIN_CPU_SHARE:
        reason = f"a process had its core for only {lowest:.0%} of the time (limit {MIN_CPU_SHARE:.0%})"
        concerns.append(Concern("noisy", reason))
    return tuple(concerns)


def verdict(concerns: Iterable[Concern]) -> str:
    """The word "ok", or the distinct concerns as "kind: reason; reason", kinds in order of first appearance."""
    by_kind: dict[str, list[str]] = {}
    for concern in dict.fromkeys(concerns):
        by_kind.setdefault(concern.kind, []).append(concern.reason)
    return "; ".join(f"{kind}: {'; '.join(reasons)}" for kind, reasons in by_kind.items()) or "ok"
