"""Figures of a benchmark in a page of docs/, between two marks."""

from __future__ import annotations

from pathlib import Path

from core.errors import UsageError
from core.workspace import atomic_write_bytes


def put_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replaces what stands between the marks by `text`. Raises UsageError unless each mark is there once."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if page.count(begin) != 1 or page.count(end) != 1:
        raise UsageError(f"{path}: no lines to put the figures between; expected one {begin} and one {end}")
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    atomic_write_bytes(path, (before + begin + text + end + after).encode())
