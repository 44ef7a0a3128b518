"""The one marker that turns a spec into a template: a place with several legal values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.errors import UsageError


@dataclass(frozen=True, slots=True)
class OneOf:
    """A searchable place of a template. Places with the same non-empty `tie` always take the same choice."""

    choices: tuple[Any, ...]
    tie: str = ""

    def __post_init__(self) -> None:
        if not self.choices:
            raise UsageError("OneOf: () is not legal; expected at least one choice")
        if len(set(self.choices)) != len(self.choices):
            raise UsageError(f"OneOf: {self.choices!r} holds a choice twice; each must differ")
