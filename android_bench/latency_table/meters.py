"""How files are timed in batches: on this computer many of them in one process, elsewhere one session for each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from android_bench.runners.host import HostRunner
from android_bench.session import FELL_BACK, MeasurementError, Runner, Session, SessionPlan
from android_bench.settings import BenchConfig, tool_of
from android_bench.stats import session_figures
from android_bench.worker import GRACE_SECONDS, WORKER_ENVIRONMENT, worker_answer
from core import process
from core.process import ProcessError
from core.values import Target

# Of one process. They fix its median to about 2 %; processes differ by more than that, and there are several.
RUNS = 30
MIN_SECONDS = 0.05  # in a device's own sessions, which a tool starts for one model alone
WARMUP_RUNS = 5
# Models in one process: enough that its start counts little, and so few that a kill loses seconds.
HOST_BATCH = 40
MAX_BATCH_SECONDS = 120.0

_WORKER = (sys.executable, "-P", "-m", "android_bench.latency_table.batch_worker")


@dataclass(frozen=True, slots=True)
class File:
    """A model to be timed; `text` is what it is called in messages."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Timing:
    """The median of one process's runs of a model."""

    median_us: float
    runs: int


class Meter(Protocol):
    """Times files on a target."""

    @property
    def batch_size(self) -> int:
        """How many files should be given at a time."""

    def time(self, files: Sequence[File], seed: int) -> list[Timing]:
        """One session of each file. Raises MeasurementError (transient if the connection failed) and UsageError."""


def meter_for(runner: Runner, target: Target, config: BenchConfig) -> Meter:
    """The meter of a runner's kind."""
    plan = SessionPlan(
        warmup_runs=min(config.warmup_runs, WARMUP_RUNS),
        runs=min(config.runs, RUNS),
        min_seconds=min(config.min_seconds, MIN_SECONDS),
        max_seconds=MAX_BATCH_SECONDS,
    )
    return HostMeter(target, plan) if isinstance(runner, HostRunner) else RunnerMeter(runner, target, plan)


@dataclass(frozen=True, slots=True)
class RunnerMeter:
    """Asks a runner for one session of each file."""

    runner: Runner
    target: Target
    plan: SessionPlan
    batch_size: int = 1

    def time(self, files: Sequence[File], seed: int) -> list[Timing]:
        """One session after the other."""
        return [self._timing(file) for file in files]

    def _timing(self, file: File) -> Timing:
        session = self.runner.run(file.path, self.target, self.plan)
        _check_delegate(session, file.text, self.target)
        figures = session_figures(session)
        return Timing(figures.median_us, figures.runs)


def _check_delegate(session: Session, text: str, target: Target) -> None:
    reasons = [concern.reason for concern in session.concerns if concern.kind == FELL_BACK]
    if reasons:
        raise MeasurementError(f"{text}: {target.name}: {FELL_BACK}: {reasons[0]}")


@dataclass(frozen=True, slots=True)
class HostMeter:
    """Times a batch in turns in one fresh process on this computer (see batch_worker)."""

    target: Target
    plan: SessionPlan
    batch_size: int = HOST_BATCH

    def time(self, files: Sequence[File], seed: int) -> list[Timing]:
        """All files in one process; `seed` is that of their order."""
        request = {
            "models": [{"path": str(file.path), "text": file.text} for file in files],
            "tool": tool_of(self.target),
            "num_threads": self.target.num_threads,
            "cpu_mask": self.target.cpu_mask,
            "delegate": self.target.delegate,
            "warmup_runs": self.plan.warmup_runs,
            "runs": self.plan.runs,
            "max_seconds": self.plan.max_seconds,
            "seed": seed,
            "parent_pid": os.getpid(),
        }
        answer = self._answer(request)
        for file, partitions in zip(files, answer["delegate_partitions"], strict=True):
            if self.target.delegate == "xnnpack" and partitions == 0:
                raise MeasurementError(f"{file.text}: {self.target.name}: {FELL_BACK}: XNNPACK took no part of it")
        return [Timing(float(np.median(runs)) / 1e3, len(runs)) for runs in answer["durations_ns"]]

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        what = f"{len(request['models'])} models"
        modules = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        environment = {**WORKER_ENVIRONMENT, "PYTHONPATH": modules}
        timeout_s = 2 * self.plan.max_seconds + GRACE_SECONDS
        try:
            done = process.run(_WORKER, timeout_s=timeout_s, stdin=json.dumps(request), env=environment, check=False)
        except ProcessError as error:
            raise MeasurementError(f"{what}: host measurement: {error}") from error
        return worker_answer(Path(what), "host", done)
