"""What a run has done and what is to do, as a table. Reads only small files; no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from core.progress import Reporter
from core.workspace import AppendLog, read_json
from pipeline.plan import Stage
from pipeline.runner import is_done, read_failure
from pipeline.workdir import read_plan


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
    show_plan(read_plan(root), root, reporter)


def _state(stage: Stage, root: Path) -> tuple[str, str, str]:
    directory = stage.directory(root)
    failure = read_failure(directory)
    if failure:
        return "failed", "", f"{failure.reason}{' (tried again by the next run)' if failure.retry else ''}"
    if is_done(stage, root):
        record = read_json(directory / "stage.json")
        return "done", f"{record['seconds']:.1f}", record["summary"]
    scratch = root / "scratch" / directory.name
    if scratch.exists():
        trials = len(AppendLog(scratch / "trials.jsonl").read())
        return "begun", "", f"{trials} trials finished" if trials else ""
    return "to do", "", ""
