"""Command `describe`: a network or search space as a page."""

from __future__ import annotations

from core.errors import EXIT_DONE, UsageError
from core.progress import Reporter
from pipeline.call import Call
from pipeline.describe import Asked, describe, show


def run(call: Call) -> int:
    """Prints the page of its one argument."""
    if len(call.arguments) != 1:
        found = " ".join(call.arguments) or "none"
        raise UsageError(f"describe: expected one name, or a network's text in quotes; got {found}")
    show(describe(call.arguments[0], Asked(**call.flags)), Reporter())
    return EXIT_DONE
