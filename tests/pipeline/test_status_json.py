"""`status --json`: what a cron job or a monitor reads. The stages are our own; no TensorFlow."""

from __future__ import annotations

import fcntl
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core import workspace
from core.errors import CandidateError, LitesmithError, UsageError
from core.process import ProcessError
from core.progress import Reporter
from core.workspace import AppendLog, atomic_write_json, is_locked, locked
from pipeline import runner
from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.planner import Stage
from pipeline.run_process import StageLine, stage_line
from pipeline.runner import Outcome, StageContext, run_stages
from pipeline.status import show_status, status_json
from pipeline.workdir import CONFIG, PUBLICATION_RECORD, PUBLISHED, Workdir

ROOT = Path(__file__).resolve().parents[2]
STAGES = (
    Stage("data", "data", "0" * 12, {}, ()),
    Stage("search", "search", "1" * 12, {}, ("data",)),
    Stage("w0.qat", "pass", "2" * 12, {}, ("data", "search")),
    Stage("w0.qat.convert", "convert", "3" * 12, {}, ("data", "w0.qat")),
    Stage("report", "report", "4" * 12, {}, ("data", "w0.qat.convert")),
)


class Run:
    """A run of STAGES in a folder; `errors` are raised by stages in place of their work."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.errors = root, dict[str, Exception]()
        monkeypatch.setattr(runner, "load", lambda table, kind, where: self._code)

    def _code(self, context: StageContext) -> Outcome:
        if context.stage.name in self.errors:
            raise self.errors[context.stage.name]
        (context.out / "result.txt").write_text("x" * 1000)
        return Outcome("well")

    def go(self, stages: tuple[Stage, ...] = STAGES) -> list[str]:
        """Runs the stages; returns the lines of the log."""
        text = io.StringIO()
        reporter = Reporter(Console(file=text, soft_wrap=True, width=200, highlight=False))
        run_stages(stages, Plan(stages, ()), Config(), Workdir(self.root), reporter)
        return text.getvalue().splitlines()

    def states(self) -> dict[str, str]:
        """Stage -> state."""
        return {stage["name"]: stage["state"] for stage in status_json(self.root)["stages"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path / "run", monkeypatch)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_finished_run_is_done(run: Run) -> None:
    run.go()
    status = status_json(run.root)
    assert json.loads(json.dumps(status)) == status
    assert (status["format"], status["state"], status["running"]) == (1, "done", False)
    assert status["workdir"] == str(run.root)
    assert [stage["name"] for stage in status["stages"]] == [stage.name for stage in STAGES]
    first = status["stages"][0]
    assert (first["kind"], first["key"], first["summary"], first["failure"]) == ("data", "0" * 12, "well", None)
    assert status["seconds"] == pytest.approx(sum(stage["seconds"] for stage in status["stages"]), abs=1e-3)  # rounded
    assert status["unused"] == {"folders": 0, "size_bytes": 0}
    assert (status["release"], status["store"], status["channel"], status["publication"]) == (
        None,
        None,
        "latest",
        None,
    )


def test_a_run_that_was_stopped_shows_where(run: Run) -> None:
    run.errors["search"] = LitesmithError("out of luck")
    with pytest.raises(LitesmithError):
        run.go()
    assert list(run.states().values()) == ["done", "begun", "to do", "to do", "to do"]
    AppendLog(run.root / "scratch" / f"search-{'1' * 12}" / "trials.jsonl").append({"trial": 0})
    status = status_json(run.root)
    assert status["state"] == "to do"
    assert status["stages"][1]["trials"] == 1
    assert status["stages"][1]["seconds"] is None


def test_a_failure_tells_where_it_arose_and_whether_to_try_again(run: Run) -> None:
    run.errors["w0.qat"] = CandidateError("loss is nan")
    run.go()
    status = status_json(run.root)
    failure = {"stage": "w0.qat", "reason": "loss is nan", "retry": False}
    assert status["state"] == "failed"
    assert [stage["failure"] for stage in status["stages"]] == [None, None, failure, failure, None]


def test_a_failure_that_is_tried_again_says_so(run: Run) -> None:
    run.errors["w0.qat.convert"] = ProcessError("killed")
    run.go()
    assert status_json(run.root)["stages"][3]["failure"]["retry"] is True
    run.errors.clear()
    run.go()
    assert set(run.states().values()) == {"done"}


def test_a_run_that_goes_on_is_seen(run: Run) -> None:
    run.go()
    with locked(run.root):
        assert status_json(run.root)["running"] is True
    assert status_json(run.root)["running"] is False


def test_asking_does_not_hinder_a_run_that_begins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.go()
    asker = open(run.root / ".lock")  # noqa: SIM115 - closed in the run's wait, as an asker ends there
    fcntl.flock(asker, fcntl.LOCK_SH)
    monkeypatch.setattr(workspace.time, "sleep", lambda seconds: asker.close())
    with locked(run.root):
        pass
    assert asker.closed


def test_a_second_run_is_refused_while_one_goes_on(run: Run) -> None:
    run.go()
    with locked(run.root), pytest.raises(UsageError, match="is in use by another litesmith process; wait for it"):
        run.go()


def test_a_folder_without_a_lock_is_not_in_use(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is False
    assert is_locked(tmp_path / "absent") is False


def test_folders_of_earlier_data_are_counted_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.go()
    newer = tuple(Stage(s.name, s.kind, s.key.replace(s.key[0], "a"), {}, s.inputs) for s in STAGES)
    run.go(newer)
    unused = status_json(run.root)["unused"]
    assert unused["folders"] == len(STAGES)
    assert unused["size_bytes"] >= 1000 * len(STAGES)
    show_status(run.root, Reporter())
    assert "5 folders of earlier data or settings" in capsys.readouterr().out


def test_links_to_another_run_are_not_counted(run: Run) -> None:
    run.go()
    (run.root / "stages" / "supernet-0").symlink_to(run.root / "stages")
    assert status_json(run.root)["unused"]["folders"] == 0


def test_the_publication_is_as_it_was_recorded(run: Run) -> None:
    run.go()
    record = {"outcome": "published", "release": "tiny-1", "store": "/s", "channel": "latest", "time": "2026-11-22"}
    atomic_write_json(run.root / PUBLICATION_RECORD, record)
    assert status_json(run.root)["publication"] == record


def test_the_command_prints_one_json_object(run: Run) -> None:
    run.go()
    done = command("status", f"--workdir={run.root}", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == status_json(run.root)


def test_a_dry_run_prints_the_plan_as_json(tmp_path: Path) -> None:
    flags = ("--config=configs/demo.py", f"--workdir={tmp_path / 'run'}", "--json")
    done = command("run", *flags, "--dry_run", "--config.release.store=/s", "--config.release.channel=nightly")
    assert (done.returncode, done.stderr) == (0, "")
    plan: dict[str, Any] = json.loads(done.stdout)
    assert plan["stages"][0]["name"] == "data"
    assert {stage["state"] for stage in plan["stages"]} == {"to do"}
    assert (plan["store"], plan["channel"], plan["running"]) == ("/s", "nightly", False)
    assert not (tmp_path / "run").exists()
    refused = command("run", *flags)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("litesmith: --json: run takes it with --dry_run only")


def test_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        status_json(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (CONFIG, None),
        (CONFIG, "[1]"),
        (CONFIG, "{}"),
        (PUBLISHED, "[]"),
        (PUBLICATION_RECORD, "3"),
        (f"stages/data-{'0' * 12}/stage.json", "{}"),
        (f"stages/data-{'0' * 12}/failure.json", "[]"),
    ],
)
def test_a_damaged_folder_is_one_line_that_names_the_file(run: Run, file: str, content: str | None) -> None:
    run.go()
    if content is None:
        (run.root / file).unlink()
    else:
        (run.root / file).write_text(content)
    with pytest.raises(LitesmithError, match=re.escape(str(run.root / file))) as caught:
        status_json(run.root)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_one_line(run: Run) -> None:
    run.go()
    (run.root / PUBLICATION_RECORD).mkdir()
    with pytest.raises(LitesmithError, match=rf"{PUBLICATION_RECORD}: cannot be read \(Is a directory\)"):
        status_json(run.root)


def test_the_log_of_a_run_tells_when_stages_begin_and_end(run: Run) -> None:
    run.errors["w0.qat"] = CandidateError("loss: nan")
    lines = [stage_line(line) for line in run.go()]
    names = [stage.name for stage in STAGES]
    assert [line.name for line in lines if line] == [name for name in names for _ in range(2)]
    verdicts = {line.name: line.verdict for line in lines if line and line.verdict}
    assert verdicts["data"].startswith("well (")
    assert verdicts["w0.qat"].startswith("FAILED: loss: nan (")
    assert verdicts["w0.qat.convert"].startswith("FAILED: not done, because w0.qat failed (")
    again = [stage_line(line) for line in run.go()]
    assert again == [StageLine(name, "done before") for name in names]
