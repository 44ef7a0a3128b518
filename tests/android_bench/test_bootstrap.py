"""Intervals and tests on synthetic data, whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

import deploy.gates
from android_bench.bootstrap import median_interval, permutation_p, ratio_interval, trend_p
from deploy.manifest import ReleaseLatency

TRUE_US = 100.0


def sessions(random, count, between, within, runs=40):
    """Sessions of a target: lognormal luck of each process, and of each of its runs."""
    luck = TRUE_US * np.exp(random.normal(0, between, count))
    return [center * np.exp(random.normal(0, within, runs)) for center in luck]


# (sessions, spread between, within, expected coverage). The percentile bootstrap of a median of n sessions that differ
# more than their runs spans about their range, which holds the median with probability 1 - 2^(1-n): 0.94 of 5. Where
# runs differ more, the hierarchy counts their noise twice and covers more; of 9 it is near the nominal 0.95.
@pytest.mark.parametrize(
    ("count", "between", "within", "expected"), [(5, 0.02, 0.01, 0.94), (5, 0.001, 0.05, 0.98), (9, 0.02, 0.01, 0.95)]
)
def test_coverage(count, between, within, expected):
    random = np.random.default_rng(7)
    repeats = 200
    hits = 0
    for _ in range(repeats):
        low, high = median_interval(sessions(random, count, between, within))
        hits += low <= TRUE_US <= high
    # Three binomial standard deviations: 0.05 at 0.94 of 200; and 0.01 for how far the expectation itself is rough.
    assert hits / repeats == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / repeats) + 0.01)


def test_interval_is_that_of_really_resampled_runs():
    """The shortcut by the beta distribution against drawing runs: quantiles agree to their Monte Carlo error."""
    random = np.random.default_rng(3)
    data = sessions(random, 6, 0.05, 0.1, runs=25)
    drawn = []
    for _ in range(2_000):
        chosen = [data[index] for index in random.integers(0, 6, 6)]
        drawn.append(np.median([np.median(random.choice(session, 25)) for session in chosen]))
    # 2000 resamples fix a 2.5 % quantile to about 0.35 % of probability, here about 0.3 us on a scale of 5 us.
    assert median_interval(data) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.5)


def test_interval_is_the_same_every_time_and_holds_the_median():
    data = sessions(np.random.default_rng(1), 5, 0.05, 0.05)
    low, high = median_interval(data)
    assert (low, high) == median_interval(data)
    assert low <= np.median([np.median(session) for session in data]) <= high


def test_one_figure_has_no_interval_and_one_session_has_that_of_its_runs():
    assert median_interval([np.array([5.0])]) == (0.0, 0.0)
    low, high = median_interval([np.arange(1.0, 102.0)])
    assert 35 < low < 51 < high < 67  # 51 +- 1.96 * 101 * sqrt(0.25 / 101) = 51 +- 9.8


def test_ratio_interval():
    assert ratio_interval([100.0] * 5, [80.0] * 5) == (0.8, 0.8)
    low, high = ratio_interval([99, 100, 101, 102, 103], [80, 81, 82, 83, 84])
    assert 80 / 103 <= low < 82 / 101 < high <= 84 / 99


@pytest.mark.parametrize(
    ("before", "after", "p"),
    [
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252),  # the two most extreme of C(10, 5) labellings
        ([1, 2, 3], [4, 5, 6], 2 / 20),
        ([1, 1, 1], [1, 1, 1], 1.0),
        ([1, 4, 5, 8], [2, 3, 6, 7], 1.0),  # equal rank sums
    ],
)
def test_permutation_p_is_exact_for_small_sets(before, after, p):
    # A count by a count: exact but for one rounding.
    assert permutation_p(before, after) == pytest.approx(p, rel=1e-12)
    assert permutation_p(after, before) == pytest.approx(p, rel=1e-12)


def test_permutation_p_of_large_sets_is_drawn_and_never_zero():
    assert 0 < permutation_p(range(20), range(100, 120)) < 0.001
    assert permutation_p(range(0, 40, 2), range(1, 40, 2)) > 0.5


def test_no_difference_is_found_by_chance_as_often_as_promised():
    random = np.random.default_rng(5)
    values = random.normal(100, 3, (400, 10))
    found = np.mean([permutation_p(row[:5], row[5:]) <= 0.05 for row in values])
    # The exact test of 5 against 5 rejects 8 of 252 labellings at 0.05: 0.032; three standard deviations of 400 draws.
    assert found == pytest.approx(8 / 252, abs=3 * np.sqrt(0.032 * 0.968 / 400))


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ([1, 2, 3, 4, 5], 2 / 120),
        ([5, 4, 3, 2, 1], 2 / 120),
        ([1, 2, 3, 4], 2 / 24),
        ([1, 2, 3, 5, 4], 10 / 120),  # S = 8: 4 orders with one inversion on either side, and the 2 without
        ([7, 7, 7, 7, 7], 1.0),
        ([1], 1.0),
    ],
)
def test_trend_p_is_exact_for_few_values(values, p):
    assert trend_p(values) == pytest.approx(p, rel=1e-12)


def test_trend_p_of_many_values():
    assert trend_p(list(range(40))) < 0.002
    assert trend_p([1, 2] * 20) > 0.1


def test_the_gates_interval_of_a_ratio_holds_it_in_95_of_100_repeats():
    """It is made of two intervals of medians. Five processes a side, whose medians spread by 2 % and whose runs lean to
    the slow side, as measured ones do."""
    random, repeats, held = np.random.default_rng(0), 100, 0
    for _ in range(repeats):
        low, high = deploy.gates.ratio_interval(repeat(random), repeat(random))
        held += low <= 1 <= high
    assert held >= 93  # 95 less the standard error of 100 repeats; it is 97 in the long run (1,500 repeats)


def repeat(random: np.random.Generator) -> ReleaseLatency:
    """A measurement of a model that takes the same time whenever it is measured."""
    processes = 100 * np.exp(0.02 * random.standard_normal(5))
    sessions = [median * np.exp(0.02 * np.abs(random.standard_normal(40))) for median in processes]
    low, high = median_interval(sessions)
    median = float(np.median([np.median(session) for session in sessions]))
    return ReleaseLatency("host", median, 0.0, 200, 1, "tool", low, high, 5)
