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
from core.values import OpTime, Target

# A slow network stops here, before its `runs`: 5 processes of a 1 s network must not take 17 minutes.
MAX_SESSION_SECONDS = 60.0


class MeasurementError(LitesmithError):
    """A model that could not be measured on a target: it crashed, hung or failed while running.

    `transient`: another try may succeed. `of_model`: what failed is this model's session; otherwise a transient error
    is of the way to the target.
    """

    def __init__(self, message: str, *, transient: bool = False, of_model: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        self.of_model = of_model

    @property
    def is_lost(self) -> bool:
        """Whether the target itself is out of reach."""
        return self.transient and not self.of_model


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session: `warmup_runs` untimed invocations, then timed ones until `runs` and `min_seconds` are both reached.

    Warm-up and timed part each end after `max_seconds` in any case, but not before one invocation.
    """

    warmup_runs: int
    runs: int
    min_seconds: float
    max_seconds: float = MAX_SESSION_SECONDS
    profile: bool = False


# Of concerns, the gravest first.
FELL_BACK, THROTTLED, NOISY = KINDS = ("fell back to CPU", "throttled", "noisy")


@dataclass(frozen=True, slots=True)
class Concern:
    """Why a figure should not be trusted: `kind` is what the verdict begins with, one of KINDS."""

    kind: str
    reason: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of concern: {self.kind!r}")


@dataclass(frozen=True, slots=True)
class TargetState:
    """The target just before or after a measurement.

    `wait_for` says why measuring should wait ("thermal status 2 (moderate)"), "" if it need not; if waiting is in vain,
    or the reason comes up during the sessions, it becomes a concern of kind `wait_kind`. `concerns` are what waiting
    does not mend.
    """

    conditions: dict[str, str]
    concerns: tuple[Concern, ...] = ()
    wait_for: str = ""
    wait_kind: str = THROTTLED


@dataclass(frozen=True, slots=True)
class Summary:
    """What a tool that keeps the single durations to itself tells of its timed runs.

    `center` is "median", or "mean" for a build that prints no median (`median_us` is the mean then); `p95_us` is None
    where the build prints none.
    """

    runs: int
    median_us: float
    mean_us: float
    min_us: float
    max_us: float
    p95_us: float | None = None
    center: str = "median"


@dataclass(frozen=True, slots=True)
class Session:
    """What one fresh process measured.

    `durations_ns` holds every timed invocation in order; it is empty where the tool gives a `summary` only. `cpu_share`
    is CPU time by wall time of the timed part for a single-threaded session (near 1 when the process had its core to
    itself), else None. `ops` is there if a profile was asked for.
    """

    durations_ns: tuple[int, ...]
    peak_memory_bytes: int
    cpu_share: float | None = None
    conditions: dict[str, str] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()
    summary: Summary | None = None
    ops: tuple[OpTime, ...] = ()


class Runner(Protocol):
    """Measures on one kind of target. android_bench.runners.RUNNERS lists a function for each kind that makes one:
    `make(target: Target, connections: android_bench.connections.Connections) -> Runner`."""

    @property
    def tool(self) -> str:
        """The measuring program with its version."""

    def exclusive(self, target: Target) -> AbstractContextManager[None]:
        """Keeps other measurements off the target while the block runs; waits for its turn."""

    def state(self, target: Target) -> TargetState:
        """The target's condition now, with what speaks against measuring. Called before and after the sessions."""

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process; with `plan.profile` the session's `ops` are filled where the tool can, and
        its durations are not to be used, since profiling costs time.

        Raises UsageError for a model that the target's runtime refuses, MeasurementError if it fails otherwise.
        """
