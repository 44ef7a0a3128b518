"""Progress for people: a live bar on a terminal (rich), plain lines with the elapsed time elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# A pipe has no width of its own; rich would fold tables at 80 columns.
PIPE_WIDTH = 200


class Reporter:
    """Tells what is happening and how long it takes.

    On a terminal `task` shows a bar with elapsed and remaining time; elsewhere a line at most every `interval_s`
    seconds and one at the end. Tasks may be nested: an inner one has a bar of its own below the outer one's, and as
    plain lines it is silent if it takes less than `interval_s`.
    """

    def __init__(self, console: Console | None = None, interval_s: float = 10.0) -> None:
        self.console = console or _standard_output()
        self._interval_s = interval_s
        self._started = time.monotonic()
        self._depth = 0
        self._bars: Progress | None = None

    def line(self, text: str) -> None:
        """Prints one line, with the seconds since the start where there is no terminal to show a clock."""
        prefix = "" if self.console.is_terminal else f"[{time.monotonic() - self._started:6.0f} s] "
        self.console.print(prefix + text, markup=False, emoji=False)

    @contextlib.contextmanager
    def task(self, label: str, total: int) -> Iterator[Task]:
        """Shows the progress of `total` units of work named by `label`."""
        self._depth += 1
        try:
            if self.console.is_terminal:
                with self._bar(label, total) as task:
                    yield task
            else:
                yield _PlainTask(self, label, total, self._interval_s, is_inner=self._depth > 1)
        finally:
            self._depth -= 1

    @contextlib.contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Task]:
        with contextlib.ExitStack() as stack:
            # rich allows one live display at a time: inner tasks are rows of the outermost's.
            bars = self._bars or stack.enter_context(_new_bars(self.console))
            row = bars.add_task(label, total=total)
            if bars is self._bars:
                stack.callback(bars.remove_task, row)
            else:
                self._bars = bars
                stack.callback(setattr, self, "_bars", None)
            yield _BarTask(bars, row, label)


def _standard_output() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def _new_bars(console: Console) -> Progress:
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)


class Task:
    """A running unit of work: call `advance` when some of it is done, with a note on the latest result."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Says that `units` more are done."""


class _BarTask(Task):
    def __init__(self, bars: Progress, row: TaskID, label: str) -> None:
        self._bar, self._id, self._label = bars, row, label

    def advance(self, units: int = 1, note: str = "") -> None:
        description = f"{self._label}  {note}" if note else self._label
        self._bar.update(self._id, advance=units, description=description)


class _PlainTask(Task):
    def __init__(self, reporter: Reporter, label: str, total: int, interval_s: float, is_inner: bool) -> None:
        self._reporter, self._label, self._total, self._interval_s = reporter, label, total, interval_s
        self._is_inner = is_inner
        self._done, self._started = 0, time.monotonic()
        self._last = self._started

    def advance(self, units: int = 1, note: str = "") -> None:
        self._done += units
        now = time.monotonic()
        finished = self._done >= self._total and not (self._is_inner and now - self._started < self._interval_s)
        if not finished and now - self._last < self._interval_s:
            return
        self._last = now
        elapsed = now - self._started
        left = ""
        if 0 < self._done < self._total:
            left = f", about {elapsed / self._done * (self._total - self._done):.0f} s left"
        note = f"  {note}" if note else ""
        self._reporter.line(f"{self._label} {self._done}/{self._total} ({elapsed:.0f} s{left}){note}")


class SilentReporter(Reporter):
    """A reporter that shows nothing, for tests and library use."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True, force_terminal=False))

    def line(self, text: str) -> None:
        """Shows nothing."""
