"""What a benchmark tool is asked for: one session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from android_bench.session import SessionPlan
from core.values import Target


@dataclass(frozen=True, slots=True)
class Job:
    """One session that a tool is to run: not pinned without `cores`; `grace_seconds` may come on top of its plan."""

    model: Path
    target: Target
    cores: tuple[int, ...]
    plan: SessionPlan
    grace_seconds: float

    @property
    def timeout_s(self) -> float:
        """How long the tool may be silent: warm-up and timed part have max_seconds each."""
        return 2 * self.plan.max_seconds + self.grace_seconds
