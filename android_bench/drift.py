"""What the order of sessions and runs tells: sessions far from the others, and a target that grows slower or faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from android_bench.bootstrap import trend_p
from android_bench.session import NOISY, Concern
from android_bench.stats import MAX_SPREAD, SessionFigures

# Undisturbed repeats on an idle core differ by 1-5 %; what stays below is no reason to mention a session.
NEGLIGIBLE = 0.05
MAX_MODIFIED_Z = 3.5  # Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993)
MAX_P = 0.05
MIN_SESSIONS = 4  # of fewer, no one can tell which session is the odd one
MIN_RUNS = 20  # in a session, below which its halves say nothing


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, for the conditions of a measurement, and what of it speaks against its figure."""

    conditions: dict[str, str] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()


def findings(figures: Sequence[SessionFigures]) -> Findings:
    """Outliers and drift of sessions in the order in which they were measured. No session is left out for it."""
    parts = (_outliers(figures), _drift_over_sessions(figures), _drift_within_sessions(figures))
    conditions = {key: text for part in parts for key, text in part.conditions.items()}
    return Findings(conditions, tuple(concern for part in parts for concern in part.concerns))


def _outliers(figures: Sequence[SessionFigures]) -> Findings:
    """Sessions whose modified z-score is above 3.5 and that lie more than 5 % off the median; of concern above 10 %."""
    medians = np.array([figure.median_us for figure in figures])
    if len(medians) < MIN_SESSIONS:
        return Findings()
    center = float(np.median(medians))
    deviations = np.abs(medians - center)
    scale = float(np.median(deviations)) / 0.6745  # the normal distribution's quartile: MAD to standard deviation
    found = np.flatnonzero((deviations > MAX_MODIFIED_Z * scale) & (deviations > NEGLIGIBLE * center))
    if not len(found):
        return Findings()
    words = ", ".join(
        f"session {index + 1} of {len(medians)} ({medians[index]:.1f} us, {medians[index] / center - 1:+.0%})"
        for index in found
    )
    grave = bool(deviations.max() > MAX_SPREAD * center)
    concerns = (Concern(NOISY, f"far from the other sessions, and kept: {words}"),) if grave else ()
    return Findings({"outliers": words}, concerns)


def _drift_over_sessions(figures: Sequence[SessionFigures]) -> Findings:
    """The change from the first session to the last by Theil and Sen's slope, with a permutation test of the trend."""
    medians = np.array([figure.median_us for figure in figures])
    if len(medians) < MIN_SESSIONS:
        return Findings()
    first, second = np.triu_indices(len(medians), 1)
    slope = float(np.median((medians[second] - medians[first]) / (second - first)))
    change, p = slope * (len(medians) - 1) / float(np.median(medians)), trend_p(medians.tolist())
    conditions = {"drift_over_sessions": f"{change:+.1%} (p = {p:.2g})"}
    if abs(change) <= NEGLIGIBLE or p > MAX_P:
        return Findings(conditions)
    reason = f"it grew {_faster_or_slower(change)} from the first session to the last (p = {p:.2g})"
    return Findings(conditions, (Concern(NOISY, reason),))


def _drift_within_sessions(figures: Sequence[SessionFigures]) -> Findings:
    """The median over sessions of how the second half of the runs differs from the first."""
    changes = []
    for figure in figures:
        runs = figure.durations_us
        if len(runs) >= MIN_RUNS:
            middle = len(runs) // 2
            changes.append(float(np.median(runs[middle:]) / np.median(runs[:middle])) - 1)
    if not changes:
        return Findings()
    change = float(np.median(changes))
    conditions = {"drift_within_sessions": f"{change:+.1%}"}
    if abs(change) <= NEGLIGIBLE:
        return Findings(conditions)
    reason = f"the second half of the sessions was {_faster_or_slower(change)} than the first"
    return Findings(conditions, (Concern(NOISY, reason),))


def _faster_or_slower(change: float) -> str:
    return f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"
