"""Command `extract`: one more network out of a finished supernet."""

from __future__ import annotations

import sys
from pathlib import Path

from core.errors import EXIT_DONE, EXIT_FAILED
from core.progress import Reporter
from pipeline.call import Call
from pipeline.extract import ExtractRequest, extract_command

NAMES = ("arch", "max_latency_us", "max_macs", "target", "latency_table")


def run(call: Call) -> int:
    """Takes the network, fine-tunes it and makes its files in --out; 1 if a recipe failed."""
    call.no_arguments("extract")
    request = ExtractRequest(**{name: call.flags[name] for name in NAMES if name in call.flags})
    out = Path(call.needed("out", "a folder for the network and its files"))
    workdir, config, reporter = call.workdir(), call.config(), Reporter()
    found = extract_command(request, config, workdir, out, reporter, call.connections(), call.reproduction)
    for line in found.lines:
        reporter.line(line)
    for line in found.failures:
        print(f"litesmith: {line}", file=sys.stderr)
    return EXIT_FAILED if found.failures else EXIT_DONE
