"""What a run has done and what is to do, as a table. Reads only small files; no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from core.errors import UsageError
from core.progress import Reporter
from core.workspace import AppendLog, read_json
from pipeline.plan import Stage
from pipeline.runner import is_done, read_failure


def show_plan(stages: Iterable[Stage], root: Path, reporter: Reporter) -> None:
    """A line per stage: its key, whether it is done, and what it found."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "key", "state", "seconds", "result"):
        table.add_column(column, overflow="fold")
    todo = 0
    for stage in stages:
        state, seconds, summary = _state(stage, root)
        todo += state != "done" and state != "failed"
        table.add_row(stage.name, stage.key, state, seconds, summary)
    reporter.console.print(table, markup=False)
    reporter.console.print(f"{todo} to do in {root}" if todo else f"all done in {root}", markup=False)


def show_status(root: Path, reporter: Reporter) -> None:
    """The table of the plan with which the folder was last run. Raises UsageError if it is no run's folder."""
    path = root / "plan.json"
    if not path.exists():
        raise UsageError(f"--workdir: {root} holds no run (no plan.json); expected the --workdir of an earlier run")
    stages = [Stage(s["name"], s["kind"], s["key"], {}, tuple(s["inputs"])) for s in read_json(path)]
    show_plan(stages, root, reporter)


def _state(stage: Stage, root: Path) -> tuple[str, str, str]:
    directory = stage.directory(root)
    if is_done(stage, root):
        record = read_json(directory / "stage.json")
        failure = read_failure(directory)
        if failure:
            return "failed", f"{record['seconds']:.1f}", failure["reason"]
        return "done", f"{record['seconds']:.1f}", record["summary"]
    scratch = root / "scratch" / directory.name
    if scratch.exists():
        trials = len(AppendLog(scratch / "trials.jsonl").read())
        return "begun", "", f"{trials} trials finished" if trials else ""
    return "to do", "", ""
