"""Runs the stages of a plan: each is done once, committed by rename, and never half-written.

`kill -9` loses at most the unit of work in flight: a stage keeps checkpoints in a scratch folder of its own, and a
second run with the same command goes on there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from android_bench.connections import Connections
from core.errors import CandidateError, InvariantError, LitesmithError, UsageError, one_line
from core.progress import Reporter
from core.registry import load
from core.tracking import Tracker
from core.workspace import atomic_write_json, committed_directory, is_disk_full
from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.planner import Stage
from pipeline.stages import STAGES
from pipeline.tracking import stage_tracker
from pipeline.workdir import PUBLISHED, Workdir, read_record

# A failure of these concerns one recipe: it is recorded, and the other recipes go on.
RECIPE_KINDS = ("images", "float", "pass", "found_recipe", "convert", "validate", "bench")
# These call other programs and read what we made ourselves: an error there says nothing for ever, nor of the input.
RETRIED_KINDS = ("convert", "validate", "bench")
# These describe what there is, failures included, and are made again when that changes.
SUMMARY_KINDS = ("previous", "report", "release")
SHOWN_KINDS = ("report", "release")  # whose folders are also beside the stages


@dataclass(frozen=True)
class StageContext:
    """What a stage's code gets: its settings, its inputs' folders, and where to write.

    Attributes:
      out: an empty folder that is committed when the stage ends.
      scratch: a folder for checkpoints, kept if the process is killed and removed when the stage is committed.
      inputs: input stage name -> its committed folder.
      connections: where the targets are; not in any key.
      tracker: of what the stage trains, for TensorBoard; nothing reads it again.
    """

    stage: Stage
    out: Path
    scratch: Path
    inputs: dict[str, Path]
    reporter: Reporter
    connections: Connections = field(default_factory=Connections)
    tracker: Tracker = field(default_factory=Tracker)

    @property
    def params(self) -> dict[str, Any]:
        """The settings that the plan gave the stage."""
        return self.stage.params

    def input(self, name: str) -> Path:
        """The folder of the input whose name is `name` or ends in ".name"."""
        for known, path in self.inputs.items():
            if known == name or known.endswith(f".{name}"):
                return path
        raise KeyError(f"stage {self.stage.name} has no input {name}; it has {', '.join(self.inputs)}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage's code returns: a few words for the log, and why its recipe cannot go on, if so."""

    summary: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a recipe could not go on: the stage where it arose, and whether another run may do better (`retry`)."""

    stage: str
    reason: str
    retry: bool = False


def run_stages(
    stages: tuple[Stage, ...],
    plan: Plan,
    config: Config,
    workdir: Workdir,
    reporter: Reporter,
    new_config: bool = False,
    connections: Connections | None = None,
) -> list[str]:
    """Runs what is not done yet and returns the recipes' failures, a line each. `connections` tells where targets are.

    Raises LitesmithError naming the stage if the run cannot go on; what was finished is kept.
    """
    root = workdir.root
    with workdir.opened(config, plan, new_config):
        ran: set[str] = set()
        for number, stage in enumerate(stages, 1):
            title = f"[{number}/{len(stages)}] {stage.name}"
            stale = stage.kind in SUMMARY_KINDS and not ran.isdisjoint(stage.inputs)
            if is_done(stage, root) and not stale:
                # The run may have been killed just before it removed the scratch folder.
                shutil.rmtree(_scratch(stage, root), ignore_errors=True)
                reporter.line(f"{title}: done before")
            elif _is_committed(stage, root) and stage.kind in SHOWN_KINDS and not stale:
                _publish(stage, root)
                reporter.line(f"{title}: published again")
            else:
                _run_stage(stage, title, plan, root, reporter, connections or Connections())
                ran.add(stage.name)
    return failures(stages, root)


def failures(stages: Iterable[Stage], root: Path) -> list[str]:
    """The recorded failures, once each, at the stage where they arose."""
    found = {stage.name: read_failure(stage.directory(root)) for stage in stages}
    return [f"{name}: {failure.reason}" for name, failure in found.items() if failure and failure.stage == name]


def read_failure(directory: Path) -> Failure | None:
    """Where and why a committed stage's recipe failed, or None."""
    path = directory / "failure.json"
    return Failure(**read_record(path, "stage", "reason")) if path.exists() else None


