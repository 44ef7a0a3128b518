"""Results of benchmarks for people: a page that loads nothing, a table as CSV, lines for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from android_bench.results import FAILED, BenchEntry, csv_rows
from android_bench.settings import LEGACY_DELEGATES
from android_bench.tables import Comparison, leaderboard, op_table
from core.workspace import atomic_write_bytes, atomic_write_json
from pipeline import report_units
from pipeline.pages import environment

COMPARISON_HEADER = ("model", "target", "before", "after", "ratio", "95 % interval", "p", "outcome", "cautions")
HIDDEN = ("threads", "delegate")  # conditions that the tables show already


def write_bench(out: Path, entries: Sequence[BenchEntry], created: str) -> None:
    """Writes index.html, results.csv and results.json into a folder."""
    atomic_write_json(out / "results.json", entries)
    _write_csv(out / "results.csv", list(csv_rows(entries)))
    page = environment().get_template("benchmark.html.j2").render(_bench_values(entries, created))
    atomic_write_bytes(out / "index.html", page.encode())


def write_comparison(
    out: Path,
    before: str,
    after: str,
    rows: Sequence[Comparison],
    left_out: Sequence[tuple[str, str, str]],
    created: str,
) -> None:
    """Writes index.html, comparison.csv and comparison.json into a folder, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_json(out / "comparison.json", rows)
    _write_csv(out / "comparison.csv", comparison_rows(rows))
    values = {"before": before, "after": after, "rows": rows, "left_out": left_out, "created": created}
    page = environment().get_template("comparison.html.j2").render({**values, "units": report_units})
    atomic_write_bytes(out / "index.html", page.encode())


def bench_lines(entries: Sequence[BenchEntry]) -> list[str]:
    """A line per model and target."""
    lines = []
    for entry in entries:
        latency = entry.latency
        figure = "no figure"
        if latency is not None:
            interval = f" [{latency.low_us:.1f}, {latency.high_us:.1f}]" if latency.high_us else ""
            figure = f"{latency.center} {latency.median_us:.1f} us{interval}"
        lines.append(f"{entry.target.name}: {entry.model}: {figure}: {entry.verdict}")
    return lines


def comparison_rows(rows: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """COMPARISON_HEADER, then a row per pair; latencies in microseconds."""
    return [
        COMPARISON_HEADER,
        *(
            (
                row.model,
                row.target,
                f"{row.before_us:.1f} us",
                f"{row.after_us:.1f} us",
                f"{row.ratio:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                f"{row.p:.3g}",
                row.outcome,
                "; ".join(row.cautions),
            )
            for row in rows
        ),
    ]


def _bench_values(entries: Sequence[BenchEntry], created: str) -> dict[str, Any]:
    targets = {entry.target.name: entry.target for entry in entries}
    measured = [entry for entry in entries if entry.measurement is not None]
    profiles = [
        (entry, op_table(entry.measurement)) for entry in measured if entry.measurement and entry.measurement.ops
    ]
    return {
        "created": created,
        "entries": entries,
        "targets": list(targets.values()),
        "board": leaderboard(entries),
        "profiles": profiles,
        "failed": [entry for entry in entries if entry.verdict.startswith(FAILED)],
        "conditions": [(entry, _conditions(entry)) for entry in measured],
        "legacy": LEGACY_DELEGATES,
        "tools": {name: _tools(measured, name) for name in targets},
        "kind": _kind,
        "models": list(dict.fromkeys(entry.model for entry in entries)),
    }


def _kind(verdict: str) -> str:
    """Why there is no figure, in a word or two."""
    return "emulated" if "emulated:" in verdict else verdict.partition(":")[0]


def _tools(measured: Sequence[BenchEntry], target: str) -> list[str]:
    """The programs that measured on a target, once each."""
    found = (entry.measurement.tool for entry in measured if entry.measurement and entry.target.name == target)
    return list(dict.fromkeys(found))


def _conditions(entry: BenchEntry) -> dict[str, str]:
    known = entry.measurement.conditions if entry.measurement else {}
    return {key: value for key, value in known.items() if key not in HIDDEN}


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write_bytes(path, text.getvalue().encode())
