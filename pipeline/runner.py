"""Runs the stages of a plan: each is done once, committed by rename, and never half-written.

`kill -9` loses at most the unit of work in flight: a stage keeps checkpoints in a scratch folder of its own, and a
second run with the same command goes on there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CandidateError, InvariantError, LitesmithError, UsageError
from core.progress import Reporter
from core.registry import load
from core.spec_io import to_plain
from core.workspace import (
    atomic_write_json,
    committed_directory,
    is_disk_full,
    locked,
    read_json,
    remove_temporaries,
)
from pipeline.config import Config
from pipeline.plan import Plan, Stage
from pipeline.stages import STAGES

# A failure of these concerns one recipe: it is recorded, and the other recipes go on.
RECIPE_KINDS = ("float", "pass", "convert", "validate")
# These describe what there is, failures included.
SUMMARY_KINDS = ("report", "release")


@dataclass(frozen=True)
class StageContext:
    """What a stage's code gets: its settings, its inputs' folders, and where to write.

    Attributes:
      out: an empty folder that is committed when the stage ends.
      scratch: a folder for checkpoints, kept if the process is killed and removed when the stage is committed.
      workdir: for the stages that publish beside the stages folder (report, release).
      inputs: input stage name -> its committed folder.
    """

    stage: Stage
    out: Path
    scratch: Path
    workdir: Path
    inputs: dict[str, Path]
    reporter: Reporter

    @property
    def params(self) -> dict[str, Any]:
        """The settings that the plan gave the stage."""
        return self.stage.params

    def input(self, kind_or_name: str) -> Path:
        """The folder of the input whose name is, or ends in, `kind_or_name`."""
        matches = [
            path for name, path in self.inputs.items() if (name == kind_or_name or name.endswith(f".{kind_or_name}"))
        ]
        return matches[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage's code returns: a few words for the log, and why its recipe cannot go on, if so."""

    summary: str
    failure: str = ""


class Workdir:
    """A run's folder: config.json and plan.json, stages/, scratch/, and what the run publishes.

    Nothing is created before `prepare`, and if bad input is found before anything was finished it is removed again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._existed = root.exists()

    def check(self, config: Config, new_config: bool) -> None:
        """Raises UsageError if the folder cannot be used for this configuration."""
        if self._existed and not self.root.is_dir():
            raise UsageError(f"--workdir: {self.root} is a file; expected a folder")
        pinned = self.root / "config.json"
        if pinned.exists():
            difference = _first_difference(read_json(pinned), to_plain(config), "config")
            if difference and not new_config:
                raise UsageError(
                    f"--workdir: {self.root} belongs to another configuration ({difference}); use a new --workdir, or "
                    "add --new_config to go on here (finished stages that the change does not touch are kept)"
                )
        elif self._existed and any(self.root.iterdir()):
            raise UsageError(f"--workdir: {self.root} holds other files and no config.json; use a new or empty folder")

    def prepare(self, config: Config, plan: Plan) -> None:
        """Creates the folder and writes the configuration and the plan into it."""
        try:
            (self.root / "stages").mkdir(parents=True, exist_ok=True)
            atomic_write_json(self.root / "config.json", config)
            atomic_write_json(self.root / "plan.json", [_described(stage) for stage in plan.stages])
        except OSError as error:
            if is_disk_full(error):
                raise LitesmithError(f"disk full: {self.root}; free some space and run the command again") from error
            raise UsageError(f"--workdir: {self.root} is not writable ({error.strerror})") from error

    def discard_if_new(self) -> None:
        """Removes the folder if this run created it and no stage was committed."""
        if not self._existed and not any((self.root / "stages").glob("*")):
            shutil.rmtree(self.root, ignore_errors=True)


def run_stages(
    stages: tuple[Stage, ...], plan: Plan, config: Config, workdir: Workdir, reporter: Reporter
) -> list[str]:
    """Runs what is not done yet and returns the recipes' failures, a line each.

    Raises LitesmithError naming the stage if the run cannot go on; what was finished is kept.
    """
    workdir.prepare(config, plan)
    try:
        with locked(workdir.root):
            remove_temporaries(workdir.root)
            for number, stage in enumerate(stages, 1):
                _run_stage(stage, f"[{number}/{len(stages)}] {stage.name}", plan, workdir.root, reporter)
    except UsageError:
        workdir.discard_if_new()
        raise
    return failures(stages, workdir.root)


def failures(stages: Iterable[Stage], root: Path) -> list[str]:
    """The recorded failures, once each, at the stage where they arose."""
    lines = []
    for stage in stages:
        record = read_failure(stage.directory(root))
        if record and record["stage"] == stage.name:
            lines.append(f"{stage.name}: {record['reason']}")
    return lines


def read_failure(directory: Path) -> dict[str, str] | None:
    """Where and why a committed stage's recipe failed, or None."""
    path = directory / "failure.json"
    return read_json(path) if path.exists() else None


