"""Command `status`: what is done and what is to do in a folder."""

from __future__ import annotations

import json

from core.errors import EXIT_DONE
from core.progress import Reporter
from pipeline.call import Call
from pipeline.status import show_status, status_json


def run(call: Call) -> int:
    """Prints the stages of WORKDIR's plan, with --json all that is known of the run."""
    call.no_arguments("status")
    if call.flags.get("json"):
        print(json.dumps(status_json(call.workdir()), indent=2))
    else:
        show_status(call.workdir(), Reporter())
    return EXIT_DONE
