"""Networks written as grammar lines: what a data set decides is put in front."""

from __future__ import annotations

from decimal import Decimal

from search.arch import ArchSpec
from search.grammar import from_text


def arch_of(
    lines: str, resolution: int, num_classes: int, width_multiplier: float = 1.0, *, norm: str = ""
) -> ArchSpec:
    """The network of the lines "stem_… stages head_…" for a data set; `norm` is a word of the grammar's input token.

    Raises UsageError naming the line whose stride does not fit the resolution.
    """
    width = f"{Decimal(repr(float(width_multiplier))):f}"
    first = "_".join(["input", f"r{resolution}", f"n{num_classes}", f"w{width}", *([norm] if norm else [])])
    return from_text(f"{first} {lines}")
