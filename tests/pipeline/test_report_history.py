"""What a report says of earlier releases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.workspace import atomic_write_json
from deploy.changes import Change
from pipeline import report_history, report_units
from pipeline.report_lines import Line, LinePlot
from pipeline.report_releases import PREVIOUS, read_previous
from tests.pipeline.report_runs import CREATED, EDGES, MODELS, past, previous, released, run

EVERYTHING = EDGES["everything"]


def test_what_the_stage_wrote_is_read_again(tmp_path: Path) -> None:
    assert read_previous(tmp_path) is None
    atomic_write_json(tmp_path / PREVIOUS, previous())
    assert read_previous(tmp_path) == previous()
    atomic_write_json(tmp_path / PREVIOUS, None)
    assert read_previous(tmp_path) is None


def test_changes_are_told_in_their_units_regressions_first() -> None:
    changes = (
        Change("a.tflite", "accuracy", "", 0.97, 0.9644, -0.012, 0.001, 0.03, 0.005, "ok", "6 lost"),
        Change("a.tflite", "latency", "pixel3", 12_000.0, 9_000.0, -0.3, -0.2, None, 0.1, "better"),
        Change("a.tflite", "size", "", 1000.0, 1250.0, 0.25, 0.25, None, 0.05, "regression"),
        Change("b.tflite", "model", verdict="not compared", reason="no longer in the release"),
    )
    rows = report_history.change_rows(run(previous=previous(changes=changes)))
    told = [(row.figure, row.before, row.after, row.change, row.interval, row.limit) for row in rows]
    assert [[text.replace(report_units.NBSP, " ") for text in row] for row in told] == [
        ["size", "1.00 kB", "1.25 kB", "+25 %", "–", "+5 %"],
        ["test accuracy", "97.0 %", "96.4 %", "−0.6 points", "−1.2 to +0.1 points", "−0.5 points"],
        ["latency", "12.0 ms", "9,000 µs", "−25 %", "−30 to −20 %", "+10 %"],
        ["the model itself", "–", "–", "–", "–", "–"],
    ]
    assert [row.model for row in report_history.regressed(run(previous=previous(changes=changes)))] == ["a.tflite"]
    assert report_history.change_rows(run()) == () and report_history.change_headline(run()) == ""


def test_history_ends_with_this_run_and_has_a_line_for_each_of_its_recipes() -> None:
    releases = report_history.releases(EVERYTHING, CREATED)
    assert len(releases) == 6 and releases[-1].release_id == report_history.THIS_RUN
    plots = {plot.label: plot.lines for plot in report_history.history_plots(EVERYTHING, releases)}
    assert list(plots) == ["Test accuracy, %", "Size of the .tflite, kB", "Median latency on host, µs"]
    assert all([line.name for line in lines] == ["float32", "ptq", "pcqat"] for lines in plots.values())
    slow, *_, pcqat = plots["Median latency on host, µs"]
    assert slow.values == (120.0,) * 5 + (80.0,) and pcqat.values[-2:] == (96.0, 64.0)
    assert slow.intervals[-1] == (0.96 * 80, 1.03 * 80)
    assert report_history.releases(run(), CREATED) == ()


def test_a_recipe_that_is_new_begins_where_it_begins() -> None:
    old = past(10, released(MODELS[0]))
    report = run(previous=previous(history=(old,)))
    (accuracy, *_) = report_history.history_plots(report, report_history.releases(report, CREATED))
    assert {line.name: line.values[0] for line in accuracy.lines} == {"float32": 97.0, "ptq": None, "pcqat": None}


def test_winners_are_told_apart_where_a_release_has_several() -> None:
    second = replace(released(MODELS[0]), winner=1)
    report = run(previous=previous(history=(past(10, released(MODELS[0]), second),)))
    plots = report_history.history_plots(report, report_history.releases(report, CREATED))
    assert [line.name for line in plots[0].lines] == ["w0 float32", "w0 ptq", "w0 pcqat"]


def test_releases_of_one_day_are_told_apart_by_their_time() -> None:
    first, second = (past(10, released(MODELS[0])) for _ in range(2))
    second = replace(second, created="2026-11-10T18:30:00+00:00")
    names = report_history.short_names((past(9, released(MODELS[0])), first, second, past(11)))
    assert names == ("9 Nov", "10 Nov\n10:00", "10 Nov\n18:30", report_history.THIS_RUN)


def test_the_predecessor_has_the_same_winner_and_recipe() -> None:
    found = report_history.predecessor(EVERYTHING, MODELS[4])
    assert found is not None and found.recipe == "pcqat"
    assert report_history.predecessor(run(), MODELS[4]) is None
    several = replace(MODELS[4], plan=replace(MODELS[4].plan, winner=1))
    assert report_history.predecessor(EVERYTHING, several) is None


def test_the_axis_of_an_accuracy_ends_at_100() -> None:
    line = Line("qat", (99.0, 99.9))
    low, high = LinePlot("Test accuracy, %", (line,), most=100.0).limits
    assert low < 99.0 and 100 < high < 100.2  # room for half a marker, and for no tick
    assert LinePlot("Size, kB", (line,)).limits[1] > 100.5
