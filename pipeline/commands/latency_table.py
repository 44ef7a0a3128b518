"""Command `latency_table`: the blocks of a search space measured on a target, as a table for the search."""

from __future__ import annotations

import shutil
from pathlib import Path

from android_bench.latency_table.build import build_table
from android_bench.latency_table.units import data_type_of
from android_bench.targets import resolve_target
from core.errors import EXIT_DONE, UsageError, bad_value
from core.progress import Reporter
from deploy.schemes import FULL_INTEGER
from pipeline.call import Call
from search.latency.table import LatencyTable, write_latency_table
from search.named import DEFAULT_CLASSES, DEFAULT_RESOLUTION, space

MIN_PROCESSES = 2  # of one session alone, nothing tells how far it is to be trusted


def run(call: Call) -> int:
    """Measures the table, or what is missing of it, and writes it to --out."""
    call.no_arguments("latency_table")
    name = call.needed("space", "the name of a search space")
    target_name = call.needed("target", "the name of a target; `devices` shows what is attached")
    out = _checked(Path(call.needed("out", "a file for the table")))
    scheme = call.flags.get("scheme", FULL_INTEGER)
    data_type_of(scheme)
    resolution = call.flags.get("resolution", DEFAULT_RESOLUTION)
    searched = space(name, resolution, call.flags.get("num_classes", DEFAULT_CLASSES))
    config = call.config()
    if config.bench.processes < MIN_PROCESSES:
        raise bad_value("config.bench.processes", config.bench.processes, f"{MIN_PROCESSES} or more for a table")
    target = resolve_target(target_name, config.bench, "--target")
    reporter, work = Reporter(), out.with_name(f"{out.name}.work")
    table = build_table(
        searched,
        scheme,
        target,
        config.bench,
        work,
        connections=call.connections(),
        reporter=reporter,
        seed=config.seed,
    )
    write_latency_table(out, table)
    shutil.rmtree(work)
    for line in summary_lines(table, out):
        reporter.line(line)
    return EXIT_DONE


def summary_lines(table: LatencyTable, out: Path) -> list[str]:
    """What was measured, how good it is, and how to use it."""
    overhead = table.overhead
    return [
        f"{len(table.blocks)} blocks of {table.space} in {table.data_type} on {table.target['name']}: "
        f"{table.target['verdict']}",
        f"a network takes {overhead.constant_us:.0f} us + {overhead.factor:.3f} x the sum of its blocks; "
        f"{overhead.networks} networks measured whole differ from that by {overhead.residual:.1%} (standard deviation)",
        f"table: {out}",
        f"use: --config.search.latency_table={out} with config.search.space = {table.space!r}; "
        "its limit is config.search.max_latency_us",
    ]


def _checked(out: Path) -> Path:
    """A path whose folder can be made. Raises UsageError."""
    if out.is_dir():
        raise bad_value("--out", str(out), "a file for the table, not a folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: {out.parent} cannot be made ({error.strerror}); expected a file's path") from error
    return out
