"""Command `benchmark`: .tflite files measured on targets, with a page, a table and every figure as JSON."""

from __future__ import annotations

from pathlib import Path

from android_bench.campaign import labelled, measure_targets
from android_bench.results import FAILED, in_order, read_results
from android_bench.targets import resolve_target
from core.errors import EXIT_DONE, EXIT_FAILED
from core.progress import Reporter
from pipeline.bench_page import bench_lines, write_bench
from pipeline.call import Call
from pipeline.report_units import now

RESULTS = "results.jsonl"


def run(call: Call) -> int:
    """Measures what --out has not yet; 1 if a model could not be measured on a target."""
    call.no_arguments("benchmark")
    models = [Path(name) for name in call.needed("models", "one or more .tflite files, with commas between")]
    names = call.needed("targets", "one or more targets, with commas between; `devices` shows what is attached")
    out = Path(call.needed("out", "a folder for the results"))
    bench = call.config().bench
    targets = [resolve_target(name, bench, "--targets") for name in names]
    out.mkdir(parents=True, exist_ok=True)
    reporter, results = Reporter(), out / RESULTS
    entries = measure_targets(labelled(models), targets, bench, call.connections(), reporter, results)
    write_bench(out, in_order(entries, read_results(results)), now())
    for line in bench_lines(entries):
        reporter.line(line)
    reporter.line(f"report: {out / 'index.html'}")
    return EXIT_FAILED if any(entry.verdict.startswith(FAILED) for entry in entries) else EXIT_DONE
