"""Benchmarks in parts that are kept: after a kill, and where one part fails, the others are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from core.errors import LitesmithError, UsageError, one_line
from core.progress import Reporter
from core.workspace import atomic_write_json

T = TypeVar("T")


def make_missing(
    word: str, paths: Mapping[str, Path], make: Callable[[str], T], show: Callable[[T], None], reporter: Reporter
) -> bool:
    """Makes, writes and shows each part that is not yet at its path; whether one failed.

    `word` is what a part is called, and `make` makes that of a name. Raises UsageError.
    """
    failed = False
    for name, path in paths.items():
        if path.exists():
            continue
        reporter.line(f"{word} {name}")
        try:
            made = make(name)
        except UsageError:
            raise
        except LitesmithError as error:
            reporter.line(f"{word} {name} FAILED: {one_line(error)}")
            failed = True
        else:
            atomic_write_json(path, made)
            show(made)
    return failed
