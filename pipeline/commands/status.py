"""Command `status`: what is done and what is to do in a folder."""

from __future__ import annotations

from core.errors import EXIT_DONE
from core.progress import Reporter
from pipeline.call import Call
from pipeline.status import show_status


def run(call: Call) -> int:
    """Prints the stages of WORKDIR's plan."""
    call.no_arguments("status")
    show_status(call.workdir(), Reporter())
    return EXIT_DONE
