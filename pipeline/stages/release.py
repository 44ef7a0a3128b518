"""Stage "release": WORKDIR/release with the .tflite files, their labels and the manifest."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from core.values import Measurement
from core.workspace import read_json
from deploy.release import ReleaseEntry, ReleaseLatency, write_release
from pipeline.report_data import ArtifactReport, RunReport, gather
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes the release of every recipe that did not fail. Raises LitesmithError if the float32 sibling is missing."""
    config = context.params["config"]
    report = gather(config, context.params["artifacts"], context.inputs)
    entries = [_entry(report, artifact) for artifact in report.released]
    write_release(context.out, config.release.name, now(), config, entries)
    return Outcome(f"{len(entries)} models, {len(report.failures)} failed")


def now() -> str:
    """The present time in UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def closing_lines(workdir: Path) -> list[str]:
    """Where the report and the models are, and what each full-integer model gained over its float32 sibling."""
    manifest = read_json(workdir / "release" / "manifest.json")
    floats = {item["arch"]: item for item in manifest["artifacts"] if item["recipe"] == "float32"}
    lines = [_gain(item, floats[item["arch"]]) for item in manifest["artifacts"] if item["recipe"] != "float32"]
    return [*lines, f"models: {workdir / 'release'}/", f"report: {workdir / 'report' / 'index.html'}"]


def _gain(item: dict[str, Any], parent: dict[str, Any]) -> str:
    smaller = parent["size_bytes"] / item["size_bytes"]
    zipped = parent["zipped_bytes"] / item["zipped_bytes"]
    speed = ", ".join(
        _faster(before["median_us"], after["median_us"], after["target"])
        for before, after in zip(parent["latency"], item["latency"], strict=True)
    )
    lost = 100 * (parent["test_accuracy"] - item["test_accuracy"])
    change = f"{lost:.2f} points lost" if lost >= 0 else f"{-lost:.2f} points gained"
    return (
        f"{item['file']}: {smaller:.1f}x smaller ({item['size_bytes'] / 1000:.0f} kB; zipped {zipped:.1f}x), {speed}, "
        f"{100 * item['test_accuracy']:.2f} % on the test images ({change})"
    )


def _faster(before_us: float, after_us: float, target: str) -> str:
    ratio = before_us / after_us
    words = f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x slower"
    return f"{words} on {target} ({after_us:.0f} us)"


def _entry(report: RunReport, artifact: ArtifactReport) -> ReleaseEntry:
    found = artifact.validation
    parent = report.float_parent(artifact)
    return ReleaseEntry(
        source=Path(artifact.source),
        file=artifact.file,
        labels=tuple(report.data["class_names"]),
        scheme=artifact.plan.scheme,
        input=artifact.artifact.inputs[0],
        output=artifact.artifact.outputs[0],
        arch=artifact.arch,
        macs=artifact.macs,
        params=artifact.params,
        recipe=artifact.plan.recipe,
        float_test_accuracy=parent.validation["tflite_accuracy"],
        test_accuracy=found["tflite_accuracy"],
        sparsity=found["sparsity"],
        clusters=found["clusters"],
        latency=tuple(_latency(measurement) for measurement in artifact.measurements),
        tool_versions=artifact.artifact.tool_versions or {},
    )


def _latency(measurement: Measurement) -> ReleaseLatency:
    latency, target = measurement.latency, measurement.target
    return ReleaseLatency(
        target.name, latency.median_us, latency.p95_us, latency.runs, target.num_threads, measurement.tool
    )
