"""Errors that a user sees: one clear line and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


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
