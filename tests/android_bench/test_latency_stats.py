"""Statistics and verdict on durations that are written down: no process, no clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench.session import Concern
from android_bench.stats import MAX_SPREAD, MIN_CPU_SHARE, latency_stats, noise, verdict

# Durations are written in ns and reported in us: one division and one rounding, exact to a few units in the last place.
EXACT = 1e-12

durations = st.lists(st.lists(st.integers(1, 10**10), min_size=1, max_size=30), min_size=1, max_size=6)


def test_median_is_of_process_medians_not_of_all_runs():
    # Process medians 10, 20 and 90 us; the median of all nine runs would be 11 us.
    stats = latency_stats([[10_000] * 5, [20_000, 20_000, 11_000], [90_000]])
    assert stats.process_medians_us == (10.0, 20.0, 90.0)
    assert stats.median_us == 20.0


def test_mean_minimum_and_counts_are_over_all_runs():
    stats = latency_stats([[1_000, 2_000, 3_000], [10_000]])
    assert (stats.min_us, stats.mean_us, stats.runs, stats.processes) == (1.0, 4.0, 4, 2)


def test_p95_is_interpolated_over_all_runs():
    # Runs of 1..101 us, dealt to two processes: rank 0.95 * 100 = 95 is exactly the 96th value.
    values = [microseconds * 1_000 for microseconds in range(1, 102)]
    assert latency_stats([values[::2], values[1::2]]).p95_us == pytest.approx(96.0, rel=EXACT)


def test_spread_is_range_by_median():
    assert latency_stats([[100], [110], [120]]).spread == pytest.approx(20 / 110, rel=EXACT)
    assert latency_stats([[100]]).spread == 0.0


@given(durations)
def test_figures_are_ordered_and_ignore_the_order_of_runs(processes):
    stats = latency_stats(processes)
    everything = [value for process in processes for value in process]
    # Mean and interpolated percentile may leave [min, max] by rounding only.
    slack = 1 + EXACT
    assert stats.min_us <= stats.median_us * slack
    assert stats.median_us <= max(everything) / 1e3 * slack
    assert stats.min_us <= stats.p95_us * slack
    assert stats.p95_us <= max(everything) / 1e3 * slack
    assert stats.runs == len(everything)
    shuffled = [list(np.random.default_rng(0).permutation(process)) for process in reversed(processes)]
    again = latency_stats(shuffled)
    assert (again.median_us, again.p95_us, again.min_us, again.spread) == (
        stats.median_us,
        stats.p95_us,
        stats.min_us,
        stats.spread,
    )


@given(durations, st.integers(2, 1000))
def test_scaling_every_duration_scales_every_figure_but_the_spread(processes, factor):
    stats = latency_stats(processes)
    scaled = latency_stats([[value * factor for value in process] for process in processes])
    assert scaled.median_us == pytest.approx(stats.median_us * factor, rel=EXACT)
    assert scaled.p95_us == pytest.approx(stats.p95_us * factor, rel=EXACT)
    assert scaled.spread == pytest.approx(stats.spread, rel=EXACT, abs=EXACT)


def test_one_slow_process_moves_the_spread_but_not_the_median():
    quiet = latency_stats([[100_000]] * 5)
    disturbed = latency_stats([[100_000]] * 4 + [[300_000]])
    assert disturbed.median_us == quiet.median_us
    assert (quiet.spread, disturbed.spread) == (0.0, 2.0)


@pytest.mark.parametrize(("slowest", "kinds"), [(1.0 + MAX_SPREAD, []), (1.02 + MAX_SPREAD, ["noisy"])])
def test_spread_above_the_limit_is_noisy(slowest, kinds):
    stats = latency_stats([[1_000_000], [1_000_000], [round(slowest * 1_000_000)]])
    assert [concern.kind for concern in noise(stats, [None])] == kinds


@pytest.mark.parametrize(
    ("shares", "noisy"),
    [
        ([1.0, MIN_CPU_SHARE], False),
        ([1.0, MIN_CPU_SHARE - 0.01, 0.95], True),
        ([None, None], False),
        ([None, 0.5], True),
    ],
)
def test_a_shared_core_is_noisy(shares, noisy):
    assert bool(noise(latency_stats([[1_000]]), shares)) is noisy


def test_noise_tells_the_figure_and_the_limit():
    stats = latency_stats([[1_000_000], [1_000_000], [1_250_000]])
    assert verdict(noise(stats, [0.62])) == (
        "noisy: process medians spread over 25% of their median (limit 10%); "
        "a process had its core for only 62% of the time (limit 90%)"
    )


def test_verdict_without_concerns_is_ok():
    assert verdict([]) == "ok"


def test_verdict_groups_by_kind_and_drops_repeats():
    concerns = [Concern("fell back to CPU", "a"), Concern("noisy", "b"), Concern("fell back to CPU", "a")]
    assert verdict([*concerns, Concern("noisy", "c")]) == "fell back to CPU: a; noisy: b; c"
