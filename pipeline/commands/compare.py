"""Command `compare`: two results of `benchmark`, model by model and target by target."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from android_bench.results import read_results
from android_bench.tables import Comparison, compare, compare_targets, not_compared
from core.errors import EXIT_DONE, UsageError
from core.progress import Reporter
from pipeline.bench_page import comparison_rows, write_comparison
from pipeline.call import Call
from pipeline.commands.benchmark import RESULTS
from pipeline.report_units import now


def run(call: Call) -> int:
    """Prints what became faster or slower. --before and --after are folders of `benchmark`, or their results.jsonl; or
    names of two targets, with --results as the folder."""
    call.no_arguments("compare")
    before, after = (call.needed(name, "a folder of the command benchmark") for name in ("before", "after"))
    rows: tuple[Comparison, ...]
    left_out: tuple[tuple[str, str, str], ...] = ()
    if "results" in call.flags:
        entries = read_results(_file(call.flags["results"]))
        known = sorted({entry.target.name for entry in entries})
        for flag, name in (("--before", before), ("--after", after)):
            if name not in known:
                raise UsageError(f"{flag}: {name!r} is no target of {call.flags['results']}; it has {', '.join(known)}")
        rows = compare_targets(entries, before, after)
    else:
        old, new = read_results(_file(before)), read_results(_file(after))
        rows, left_out = compare(old, new), not_compared(old, new)
    reporter = Reporter()
    table = Table(box=None, pad_edge=False)
    header, *lines = comparison_rows(rows)
    for heading in header:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*line)
    reporter.console.print(table, markup=False)
    for model, target, reason in left_out:
        reporter.line(f"not compared: {model} on {target}: {reason}")
    if call.flags.get("out"):
        write_comparison(Path(call.flags["out"]), before, after, rows, left_out, now())
        reporter.line(f"report: {Path(call.flags['out']) / 'index.html'}")
    return EXIT_DONE


def _file(name: str) -> Path:
    path = Path(name)
    return path / RESULTS if path.is_dir() else path
