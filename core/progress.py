"""Progress for people: a live bar on a terminal (rich), plain lines with the elapsed time elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Reporter:
    """Tells what is happening and how long it takes.

    On a terminal `task` shows a bar with elapsed and remaining time; elsewhere a line at most every `interval_s`
    seconds and one at the end.
    """

    def __init__(self, console: Console | None = None, interval_s: float = 10.0) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._interval_s = interval_s
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        """Prints one line, with the seconds since the start where there is no terminal to show a clock."""
        prefix = "" if self.console.is_terminal else f"[{time.monotonic() - self._started:6.0f} s] "
        self.console.print(prefix + text, markup=False)

    @contextlib.contextmanager
    def task(self, label: str, total: int) -> Iterator[Task]:
        """Shows the progress of `total` units of work named by `label`."""
        if not self.console.is_terminal:
            yield _PlainTask(self, label, total, self._interval_s)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
        bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True)
        with bar:
            yield _BarTask(bar, label, total)


class Task:
    """A running unit of work: call `advance` when some of it is done, with a note on the latest result."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Says that `units` more are done."""


class _BarTask(Task):
    def __init__(self, bar: Progress, label: str, total: int) -> None:
        self._bar, self._label = bar, label
        self._id = bar.add_task(label, total=total)

    def advance(self, units: int = 1, note: str = "") -> None:
        description = f"{self._label}  {note}" if note else self._label
        self._bar.update(self._id, advance=units, description=description)


class _PlainTask(Task):
    def __init__(self, reporter: Reporter, label: str, total: int, interval_s: float) -> None:
        self._reporter, self._label, self._total, self._interval_s = reporter, label, total, interval_s
        self._done, self._started = 0, time.monotonic()
        self._last = self._started

    def advance(self, units: int = 1, note: str = "") -> None:
        self._done += units
        now = time.monotonic()
        if self._done < self._total and now - self._last < self._interval_s:
            return
        self._last = now
        elapsed = now - self._started
        remaining = elapsed / self._done * (self._total - self._done)
        left = f", about {remaining:.0f} s left" if self._done < self._total else ""
        note = f"  {note}" if note else ""
        self._reporter.line(f"{self._label} {self._done}/{self._total} ({elapsed:.0f} s{left}){note}")


class SilentReporter(Reporter):
    """A reporter that shows nothing, for tests and library use."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True, force_terminal=False))

    def line(self, text: str) -> None:
        """Shows nothing."""
