"""What the measurement protocol and the runners say to each other.

A runner knows one kind of target. It tells the target's state and runs one session: a model in a fresh process, warmed
up and timed. The protocol decides how many sessions a measurement takes and what to believe of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.errors import LitesmithError
from core.values import Target

# A slow network stops here, before its `runs`: 5 processes of a 1 s network must not take 17 minutes.
MAX_SESSION_SECONDS = 60.0


class MeasurementError(LitesmithError):
    """A model that could not be measured on a target: it crashed, hung or failed while running."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session: `warmup_runs` untimed invocations, then timed ones until `runs` and `min_seconds` are both reached.

    Warm-up and timed part each end after `max_seconds` in any case, but not before one invocation.
    """

    warmup_runs: int
    runs: int
    min_seconds: float
    max_seconds: float = MAX_SESSION_SECONDS


@dataclass(frozen=True, slots=True)
class Concern:
    """Why a figure should not be trusted: `kind` is the word the verdict begins with ("noisy", "fell back to CPU")."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class TargetState:
    """The target just before a measurement."""

    conditions: dict[str, str]
    concerns: tuple[Concern, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What one fresh process measured.

    `durations_ns` holds every timed invocation in order. `cpu_share` is CPU time by wall time of the timed part for a
    single-threaded session (near 1 when the process had its core to itself), else None.
    """

    durations_ns: tuple[int, ...]
    peak_memory_bytes: int
    cpu_share: float | None = None
    conditions: dict[str, str] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()


class Runner(Protocol):
    """Measures on one kind of target; android_bench.runners.RUNNERS lists the implementations."""

    @property
    def tool(self) -> str:
        """The measuring program with its version."""

    def exclusive(self, target: Target) -> AbstractContextManager[None]:
        """Keeps other measurements off the target while the block runs; waits for its turn."""

    def state(self, target: Target) -> TargetState:
        """The target's condition now, with what speaks against measuring."""

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process.

        Raises UsageError for a model that the target's runtime refuses, MeasurementError if it fails otherwise.
        """