def is_done(stage: Stage, root: Path) -> bool:
    """Whether the stage's result is committed, and published if it is a summary."""
    committed = (stage.directory(root) / "stage.json").exists()
    return committed and (stage.kind not in SUMMARY_KINDS or _published(root).get(stage.kind) == stage.key)


def _published(root: Path) -> dict[str, str]:
    path = root / "published.json"
    return read_json(path) if path.exists() else {}


def _publish(stage: Stage, root: Path) -> None:
    """Copies a summary's folder to WORKDIR/report or WORKDIR/release, replacing that of another configuration."""
    with committed_directory(root / stage.kind) as out:
        shutil.copytree(stage.directory(root), out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("stage.json"))
    atomic_write_json(root / "published.json", {**_published(root), stage.kind: stage.key})


def _run_stage(stage: Stage, title: str, plan: Plan, root: Path, reporter: Reporter) -> None:
    final = stage.directory(root)
    scratch = root / "scratch" / final.name
    if is_done(stage, root):
        shutil.rmtree(scratch, ignore_errors=True)  # the run may have been killed just before it did so
        reporter.line(f"{title}: done before")
        return
    inputs = {name: plan.stage(name).directory(root) for name in stage.inputs}
    started = time.monotonic()
    reporter.line(title)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with committed_directory(final) as out:
            context = StageContext(stage, out, scratch, root, inputs, reporter)
            outcome = _outcome(context)
            record = {"name": stage.name, "key": stage.key, "summary": outcome.summary}
            atomic_write_json(out / "stage.json", {**record, "seconds": round(time.monotonic() - started, 3)})
        if stage.kind in SUMMARY_KINDS:
            _publish(stage, root)
        shutil.rmtree(scratch, ignore_errors=True)
    except UsageError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise LitesmithError(
            f"{stage.name}: disk full ({error.filename or root}); free some space and run the command again, it resumes"
        ) from error
    except LitesmithError as error:
        raise LitesmithError(f"{stage.name}: {error}") from error
    verdict = f"FAILED: {outcome.failure}" if outcome.failure else outcome.summary
    reporter.line(f"{title}: {verdict} ({time.monotonic() - started:.1f} s)")


def _outcome(context: StageContext) -> Outcome:
    """Runs the stage's code, or passes on the failure of an input."""
    stage = context.stage
    if stage.kind not in SUMMARY_KINDS:
        for directory in context.inputs.values():
            record = read_failure(directory)
            if record:
                atomic_write_json(context.out / "failure.json", record)
                return Outcome("", f"not done, because {record['stage']} failed")
    try:
        outcome: Outcome = load(STAGES, stage.kind, "stage")(context)
    except (CandidateError, InvariantError) as error:
        if stage.kind not in RECIPE_KINDS:
            raise
        outcome = Outcome("", str(error))
    if outcome.failure:
        atomic_write_json(context.out / "failure.json", {"stage": stage.name, "reason": outcome.failure})
    return outcome


def _described(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "kind": stage.kind, "key": stage.key, "inputs": list(stage.inputs)}


def _first_difference(old: Any, new: Any, where: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            difference = _first_difference(old.get(key), new.get(key), f"{where}.{key}")
            if difference:
                return difference
        return ""
    return "" if old == new else f"{where} is {old!r} there, {new!r} now"
