"""The last lines of a run: what was gained, and where the models and the report are."""

from __future__ import annotations

from pathlib import Path

from core.spec_io import from_plain
from core.values import Measurement
from core.workspace import read_json
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_view import InheritedRow, inherited_rows


def closing_lines(workdir: Path) -> list[str]:
    """One line per winner on what it had from a supernet, if it did, one per released model on what it gained over its
    float32 parent, and two on where things are."""
    report = from_plain(RunReport, read_json(workdir / "report" / "report.json")["report"])
    compressed = (artifact for artifact in report.released if artifact is not report.float_parent(artifact))
    lines = [_gain(artifact, report.float_parent(artifact)) for artifact in compressed]
    lines = [*(_inherited(row) for row in inherited_rows(report)), *lines]
    return [*lines, f"models: {workdir / 'release'}/", f"report: {workdir / 'report' / 'index.html'}"]


def _inherited(row: InheritedRow) -> str:
    tuned = f"{100 * row.after:.2f} % after {row.epochs} epoch{'s' if row.epochs != 1 else ''} of fine-tuning"
    before = f"{100 * row.before:.2f} % of the validation images right with the supernet's weights"
    return f"network of trial {row.trial.index + 1}: {before}, {tuned}"


def _gain(artifact: ArtifactReport, parent: ArtifactReport) -> str:
    size, parent_size = artifact.artifact.size_bytes, parent.artifact.size_bytes
    before = {measurement.target.name: measurement for measurement in parent.measurements}
    speeds = [_speed(before[m.target.name], m) for m in artifact.measurements if m.target.name in before]
    accuracy = artifact.validation["tflite_accuracy"]
    lost = 100 * (parent.validation["tflite_accuracy"] - accuracy)
    change = f"{lost:.2f} points lost" if lost >= 0 else f"{-lost:.2f} points gained"
    parts = [
        f"{_ratio(parent_size, size)} ({size / 1000:.0f} kB)",
        f"{_ratio(parent.zipped_bytes, artifact.zipped_bytes)} zipped ({artifact.zipped_bytes / 1000:.0f} kB)",
        *speeds,
        f"{100 * accuracy:.2f} % on the test images ({change})",
    ]
    return f"{artifact.file}: {', '.join(parts)}"


def _ratio(before: int, after: int) -> str:
    """Of two sizes."""
    return f"{before / after:.1f}x smaller" if before >= after else f"{after / before:.1f}x larger"


def _speed(before: Measurement, after: Measurement) -> str:
    ratio = before.latency.median_us / after.latency.median_us
    words = f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x slower"
    noisy = "" if before.verdict == after.verdict == "ok" else ", noisy"
    return f"{words} on {after.target.name} ({after.latency.median_us:.0f} us{noisy})"
