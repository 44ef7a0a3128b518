"""Errors that a user sees: one clear line and an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + 2  # as a shell tells of SIGINT


class LitesmithError(Exception):
    """Work that failed for a reason we can name; the command ends with `exit_code`."""

    exit_code = EXIT_FAILED


class UsageError(LitesmithError):
    """Bad input: the message names the value, where it came from and what is legal."""

    exit_code = EXIT_USAGE


class CandidateError(LitesmithError):
    """A candidate that cannot be built, diverges or cannot be converted: recorded, and the search goes on."""


class InvariantError(LitesmithError):
    """A compression pass broke what an earlier one had established; names the layer and the pass."""


def run_command(command: Callable[[], int]) -> int:
    """Runs a command: its exit code, or that of the error, which is told in one line on stderr."""
    try:
        return command()
    except LitesmithError as error:
        print(f"litesmith: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("litesmith: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


def bad_value(where: str, value: object, legal: str) -> UsageError:
    """A UsageError for `value` found at `where`, with the legal values in words."""
    return UsageError(f"{where}: {value!r} is not legal; expected {legal}")


def one_of(choices: Iterable[object]) -> str:
    """The legal values of an enumeration, in words for `bad_value`."""
    return "one of " + ", ".join(sorted(str(choice) for choice in choices))


def one_line(error: BaseException) -> str:
    """The message of any exception on one line of at most 300 characters, for logs and exit messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, LitesmithError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 300 else text[:297] + "..."
