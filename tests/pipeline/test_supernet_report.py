"""What a report and the last lines of a run tell of a supernet."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from core.spec_io import from_plain, to_plain
from core.workspace import atomic_write_json
from pipeline import report_view
from pipeline.closing import closing_lines
from pipeline.report import render
from pipeline.report_data import RunReport
from pipeline.supernet_record import Inherited, Judged, SupernetRecord, SupernetReport
from tests.pipeline.report_runs import ARCH, CREATED, TRIALS, run

ENDS = {"largest": Judged(ARCH, 3_400_000, 0.975), "smallest": Judged(ARCH, 170_000, 0.8)}
RECORD = SupernetRecord("progressive", "mobilenet_v2_small", 2.7e8, (), False, ENDS, 500, 200, {})
SHARED = run(
    supernet=SupernetReport(RECORD, 18, (Inherited(0.88, 0.965, 2),)),
    seconds={**run().seconds, "supernet": 3725.0, "w0.data": 0.5},
)


def words(report: RunReport) -> str:
    """The text of the page's section on the supernet."""
    page = render(report, CREATED)
    section = re.search(r'<section aria-labelledby="supernet">(.*?)</section>', page, re.DOTALL)
    assert section
    return " ".join(re.sub(r"<[^>]+>", " ", section[1]).replace("\u202f", " ").replace("\u00a0", " ").split())


def test_the_section_tells_method_effort_and_accuracies() -> None:
    text = words(SHARED)
    for part in (
        "Method progressive, 18 epochs in 1 h 2 min: 2.7e+08 genotypes of the space mobilenet_v2_small",
        "4 candidates were evaluated with them, 11.0 s each on average",  # those of TRIALS that did not fail
        "from 500 training images",
        "largest of the space 3.40M 97.5 % –",
        "smallest of the space 170k 80.0 % –",
        "winner, trial 3 580k 88.0 % 96.5 % 2 epochs",
        "400 for winners, 200 for the ends of the space and the search's trials",
    ):
        assert part in text, text


def test_the_plot_s_caption_tells_that_trials_were_not_trained() -> None:
    page = render(SHARED, CREATED)
    assert "and no training of its own; the released models come from the winner trained further" in page
    assert "A trial is trained for" not in page
    assert "A trial is trained for" in render(run(), CREATED)


def test_a_trial_s_accuracy_is_of_the_images_that_the_supernet_was_judged_by() -> None:
    page, plain = render(SHARED, CREATED), render(run(), CREATED)
    for of_trials in (
        "network on 200 of the validation images,",
        "Accuracies are on 200 validation",
        "network on 200, ",
    ):
        assert of_trials in page and of_trials not in plain
    assert ".tflite on 400 validation images." in page
    assert "network, and of a released model's .tflite on 400 validation images." in plain


def test_a_method_without_ends_tells_its_figures() -> None:
    record = replace(RECORD, judged={}, facts={"gap of the discretization": "3.20 points"})
    text = words(replace(SHARED, supernet=SupernetReport(record, 18, (Inherited(0.88, 0.88, 0),))))
    assert "gap of the discretization 3.20 points" in text
    assert "winner, trial 3 580k 88.0 % –" in text and "of the space 3.40M" not in text


def test_a_winner_that_could_not_be_trained_further_has_no_row() -> None:
    report = replace(SHARED, winners=(2, 3), supernet=SupernetReport(RECORD, 18, (None, Inherited(0.85, 0.9, 1))))
    assert [row.trial.index for row in report_view.inherited_rows(report)] == [3]
    assert "winner, trial 4" in words(report) and "winner, trial 3 " not in words(report)


def test_a_run_without_a_supernet_says_nothing_of_one() -> None:
    page = render(run(), CREATED)
    assert 'id="supernet"' not in page and "Supernet" not in page and "#supernet" not in page
    assert report_view.inherited_rows(run()) == ()
    assert report_view.judged_trials(run(trials=())) == (0, 0.0)


def test_its_stages_are_in_the_table_of_times() -> None:
    kinds = {name: count for name, count, _ in report_view.stage_seconds(SHARED)}
    assert kinds["training of the supernet"] == 1
    assert kinds["data"] == 2  # the second in a winner's own resolution


def test_the_report_is_read_back_as_it_was() -> None:
    assert from_plain(RunReport, to_plain(SHARED)).supernet == SHARED.supernet
    assert len(TRIALS) == len(SHARED.trials)


def test_the_last_lines_tell_what_fine_tuning_gained(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    atomic_write_json(tmp_path / "report" / "report.json", {"report": SHARED})
    first, *_ = closing_lines(tmp_path)
    assert first == (
        "network of trial 3: 88.00 % of the validation images right with the supernet's weights, "
        "96.50 % after 2 epochs of fine-tuning"
    )
