"""What a run has done and what is to do: a table for people, a JSON object for programs. Reads only small files; no
TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from core.errors import LitesmithError
from core.progress import Reporter
from core.spec_io import to_plain
from core.workspace import AppendLog, is_locked
from deploy.manifest import read_manifest
from pipeline.planner import Stage
from pipeline.runner import Failure, is_done, read_failure
from pipeline.workdir import CONFIG, PUBLICATION_RECORD, PUBLISHED, read_plan, read_record

FORMAT = 1  # of the JSON object: raised when a key changes its meaning or goes
DONE, FAILED, BEGUN, TO_DO = "done", "failed", "begun", "to do"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage: `state` is DONE, FAILED, BEGUN or TO_DO; `seconds` that it took, None if it is not committed; `trials`
    finished by a search that is not done."""

    name: str
    kind: str
    key: str
    state: str
    seconds: float | None
    summary: str
    failure: Failure | None
    trials: int


@dataclass(frozen=True, slots=True)
class Unused:
    """The stages' folders that the plan does not use: of earlier data or configurations."""

    folders: int
    size_bytes: int


def stage_status(stage: Stage, root: Path) -> StageStatus:
    """The state of one stage in the folder `root`."""
    directory = stage.directory(root)
    named = (stage.name, stage.kind, stage.key)
    failure = read_failure(directory)
    if failure or is_done(stage, root):
        record = read_record(directory / "stage.json", "seconds", "summary")
        return StageStatus(*named, FAILED if failure else DONE, record["seconds"], record["summary"], failure, 0)
    scratch = root / "scratch" / directory.name
    if scratch.exists():
        return StageStatus(*named, BEGUN, None, "", None, len(AppendLog(scratch / "trials.jsonl").read()))
    return StageStatus(*named, TO_DO, None, "", None, 0)


def show_plan(stages: Sequence[Stage], root: Path, reporter: Reporter) -> None:
    """A line per stage: its key, whether it is done, and what it found."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "key", "state", "seconds", "result"):
        table.add_column(column, overflow="fold")
    states = [stage_status(stage, root) for stage in stages]
    for status in states:
        seconds = "" if status.failure or status.seconds is None else f"{status.seconds:.1f}"
        table.add_row(status.name, status.key, status.state, seconds, _result(status))
    todo = sum(status.state in (BEGUN, TO_DO) for status in states)
    reporter.console.print(table, markup=False)
    reporter.console.print(f"{todo} to do in {root}" if todo else f"all done in {root}", markup=False)


def show_status(root: Path, reporter: Reporter) -> None:
    """The table of the plan with which the folder was last run. Raises UsageError if it is no run's folder."""
    stages = read_plan(root)
    show_plan(stages, root, reporter)
    unused = unused_folders(stages, root)
    if unused.folders:
        size = f"{unused.size_bytes / 1e6:.1f} MB"
        reporter.console.print(f"{unused.folders} folders of earlier data or settings, {size}, are not used any more")
    if is_locked(root):
        reporter.console.print("a run is going on")


def status_json(root: Path) -> dict[str, Any]:
    """All that is known of the run in the folder `root`. Raises UsageError if it is no run's folder."""
    stages = read_plan(root)
    found = plan_json(stages, root, read_record(root / CONFIG, "release")["release"])
    return {**found, "unused": to_plain(unused_folders(stages, root))}


def plan_json(stages: Sequence[Stage], root: Path, release: dict[str, Any]) -> dict[str, Any]:
    """The plan and what of it is done; `release` are the configuration's settings of the release.

    Keys: "state" is "failed" if a stage is, else "to do" or "done"; "stages" holds a StageStatus each; "running" tells
    whether a process holds the folder now.
    """
    states = [stage_status(stage, root) for stage in stages]
    kinds = {status.state for status in states}
    return {
        "format": FORMAT,
        "workdir": str(root),
        "running": is_locked(root),
        "state": FAILED if FAILED in kinds else DONE if kinds == {DONE} else TO_DO,
        "seconds": round(sum(status.seconds or 0.0 for status in states), 3),
        "stages": to_plain(states),
        "release": _release_id(root),
        "store": release.get("store"),
        "channel": release.get("channel"),
        "publication": _publication(root),
    }


def unused_folders(stages: Sequence[Stage], root: Path) -> Unused:
    """How many of the stages' folders are of no stage of the plan, and their size; links to other runs do not count."""
    used = {stage.directory(root).name for stage in stages}
    folders = [path for path in (root / "stages").glob("*") if path.name not in used and not path.is_symlink()]
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return Unused(len(folders), sum(path.stat().st_size for path in files))


def _result(status: StageStatus) -> str:
    if status.failure:
        return f"{status.failure.reason}{' (tried again by the next run)' if status.failure.retry else ''}"
    return f"{status.trials} trials finished" if status.trials else status.summary


def _release_id(root: Path) -> str | None:
    """The ID of what is in WORKDIR/release; None where nothing is, nothing whole, or a release of an older version."""
    if not (root / PUBLISHED).exists() or "release" not in read_record(root / PUBLISHED):
        return None
    try:
        return read_manifest(root / "release").release_id
    except LitesmithError:
        return None


def _publication(root: Path) -> Any:
    """What became of the release when it was last to be published (pipeline.publish); None before."""
    path = root / PUBLICATION_RECORD
    return read_record(path, "outcome") if path.exists() else None
