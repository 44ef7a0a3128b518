"""Trying again what failed on the way to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from android_bench.session import MeasurementError
from core.errors import one_line
from core.progress import Reporter

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 2.0  # doubled from one attempt to the next: a phone that restarts is back after a minute
MAX_PAUSE_SECONDS = 30.0


def retried(action: Callable[[], T], retries: int, reporter: Reporter, sleep: Callable[[float], None]) -> T:
    """What `action` returns. A transient MeasurementError is tried again up to `retries` times, with growing pauses.

    Any other error is raised at once: a model that the target refuses is refused the second time too. The last
    transient error says how many attempts there were, and is transient.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, retries + 2):
        try:
            return action()
        except MeasurementError as error:
            if not error.transient:
                raise
            if attempt > retries:
                attempts = f"{error} ({attempt} attempts)"
                raise MeasurementError(attempts, transient=True, of_model=error.of_model) from error
            reporter.line(f"{one_line(error)}; trying again in {pause:g} s")
        sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last attempt returns or raises")
