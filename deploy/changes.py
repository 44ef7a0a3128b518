"""Values of a comparison of two releases (deploy.gates makes them), and what a user is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK, BETTER, REGRESSION, NOT_COMPARED = "ok", "better", "regression", "not compared"
ACCURACY, SIZE, LATENCY, MODEL = "accuracy", "size", "latency", "model"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse than the one before a release may be, as fractions of the test images, of size and of latency."""

    max_accuracy_loss: float = 0.005
    max_size_growth: float = 0.05
    max_latency_growth: float = 0.10


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of a model, before and after.

    Attributes:
      model: its file in the later release; of one that vanished, in the earlier.
      what: "accuracy" (fraction of the test images), "size" (bytes), "latency" (us), or "model": it vanished.
      target: of a latency.
      low, high: the 95 % interval of the change: of accuracy after - before, else of after / before - 1.
      p_value: one-sided, that chance alone makes an accuracy lose as much.
      limit: of the change for the worse, as Limits has it.
      verdict: "ok", "better", "regression" or "not compared".
      reason: why not compared, or what the verdict rests on.
    """

    model: str
    what: str
    target: str = ""
    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    limit: float = 0.0
    verdict: str = OK
    reason: str = ""

    @property
    def change(self) -> float | None:
        """Of accuracy after - before, else after / before - 1; None where that is no number."""
        if self.before is None or self.after is None:
            return None
        if self.what == ACCURACY:
            return self.after - self.before
        return self.after / self.before - 1 if self.before else None


def regressions(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Those of the changes that speak against publishing."""
    return tuple(change for change in changes if change.verdict == REGRESSION)


def describe(change: Change) -> str:
    """The change as one line: what it is, how certain, and its limit."""
    if change.what == MODEL or change.before is None or change.after is None:
        return f"{change.model}: {change.reason}"
    delta = change.change or 0.0
    where = f" on {change.target}" if change.target else ""
    if change.what == ACCURACY:
        figures = f"{100 * change.before:.2f} % -> {100 * change.after:.2f} % ({100 * delta:+.2f} points"
        limit = f"at most {100 * change.limit:g} points may be lost"
    else:
        unit = "bytes" if change.what == SIZE else "us"
        digits = 0 if change.what == SIZE else 1
        figures = f"{change.before:.{digits}f} -> {change.after:.{digits}f} {unit} ({delta:+.1%}"
        limit = f"at most {100 * change.limit:g} % more is allowed"
    reason = f"; {change.reason}" if change.reason else ""
    return f"{change.model}: {change.what}{where} {figures}{reason}); {limit}"
