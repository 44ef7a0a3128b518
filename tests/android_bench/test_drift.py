"""Outliers and drift in sessions whose durations are written down."""

from __future__ import annotations

import numpy as np
import pytest

from android_bench.drift import Findings, findings
from android_bench.session import Session, Summary
from android_bench.stats import session_figures
from tests.android_bench.playback import session


def found(*medians_us: float) -> Findings:
    return findings([session_figures(session(median)) for median in medians_us])


def test_equal_sessions_have_nothing_to_tell():
    assert found(100, 100, 100, 100, 100) == Findings({"drift_over_sessions": "+0.0% (p = 1)"})


def test_fewer_than_four_sessions_tell_nothing():
    assert found(100, 200, 300) == Findings()


def test_a_far_session_is_reported_and_of_concern():
    result = found(100, 101, 130, 99, 100)
    words = "session 3 of 5 (130.0 us, +30%)"
    assert result.conditions["outliers"] == words
    assert [concern.reason for concern in result.concerns] == [f"far from the other sessions, and kept: {words}"]


def test_a_session_a_little_off_is_reported_only():
    result = found(100, 101, 107, 99, 100)
    assert (result.conditions["outliers"], result.concerns) == ("session 3 of 5 (107.0 us, +7%)", ())


@pytest.mark.parametrize("medians", [(100, 100, 104, 100, 100), (80, 90, 100, 115, 130)])
def test_what_is_small_or_like_the_others_is_no_outlier(medians):
    assert "outliers" not in found(*medians[::2], *medians[1::2]).conditions


@pytest.mark.parametrize(
    ("medians", "reason"),
    [
        ((100, 102, 104, 106, 108), "it grew 8% slower from the first session to the last (p = 0.017)"),
        ((108, 106, 104, 102, 100), "it grew 8% faster from the first session to the last (p = 0.017)"),
        ((100, 101, 102, 103, 104), None),  # too little
        ((100, 108, 102, 106, 104), None),  # no order
    ],
)
def test_drift_over_sessions(medians, reason):
    assert [concern.reason for concern in found(*medians).concerns] == ([reason] if reason else [])


def halves(first: float, second: float, runs: int = 30) -> Session:
    return session(*[first] * (runs // 2), *[second] * (runs // 2))


@pytest.mark.parametrize(
    ("first", "second", "runs", "reasons"),
    [
        (100, 108, 30, ["the second half of the sessions was 8% slower than the first"]),
        (110, 100, 30, ["the second half of the sessions was 9% faster than the first"]),
        (100, 104, 30, []),
        (100, 150, 18, []),  # too few runs to tell
    ],
)
def test_drift_within_sessions(first, second, runs, reasons):
    result = findings([session_figures(halves(first, second, runs))] * 2)
    assert [concern.reason for concern in result.concerns] == reasons


def test_one_session_with_a_slow_half_is_not_the_target():
    result = findings([session_figures(one) for one in (halves(100, 100), halves(100, 130), halves(100, 101))])
    assert result.conditions["drift_within_sessions"] == "+1.0%"
    assert result.concerns == ()


def test_sessions_without_durations_are_judged_by_their_medians():
    told = [Summary(50, median, median, median, median) for median in (100.0, 100.0, 140.0, 100.0)]
    result = findings([session_figures(Session((), 0, summary=summary)) for summary in told])
    assert result.conditions["outliers"] == "session 3 of 4 (140.0 us, +40%)"
    assert "drift_within_sessions" not in result.conditions


def test_a_quiet_target_seldom_raises_a_false_alarm():
    random = np.random.default_rng(11)
    alarms = sum(bool(found(*(100 * np.exp(random.normal(0, 0.015, 5)))).concerns) for _ in range(400))
    # A strict order of five has probability 2/120 (7 of 400), and most of those stay below 5 %; outliers of more than
    # 10 % are 6 standard deviations away. Three binomial standard deviations above 7 are 15.
    assert alarms <= 15
