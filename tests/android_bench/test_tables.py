"""Comparisons, leaderboard and operator tables of entries that are written down."""

from __future__ import annotations

import pytest

from android_bench.results import CSV_HEADER, BenchEntry, csv_rows
from android_bench.stats import latency_stats
from android_bench.tables import compare, compare_targets, leaderboard, not_compared, op_table
from core.values import Measurement, OpTime, Target

PIXEL, PI = Target("pixel3", kind="android", delegate="gpu"), Target("pi4", kind="ssh")


def entry(model: str, medians_us, target: Target = PIXEL, verdict: str = "ok", tool: str = "t", ops=()) -> BenchEntry:
    stats = latency_stats([[round(median * 1_000)] for median in medians_us])
    measurement = Measurement("0" * 64, target, stats, 7, tool, {}, verdict, tuple(ops))
    return BenchEntry(model, "0" * 64, target, verdict, measurement)


def failed(model: str, target: Target = PIXEL) -> BenchEntry:
    return BenchEntry(model, "1" * 64, target, "failed: gone")


SLOW, FAST = (100, 101, 102, 103, 104), (80, 81, 82, 83, 84)


def test_a_clear_difference_is_significant():
    (found,) = compare([entry("net", SLOW)], [entry("net", FAST)])
    assert (found.before_us, found.after_us, found.outcome) == (102.0, 82.0, "faster")
    assert found.ratio == pytest.approx(82 / 102, rel=1e-12)
    assert 80 / 104 <= found.low <= found.ratio <= found.high <= 84 / 100
    assert found.p == pytest.approx(2 / 252, rel=1e-12)
    assert found.cautions == ()
    assert compare([entry("net", FAST)], [entry("net", SLOW)])[0].outcome == "slower"


@pytest.mark.parametrize("after", [(100.5, 101.5, 102.5, 103.5, 99.5), SLOW])
def test_overlapping_sessions_are_not_significant(after):
    (found,) = compare([entry("net", SLOW)], [entry("net", after)])
    assert not found.significant and found.outcome == "no significant difference"


def test_three_sessions_prove_nothing():
    (found,) = compare([entry("net", SLOW[:3])], [entry("net", FAST[:3])])
    assert found.high < 1 and not found.significant  # the interval alone is too narrow there


def test_only_pairs_with_figures_on_both_sides_are_compared():
    fallen = entry("fallen", FAST, verdict="fell back to CPU: no GPU")
    before = [entry("net", SLOW), entry("fallen", SLOW), entry("lost", SLOW), entry("old", SLOW)]
    after = [entry("net", FAST), fallen, failed("lost"), entry("new", FAST)]
    assert [found.model for found in compare(before, after)] == ["net"]
    assert not_compared(before, after) == (
        ("fallen", "pixel3", "after: fell back to CPU: no GPU"),
        ("lost", "pixel3", "after: failed: gone"),
        ("new", "pixel3", "before: not measured"),
        ("old", "pixel3", "after: not measured"),
    )


def test_cautions_name_what_else_differs():
    noisy = entry("net", FAST, Target("pixel3", num_threads=2), verdict="noisy: x", tool="u")
    (found,) = compare([entry("net", SLOW)], [noisy])
    assert found.cautions == (
        "after: noisy: x",
        "different tools: t and u",
        "different num_threads (1 and 2) and delegate (gpu and xnnpack)",
    )


def test_two_targets():
    entries = [entry("net", SLOW), entry("net", FAST, PI), entry("only", SLOW)]
    (found,) = compare_targets(entries, "pixel3", "pi4")
    assert (found.target, found.outcome) == ("pixel3 -> pi4", "faster")


def test_leaderboard_ranks_by_the_geometric_mean_over_targets():
    entries = [
        *(entry("a", [100]), entry("a", [400], PI)),
        *(entry("b", [200]), entry("b", [100], PI)),
        *(entry("c", [50]), failed("c", PI)),
        *(entry("d", [10], verdict="fell back to CPU: x"), entry("d", [100], PI)),
    ]
    rows = leaderboard(entries)
    assert [row.model for row in rows] == ["b", "a", "c", "d"]
    # b: 200/50 and 100/100; a: 100/50 and 400/100. c is the fastest on the phone; d's figure there is the CPU's.
    assert [row.score for row in rows[:2]] == pytest.approx([2.0, 8**0.5], rel=1e-12)
    assert [row.score for row in rows[2:]] == [None, None]
    assert [[cell.rank for cell in row.cells] for row in rows] == [[3, 1], [2, 3], [1, None], [None, 1]]
    assert rows[2].cells[1].verdict == "failed: gone"


OPS = (
    OpTime("CONV_2D", "a", 30.0, 0.3),
    OpTime("CONV_2D", "b", 20.0, 0.2, "GPU"),
    OpTime("CONV_2D", "c", 10.0, 0.1),
    OpTime("SOFTMAX", "d", 40.0, 0.4),
)


def test_op_table():
    table = op_table(entry("net", SLOW, ops=OPS).measurement, slowest=2)
    assert [(row.node_type, row.delegate, row.count, row.total_us) for row in table.rows] == [
        *(("CONV_2D", "", 2, 40.0), ("SOFTMAX", "", 1, 40.0), ("CONV_2D", "GPU", 1, 20.0)),
    ]
    assert [op.name for op in table.slowest] == ["d", "a"]
    assert [op.name for op in table.not_delegated] == ["d", "a", "c"]
    assert table.delegated_share == 0.2


def test_without_delegate_nothing_is_missing_from_it():
    measurement = entry("net", SLOW, Target("x", delegate="cpu"), ops=OPS).measurement
    assert op_table(measurement).not_delegated == ()
    assert op_table(entry("net", SLOW).measurement).rows == ()


def test_csv_has_no_figures_where_the_target_has_none():
    fallen = entry("fallen", FAST, verdict="fell back to CPU: no GPU")
    rows = [dict(zip(CSV_HEADER, row, strict=True)) for row in csv_rows([entry("net", SLOW), fallen, failed("lost")])]
    assert tuple(rows[0]) == tuple(rows[0].values())
    assert (rows[1]["median_us"], rows[1]["spread"], rows[1]["processes"]) == ("102.000", "0.0392", "5")
    assert [row["median_us"] for row in rows[2:]] == ["", ""]
    assert [row["verdict"] for row in rows[2:]] == ["fell back to CPU: no GPU", "failed: gone"]
