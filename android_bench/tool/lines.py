"""Lines and numbers of tool output: prefixes taken off, units applied exactly, anything odd refused with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from android_bench.tool.values import ToolFailure

_LINE_CHARACTERS = 120  # of a line that an error shows
_MAX_US = Decimal(10) ** 12  # eleven days: no run and no initialization takes that long
_MAX_COUNT = 10**9
_MAX_MEGABYTES = Decimal(10) ** 7  # ten terabytes
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?")
_COUNT = re.compile(r"[0-9]{1,10}")

# adb logcat's formats threadtime, time and brief, with or without a year.
_LOGCAT = re.compile(
    r"(?:(?:[0-9]{4}-)?[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]+ +)?"
    r"(?:[0-9]+ +[0-9]+ ([VDIWEF]) [^:]{0,40}?|([VDIWEF])/[^(]{1,40}\( *[0-9]+\)) *: ?"
)
_LOGCAT_LEVELS = {"V": "VERBOSE", "D": "VERBOSE", "I": "INFO", "W": "WARN", "E": "ERROR", "F": "ERROR"}
_LEVEL = re.compile(r"(VERBOSE|INFO|WARN(?:ING)?|ERROR|FATAL): ")
# LiteRT's lines: "INFO: [file.cc:12] text" of the runtime, and those of Python's logging.
_SOURCE = re.compile(r"\[[\w./-]+:[0-9]+\] ")
_PYTHON_LOG = re.compile(r"[0-9-]{10} [0-9:,]{8,12} (DEBUG|INFO|WARNING|ERROR|CRITICAL) \w+: ")
_LEVELS = {"WARNING": "WARN", "FATAL": "ERROR", "CRITICAL": "ERROR", "DEBUG": "VERBOSE"}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: `text` without its prefixes, `level` VERBOSE, INFO, WARN, ERROR or "" (not said)."""

    text: str
    level: str = ""


def read_lines(text: str) -> tuple[LogLine, ...]:
    """The lines of a tool's output or of `adb logcat`; the white space in front stays, the one at the end goes."""
    return tuple(_read_line(line.rstrip()) for line in text.split("\n"))


def _read_line(line: str) -> LogLine:
    level = ""
    if found := _LOGCAT.match(line) or _PYTHON_LOG.match(line):
        letter = next(group for group in found.groups() if group)
        level = _LOGCAT_LEVELS.get(letter) or _LEVELS.get(letter, letter)
        line = line[found.end() :]
    if found := _LEVEL.match(line):
        level = _LEVELS.get(found[1], found[1])
        line = line[found.end() :]
    if found := _SOURCE.match(line):
        line = line[found.end() :]
    return LogLine(line, level)


def shorten(line: str) -> str:
    """A line as an error shows it: printable, one line, at most 120 characters."""
    text = "".join(char if char.isprintable() else " " for char in line)
    text = " ".join(text.split())
    return text if len(text) <= _LINE_CHARACTERS else text[: _LINE_CHARACTERS - 3] + "..."


def unreadable(what: str, line: str) -> ToolFailure:
    """The error for a line that is not what the tool writes."""
    return ToolFailure("unreadable", f"{what}: {shorten(line)!r}")


def _number(text: str, line: str, limit: Decimal) -> Decimal:
    if not _NUMBER.fullmatch(text) or (value := Decimal(text)) > limit:
        raise unreadable(f"{shorten(text)!r} is not a number from 0 to {limit:.0e}", line)
    return value


def microseconds(text: str, line: str, factor: int = 1) -> float:
    """A duration as printed, times `factor` (1000 for milliseconds): exact, and NaN, infinities and signs refused."""
    return float(_number(text, line, _MAX_US / factor) * factor)


def count(text: str, line: str) -> int:
    """A count as printed: digits only."""
    if not _COUNT.fullmatch(text) or int(text) > _MAX_COUNT:
        raise unreadable(f"{shorten(text)!r} is not a count", line)
    return int(text)


def percentage(text: str, line: str) -> float:
    """A number from 0 to 100 (and what rounding adds to a sum) with its % sign."""
    if not text.endswith("%"):
        raise unreadable(f"{shorten(text)!r} is not a percentage", line)
    return float(_number(text[:-1], line, Decimal("100.01")))


def kilobytes(text: str, line: str) -> float:
    """The growth of a process in kB, which is negative when it shrinks."""
    sign = -1.0 if text.startswith("-") else 1.0
    return sign * float(_number(text.removeprefix("-"), line, _MAX_MEGABYTES * 1024))


def model_bytes(text: str, line: str) -> int:
    """A model file's size, which the tool prints in MB of 10**6 bytes."""
    return round(_number(text, line, _MAX_MEGABYTES) * 10**6)


def memory_bytes(text: str, line: str) -> int:
    """A process's memory, which the tool prints in MB of 1024 of the kernel's kB: those, times 1024."""
    return round(_number(text, line, _MAX_MEGABYTES) * 1024) * 1024


def at_most_one(values: Iterable[Value], what: str) -> Value | None:
    """The value that all of them are; None for none. Raises ToolFailure if they differ: several runs in one text."""
    found = list(values)
    if any(value != found[0] for value in found[1:]):
        raise ToolFailure("unreadable", f"{what} is there {len(found)} times with different values")
    return found[0] if found else None
