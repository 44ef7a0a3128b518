"""Running other programs. A test replaces `run` by a function of the same signature."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import LitesmithError

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished program left: its exit code and its output as text."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class ProcessError(LitesmithError):
    """A program that could not be started, ran too long or ended with a non-zero exit code."""


def run(
    args: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Completed:
    """Runs a program in a process group of its own, so that a time-out leaves no orphan.

    `env` is added to the present environment. Raises ProcessError if the program is missing, exceeds `timeout_s`
    seconds, or (with `check`) ends with a non-zero code; the message ends with its last line of stderr.
    """
    name = os.path.basename(args[0])
    try:
        process = subprocess.Popen(
            list(args),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError(f"{name}: cannot be started ({error.strerror}): {args[0]}") from error
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        _kill_group(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise ProcessError(f"{name}: no answer within {timeout_s:g} s; stopped") from error
        raise
    completed = Completed(tuple(args), process.returncode, stdout, stderr)
    if check and completed.returncode != 0:
        raise ProcessError(f"{name}: exit code {completed.returncode}: {_last_line(stderr, stdout)}")
    return completed


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A daemon that left the group (adb's server) may hold the pipes open for ever: do not wait for their end.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _last_line(*texts: str) -> str:
    """The last line that is not blank of the first text that has one."""
    for text in texts:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return lines[-1][:300]
    return "(no output)"


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent dies, even by SIGKILL, and even while this process is stopped.

    Ends the process at once if the parent has died before the call.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)


def end_in_words(returncode: int) -> str:
    """How a process ended: "exit code 3", or the name of the signal that killed it with what it often means."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # a real-time signal between the named two
        name = f"signal {-returncode}"
    return f"killed by {name}" + (" (perhaps out of memory)" if name == "SIGKILL" else "")
