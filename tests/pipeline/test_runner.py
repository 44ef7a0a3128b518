"""The stage runner with stages of our own: commit, resume, failures, full disk. No TensorFlow."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import CandidateError, InvariantError, LitesmithError, UsageError
from core.process import ProcessError
from core.progress import SilentReporter
from core.workspace import locked, read_json
from pipeline import runner
from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.planner import Stage
from pipeline.release_config import ReleaseConfig
from pipeline.runner import Outcome, StageContext, is_done, run_stages
from pipeline.workdir import Workdir

STAGES = (
    Stage("data", "data", "0" * 12, {}, ()),
    Stage("w0.float", "float", "1" * 12, {}, ("data",)),
    Stage("w0.qat", "pass", "2" * 12, {}, ("data", "w0.float")),
    Stage("w0.prune", "pass", "3" * 12, {}, ("data", "w0.float")),
    Stage("w0.qat.convert", "convert", "4" * 12, {}, ("data", "w0.qat")),
    Stage("release", "release", "5" * 12, {}, ("data", "w0.qat.convert", "w0.prune")),
)
PLAN = Plan(STAGES, ())
Code = Callable[[StageContext], Outcome]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the stages' code by one that writes a file; the list tells what was run."""
    names: list[str] = []
    _install(monkeypatch, names, {})
    return names


def _install(monkeypatch: pytest.MonkeyPatch, names: list[str], special: dict[str, Code]) -> None:
    def code(context: StageContext) -> Outcome:
        names.append(context.stage.name)
        (context.out / "result.txt").write_text(context.stage.name)
        return special.get(context.stage.name, lambda _: Outcome("well"))(context)

    monkeypatch.setattr(runner, "load", lambda table, kind, where: code)


def _run(root: Path, stages: tuple[Stage, ...] = STAGES) -> list[str]:
    return run_stages(stages, PLAN, Config(), Workdir(root), SilentReporter())


def test_a_second_run_runs_nothing(ran: list[str], tmp_path: Path) -> None:
    assert _run(tmp_path / "run") == []
    assert ran == [stage.name for stage in STAGES]
    ran.clear()
    assert _run(tmp_path / "run") == []
    assert ran == []


def test_a_stage_whose_folder_is_lost_is_run_again(ran: list[str], tmp_path: Path) -> None:
    _run(tmp_path)
    (STAGES[2].directory(tmp_path) / "stage.json").unlink()
    ran.clear()
    _run(tmp_path)
    assert ran == ["w0.qat"]


def test_a_summary_is_published_beside_the_stages_and_again_after_another_configuration(
    ran: list[str], tmp_path: Path
) -> None:
    _run(tmp_path)
    assert (tmp_path / "release" / "result.txt").read_text() == "release"
    other = dataclasses.replace(STAGES[-1], key="6" * 12)
    run_stages((*STAGES[:-1], other), Plan((*STAGES[:-1], other), ()), Config(), Workdir(tmp_path), SilentReporter())
    assert not is_done(STAGES[-1], tmp_path)
    assert is_done(other, tmp_path)


@pytest.mark.parametrize("lose", ["folder", "note"])
def test_a_summary_that_was_not_published_to_the_end_is_published_again(
    ran: list[str], tmp_path: Path, lose: str
) -> None:
    """What a kill inside the publication leaves: no folder, or a folder without the note that it is whole."""
    _run(tmp_path)
    if lose == "folder":
        shutil.rmtree(tmp_path / "release")
    else:
        (tmp_path / "published.json").write_text("{}")
        (tmp_path / "release" / "result.txt").write_text("of another configuration")
    ran.clear()
    _run(tmp_path)
    assert ran == []  # copied from the committed stage, not made again
    assert (tmp_path / "release" / "result.txt").read_text() == "release"


@pytest.mark.parametrize("error", [CandidateError("diverged"), InvariantError("layer 'x' zeroed whole by pass 'qat'")])
def test_a_failed_recipe_is_recorded_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fail(context: StageContext) -> Outcome:
        raise error

    names: list[str] = []
    _install(monkeypatch, names, {"w0.qat": fail})
    assert _run(tmp_path) == [f"w0.qat: {error}"]
    assert "w0.qat.convert" not in names  # not tried: its input failed
    assert names[-2:] == ["w0.prune", "release"]
    assert read_json(STAGES[4].directory(tmp_path) / "failure.json")["stage"] == "w0.qat"


def test_a_failed_helper_program_is_tried_again_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = [True]

    def convert(context: StageContext) -> Outcome:
        if broken[0]:
            raise ProcessError("python: no answer within 60 s; stopped")
        return Outcome("well")

    names: list[str] = []
    _install(monkeypatch, names, {"w0.qat.convert": convert})
    assert _run(tmp_path) == ["w0.qat.convert: python: no answer within 60 s; stopped"]
    assert names[-1] == "release"
    broken[0] = False
    names.clear()
    assert _run(tmp_path) == []
    assert names == ["w0.qat.convert", "release"]  # the summary of what there is now is made anew


def test_an_error_in_a_shared_stage_ends_the_run_and_keeps_what_was_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(context: StageContext) -> Outcome:
        raise LitesmithError("no trial worked")

    names: list[str] = []
    _install(monkeypatch, names, {"release": fail})
    with pytest.raises(LitesmithError, match="release: no trial worked"):
        _run(tmp_path)
    assert all(is_done(stage, tmp_path) for stage in STAGES[:-1])
    assert not STAGES[-1].directory(tmp_path).exists()


