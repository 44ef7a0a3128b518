"""Statistics of a measurement and the verdict on it: pure functions of its sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from android_bench.bootstrap import Array, median_interval
from android_bench.session import KINDS, NOISY, Concern, Session
from core.values import LatencyStats

# A single-threaded process that had its core less than this was interrupted in so many runs that the 95th percentile
# of all runs is the interruption's, and the median may have moved; timer interrupts take under 2 %.
MIN_CPU_SHARE = 0.90

# The steps a report shows (one compression pass to the next) differ by 10 % and more: with a wider spread than that
# their order could be chance. Undisturbed repeats on an idle core spread over 1-5 %.
MAX_SPREAD = 0.10


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What is known of one session's timed runs. `durations_us` holds them all, or the median alone; `p95_us` is None
    if neither the runs nor their 95th percentile are known; `median_us` is a mean if `center` says so."""

    durations_us: Array
    runs: int
    median_us: float
    mean_us: float
    min_us: float
    p95_us: float | None
    center: str


def session_figures(session: Session) -> SessionFigures:
    """The figures of a session, of its durations or, where it has none, of its summary."""
    if session.durations_ns:
        runs = np.asarray(session.durations_ns, dtype=np.float64) / 1e3
        p95, median = float(np.percentile(runs, 95)), float(np.median(runs))
        return SessionFigures(runs, len(runs), median, float(runs.mean()), float(runs.min()), p95, "median")
    told = session.summary
    if told is None:
        raise ValueError("a session has neither durations nor a summary")
    only = np.array([told.median_us])
    return SessionFigures(only, told.runs, told.median_us, told.mean_us, told.min_us, told.p95_us, told.center)


def latency_stats(durations_ns: Sequence[Sequence[int]]) -> LatencyStats:
    """`session_stats` of the durations of each process; every process has at least one run."""
    return session_stats([Session(tuple(process), 0) for process in durations_ns])


def session_stats(sessions: Sequence[Session]) -> LatencyStats:
    """Summarizes the sessions of a measurement (see LatencyStats).

    The median of process medians is robust against a disturbed process as well as against slow single runs. Mean and
    minimum are over all runs of all processes. So is the 95th percentile (linear interpolation) if all durations are
    known; else it is the median of the sessions' own, or 0 where the tool tells none.
    """
    figures = [session_figures(session) for session in sessions]
    medians = np.array([figure.median_us for figure in figures])
    runs = np.array([figure.runs for figure in figures])
    median = float(np.median(medians))
    low, high = median_interval([figure.durations_us for figure in figures])
    return LatencyStats(
        median_us=median,
        p95_us=_p95_us(figures),
        mean_us=float(np.average([figure.mean_us for figure in figures], weights=runs)),
        min_us=min(figure.min_us for figure in figures),
        runs=int(runs.sum()),
        processes=len(medians),
        spread=float(np.ptp(medians)) / median,
        process_medians_us=tuple(float(value) for value in medians),
        low_us=low,
        high_us=high,
        center="mean" if any(figure.center == "mean" for figure in figures) else "median",
    )


def noise(stats: LatencyStats, cpu_shares: Iterable[float | None]) -> tuple[Concern, ...]:
    """What the figures themselves say against trusting them: disagreeing processes, a core that was shared."""
    concerns = []
    if stats.spread > MAX_SPREAD:
        reason = f"process medians spread over {stats.spread:.0%} of their median (limit {MAX_SPREAD:.0%})"
        concerns.append(Concern(NOISY, reason))
    lowest = min((share for share in cpu_shares if share is not None), default=1.0)
    if lowest < MIN_CPU_SHARE:
        reason = f"a process had its core for only {lowest:.0%} of the time (limit {MIN_CPU_SHARE:.0%})"
        concerns.append(Concern(NOISY, reason))
    return tuple(concerns)


def verdict(concerns: Iterable[Concern]) -> str:
    """The word "ok", or the distinct concerns as "kind: reason; reason", the gravest kind first."""
    by_kind: dict[str, list[str]] = {}
    for concern in dict.fromkeys(concerns):
        by_kind.setdefault(concern.kind, []).append(concern.reason)
    kinds = sorted(by_kind, key=KINDS.index)
    return "; ".join(f"{kind}: {'; '.join(by_kind[kind])}" for kind in kinds) or "ok"


def _p95_us(figures: Sequence[SessionFigures]) -> float:
    if all(len(figure.durations_us) == figure.runs for figure in figures):
        return float(np.percentile(np.concatenate([figure.durations_us for figure in figures]), 95))
    told = [figure.p95_us for figure in figures if figure.p95_us is not None]
    return float(np.median(told)) if told else 0.0
