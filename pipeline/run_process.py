"""A run as a process of its own, followed by its log. Standard library and core only: the scheduler's environment has
no more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from core import process
from core.errors import EXIT_DONE, EXIT_USAGE, LitesmithError, UsageError

PYTHON_VARIABLE = "LITESMITH_PYTHON"
LAST_LINES = 20
_ROOT = Path(__file__).resolve().parents[1]
_ERROR = "litesmith: "
_LONGEST = 200  # characters of a line that stands for a reason
# A plan or a status reads small files, but a plan also the names and sizes of a folder of images.
_QUESTION_TIMEOUT_S = 600.0
_CLOCK = re.compile(r"\[ *\d+ s\] ")  # which core.progress.Reporter puts before a line
_STAGE = re.compile(r"\[\d+/\d+\] (\S+?)(?:: (.*))?")  # of pipeline.runner.run_stages


@dataclass(frozen=True, slots=True)
class StageLine:
    """A line of a run's log that concerns a whole stage: its name, and how it ended (None: it begins)."""

    name: str
    verdict: str | None


def stage_line(line: str) -> StageLine | None:
    """What a line of a run's log says of a stage; None if it is another line."""
    found = _STAGE.fullmatch(without_clock(line))
    return StageLine(found[1], found[2]) if found else None


def without_clock(line: str) -> str:
    """A line of a run's log without the seconds since its start."""
    return _CLOCK.sub("", line, count=1)


def interpreter() -> Path:
    """The Python of the pipeline: `LITESMITH_PYTHON`, else `.venv`. Raises UsageError if it is not there."""
    named = os.environ.get(PYTHON_VARIABLE)
    path = Path(named) if named else _ROOT / ".venv" / "bin" / "python"
    if not path.is_file():
        raise UsageError(f"{PYTHON_VARIABLE if named else 'schedule'}: no Python at {path}; `make setup` installs it")
    return path


def ask(arguments: Sequence[str]) -> Any:
    """The JSON that a short command of the pipeline prints. Raises what it refused or failed with, in its words."""
    command = (str(interpreter()), "-m", "pipeline.main", *arguments)
    done = process.run(command, timeout_s=_QUESTION_TIMEOUT_S, env={"PYTHONPATH": str(_ROOT)}, check=False)
    if done.returncode != EXIT_DONE:
        reason = _reason(done.stderr.splitlines(), done.returncode)
        raise UsageError(reason) if done.returncode == EXIT_USAGE else LitesmithError(reason)
    return json.loads(done.stdout)


class RunProcess:
    """One command of the pipeline as a child whose log is read line by line.

    A context manager: leaving it ends the child and all that it started, should it still run.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.at_end = False  # whether all of the log was read
        self._process = subprocess.Popen(
            [str(interpreter()), "-m", "pipeline.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
            cwd=_ROOT,
            start_new_session=True,
        )

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The group, also where the child has ended: what it started may live on.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def lines(self) -> Iterator[str]:
        """The log's lines from where the last reader stopped, until the child closes it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.rstrip()
            if text:
                self.last_lines.append(text)
                yield text
        self.at_end = True

    def wait(self) -> int:
        """The child's exit code, once it has ended."""
        return self._process.wait()

    def reason(self, stage: str = "") -> str:
        """Why the child, which has ended, did not do its work, of which `stage` was the last part."""
        return _reason(self.last_lines, self.wait()).removeprefix(f"{stage}: ")


def _reason(lines: Sequence[str] | deque[str], exit_code: int) -> str:
    """The last error in a log; without one, how the process ended and the log's last line."""
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if errors:
        return errors[-1]
    last = without_clock(lines[-1]) if lines else "no output"
    return f"{process.end_in_words(exit_code)}, after: {last[:_LONGEST]}"