def is_done(stage: Stage, root: Path) -> bool:
    """Whether the stage's result is committed (and, of SHOWN_KINDS, shown) and not a failure to be tried again."""
    if not _is_committed(stage, root):
        return False
    if stage.kind in SHOWN_KINDS:
        return _published(root).get(stage.kind) == stage.key and (root / stage.kind).is_dir()
    failure = read_failure(stage.directory(root))
    return failure is None or not failure.retry


def _is_committed(stage: Stage, root: Path) -> bool:
    return (stage.directory(root) / "stage.json").exists()


def _scratch(stage: Stage, root: Path) -> Path:
    return root / "scratch" / stage.directory(root).name


def _run_stage(stage: Stage, title: str, plan: Plan, root: Path, reporter: Reporter, connections: Connections) -> None:
    inputs = {name: plan.stage(name).directory(root) for name in stage.inputs}
    scratch = _scratch(stage, root)
    started = time.monotonic()
    reporter.line(title)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with committed_directory(stage.directory(root)) as out:
            tracker = stage_tracker(root, stage)
            outcome = _outcome(StageContext(stage, out, scratch, inputs, reporter, connections, tracker))
            record = {"name": stage.name, "key": stage.key, "summary": outcome.summary}
            atomic_write_json(out / "stage.json", {**record, "seconds": round(time.monotonic() - started, 3)})
        if stage.kind in SHOWN_KINDS:
            _publish(stage, root)
        shutil.rmtree(scratch, ignore_errors=True)
    except UsageError:
        raise
    except LitesmithError as error:
        raise LitesmithError(f"{stage.name}: {error}") from error
    except OSError as error:
        raise LitesmithError(f"{stage.name}: {_os_reason(error, root)}") from error
    verdict = f"FAILED: {outcome.failure}" if outcome.failure else outcome.summary
    reporter.line(f"{title}: {verdict} ({time.monotonic() - started:.1f} s)")


def _os_reason(error: OSError, root: Path) -> str:
    if is_disk_full(error):
        return f"disk full ({error.filename or root}); free some space and run the command again, it resumes"
    return one_line(error)


def _outcome(context: StageContext) -> Outcome:
    """Runs the stage's code, or passes on the failure of an input; a failure is written into the stage's folder."""
    stage = context.stage
    if stage.kind not in SUMMARY_KINDS:
        for directory in context.inputs.values():
            failure = read_failure(directory)
            if failure:
                atomic_write_json(context.out / "failure.json", failure)
                return Outcome("", f"not done, because {failure.stage} failed")
    retry = False
    try:
        outcome: Outcome = load(STAGES, stage.kind, "stage")(context)
    except LitesmithError as error:
        is_final = isinstance(error, (CandidateError, InvariantError))
        if stage.kind not in (RECIPE_KINDS if is_final else RETRIED_KINDS):
            raise
        outcome, retry = Outcome("", str(error)), not is_final
    if outcome.failure:
        atomic_write_json(context.out / "failure.json", Failure(stage.name, outcome.failure, retry))
    return outcome


def _published(root: Path) -> dict[str, str]:
    path = root / PUBLISHED
    return read_record(path) if path.exists() else {}


def _publish(stage: Stage, root: Path) -> None:
    """Copies the stage's folder to WORKDIR/report or WORKDIR/release, replacing that of another configuration.

    The note of what is published is taken back first: whatever kills the process, the next run publishes again.
    """
    others = {kind: key for kind, key in _published(root).items() if kind != stage.kind}
    atomic_write_json(root / PUBLISHED, others)
    with committed_directory(root / stage.kind) as out:
        ours = shutil.ignore_patterns("stage.json")
        shutil.copytree(stage.directory(root), out, dirs_exist_ok=True, ignore=ours)
    atomic_write_json(root / PUBLISHED, {**others, stage.kind: stage.key})