def test_a_full_disk_fails_the_stage_cleanly_and_a_rerun_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = [True]

    def write(context: StageContext) -> Outcome:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device", "model.tflite")
        return Outcome("well")

    names: list[str] = []
    _install(monkeypatch, names, {"w0.qat.convert": write})
    with pytest.raises(LitesmithError, match=r"w0\.qat\.convert: disk full") as caught:
        _run(tmp_path)
    assert caught.value.exit_code == 1
    assert not STAGES[4].directory(tmp_path).exists()
    assert not list(tmp_path.rglob(".tmp-*"))
    full[0] = False
    names.clear()
    assert _run(tmp_path) == []
    assert names == ["w0.qat.convert", "release"]


def test_bad_input_found_by_the_first_stage_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(context: StageContext) -> Outcome:
        raise UsageError("images.npz: no x_train")

    _install(monkeypatch, [], {"data": refuse})
    with pytest.raises(UsageError):
        _run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_input_leaves_an_empty_folder_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(context: StageContext) -> Outcome:
        raise UsageError("images.npz: no x_train")

    _install(monkeypatch, [], {"data": refuse})
    for root in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UsageError):
            _run(root)
        assert not list(tmp_path.iterdir())


def test_bad_input_found_later_keeps_the_work_in_flight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(context: StageContext) -> Outcome:
        (context.scratch / "trials.jsonl").write_text("{}")
        raise UsageError("config.bench.cpu_mask: (3,) is not legal here")

    _install(monkeypatch, [], {"w0.float": refuse})
    with pytest.raises(UsageError):
        _run(tmp_path)
    assert (tmp_path / "scratch" / STAGES[1].directory(tmp_path).name / "trials.jsonl").exists()


def test_a_run_killed_while_it_made_its_folder_can_begin_again(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / ".tmp-config.json").write_text("{")
    assert _run(tmp_path) == []


def test_a_folder_in_use_is_refused_and_left_alone(ran: list[str], tmp_path: Path) -> None:
    _run(tmp_path)
    before = (tmp_path / "config.json").read_text()
    other = dataclasses.replace(Config(), seed=2)
    with locked(tmp_path), pytest.raises(UsageError, match="in use"):
        run_stages(STAGES, PLAN, other, Workdir(tmp_path), SilentReporter(), new_config=True)
    assert (tmp_path / "config.json").read_text() == before


def test_bad_input_found_later_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(context: StageContext) -> Outcome:
        raise UsageError("teacher.h5: 3 outputs; expected 10")

    _install(monkeypatch, [], {"w0.float": refuse})
    with pytest.raises(UsageError):
        _run(tmp_path / "run")
    assert is_done(STAGES[0], tmp_path / "run")


def test_a_folder_keeps_to_its_configuration_unless_told(ran: list[str], tmp_path: Path) -> None:
    _run(tmp_path)
    other = dataclasses.replace(Config(), seed=2)
    with pytest.raises(UsageError, match=r"config\.seed is 1 there, 2 now.*--new_config"):
        Workdir(tmp_path).check(other, new_config=False)
    Workdir(tmp_path).check(other, new_config=True)
    Workdir(tmp_path).check(Config(), new_config=False)


def test_the_scratch_folder_survives_an_interrupted_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(context: StageContext) -> Outcome:
        (context.scratch / "checkpoint.json").write_text(json.dumps(1))
        raise KeyboardInterrupt

    _install(monkeypatch, [], {"w0.float": interrupted})
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path)
    assert (tmp_path / "scratch" / STAGES[1].directory(tmp_path).name / "checkpoint.json").exists()
    _install(monkeypatch, [], {})
    _run(tmp_path)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_folder_of_an_earlier_version_goes_on(ran: list[str], tmp_path: Path) -> None:
    """Its pinned configuration lacks the settings that came later: they count as their defaults."""
    _run(tmp_path)
    pinned = read_json(tmp_path / "config.json")
    del pinned["search"]["num_workers"], pinned["search"]["max_macs"], pinned["release"]
    (tmp_path / "config.json").write_text(json.dumps(pinned))
    Workdir(tmp_path).check(Config(), new_config=False)
    other = dataclasses.replace(Config(), search=dataclasses.replace(Config().search, max_macs=1e6))
    with pytest.raises(UsageError, match=r"config\.search\.max_macs is None there, 1000000\.0 now"):
        Workdir(tmp_path).check(other, new_config=False)


def test_a_folder_goes_on_wherever_its_release_is_published(ran: list[str], tmp_path: Path) -> None:
    _run(tmp_path)
    release = ReleaseConfig(store="s3://models", channel="nightly", max_size_growth=1.0, allow_regression=True)
    Workdir(tmp_path).check(dataclasses.replace(Config(), release=release), new_config=False)
    other = dataclasses.replace(Config(), release=ReleaseConfig(golden_images=3))
    with pytest.raises(UsageError, match=r"config\.release\.golden_images is 5 there, 3 now"):
        Workdir(tmp_path).check(other, new_config=False)


def test_the_comparison_is_made_again_when_what_it_compares_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It tells of failed recipes as they are, and nothing of it is beside the stages."""
    compared = Stage("previous", "previous", "7" * 12, {}, STAGES[-1].inputs)
    stages = (*STAGES[:-1], compared)
    broken, names = [True], list[str]()

    def convert(context: StageContext) -> Outcome:
        if broken[0]:
            raise ProcessError("python: no answer within 60 s; stopped")
        return Outcome("well")

    _install(monkeypatch, names, {"w0.qat.convert": convert})
    for expected in ([stage.name for stage in stages], ["w0.qat.convert", "previous"], []):
        names.clear()
        run_stages(stages, Plan(stages, ()), Config(), Workdir(tmp_path), SilentReporter())
        assert names == expected
        broken[0] = False
    assert is_done(compared, tmp_path) and not (tmp_path / "previous").exists()
