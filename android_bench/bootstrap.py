"""Bootstrap intervals of medians, and the permutation test of two sets of sessions (Efron and Tibshirani, 1993).

Everything is seeded: equal measurements have equal intervals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000  # fixes the 2.5 % quantile to 0.35 % of probability
MAX_EXACT = 20_000  # relabellings up to which a permutation test takes all; of more it draws as many
SEED = 0

Array = np.ndarray[Any, np.dtype[Any]]


def median_interval(sessions: Sequence[Array]) -> tuple[float, float]:
    """The 95 % interval of the median of session medians, in the unit of `sessions`.

    Each array has the durations of one session, or one figure if no more is known. The bootstrap is hierarchical: it
    draws sessions, and in each drawn session runs. Of n sessions that differ more among themselves than their runs do,
    the interval is about their range, which holds the true median with probability 1 - 2^(1-n): 94 % of five sessions,
    but 75 % of three. (0, 0) of a single figure, of which nothing is known.
    """
    if len(sessions) == 1 and len(sessions[0]) == 1:
        return 0.0, 0.0
    medians = np.median(_resampled_medians(sessions, np.random.default_rng(SEED)), axis=1)
    return _quantiles(medians)


def ratio_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of median(after) / median(before), resampling the session medians of both."""
    random = np.random.default_rng(SEED)
    resampled = []
    for medians in (before, after):
        values = np.asarray(medians, dtype=np.float64)
        resampled.append(np.median(values[random.integers(0, len(values), (RESAMPLES, len(values)))], axis=1))
    return _quantiles(resampled[1] / resampled[0])


def permutation_p(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p that two sets of session medians differ in rank by chance (Wilcoxon's rank-sum, by permutation).

    Three sessions against three can never come below 0.1, four against four not below 0.03.
    """
    ranks = _ranks(np.array([*before, *after], dtype=np.float64))
    picked = len(before)
    expected = picked * ranks.mean()
    sums = _relabelled_sums(ranks, picked)
    # Sums of half ranks are exact in floating point, so ties compare exactly.
    return float(np.mean(np.abs(sums - expected) >= abs(ranks[:picked].sum() - expected)))


def trend_p(values: Sequence[float]) -> float:
    """The two-sided p that values in this order rise or fall by chance (Kendall's S, by permutation).

    Five values in strict order have p = 2/120; fewer cannot come below 0.05.
    """
    series = np.asarray(values, dtype=np.float64)
    count = len(series)
    if math.factorial(min(count, 10)) <= MAX_EXACT:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        random = np.random.default_rng(SEED)
        orders = np.array([np.arange(count), *(random.permutation(count) for _ in range(MAX_EXACT // count))])
    scores = np.abs(_kendall_s(series[orders]))
    return float(np.mean(scores >= abs(_kendall_s(series[None, :])[0])))


def _kendall_s(rows: Array) -> Array:
    first, second = np.triu_indices(rows.shape[1], 1)
    return np.asarray(np.sign(rows[:, second] - rows[:, first]).sum(axis=1))


def _resampled_medians(sessions: Sequence[Array], random: np.random.Generator) -> Array:
    """[RESAMPLES, sessions] of medians of resampled sessions, drawn with replacement.

    The median of n runs drawn with replacement from n sorted runs is the run at position floor(n U), where U, the
    median of n uniform numbers, has the distribution Beta((n + 1) / 2, (n + 1) / 2): no run is drawn.
    """
    sizes = np.array([len(session) for session in sessions])
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    runs = np.concatenate([np.sort(session) for session in sessions])
    drawn = random.integers(0, len(sessions), (RESAMPLES, len(sessions)))
    shape = (sizes[drawn] + 1) / 2
    positions = np.minimum((random.beta(shape, shape) * sizes[drawn]).astype(np.int64), sizes[drawn] - 1)
    return np.asarray(runs[offsets[drawn] + positions])


def _quantiles(values: Array) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def _ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def _relabelled_sums(ranks: Array, picked: int) -> Array:
    """The rank sums of the first group under all relabellings, or under MAX_EXACT drawn ones."""
    if math.comb(len(ranks), picked) <= MAX_EXACT:
        groups = np.array(list(itertools.combinations(range(len(ranks)), picked)))
    else:
        random = np.random.default_rng(SEED)
        drawn = [random.permutation(len(ranks))[:picked] for _ in range(MAX_EXACT - 1)]
        groups = np.array([np.arange(picked), *drawn])  # the observed one counts, so that p is never 0
    return np.asarray(ranks[groups].sum(axis=1))
