"""Range and choice checks for config values; each raises UsageError that names the key, the value and what is legal."""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import bad_value, one_of


def in_range(where: str, value: float, low: float, high: float) -> None:
    """Requires `low <= value <= high`; NaN is refused."""
    if not low <= value <= high:
        raise bad_value(where, value, f"a number from {low:g} to {high:g}")


def in_choices(where: str, value: str, choices: Iterable[str]) -> None:
    """Requires `value` to be one of `choices`."""
    legal = tuple(choices)
    if value not in legal:
        raise bad_value(where, value, one_of(legal))
