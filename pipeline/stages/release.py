"""Stage "release": WORKDIR/release with the .tflite files, their labels and the manifest."""

from __future__ import annotations

from pathlib import Path

from core.values import Measurement
from deploy.release import ReleaseEntry, ReleaseLatency, write_release
from pipeline.report_data import ArtifactReport, RunReport, gather
from pipeline.report_units import now
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes the release of every recipe that did not fail. Raises LitesmithError if the float32 sibling is missing."""
    config = context.params["config"]
    report = gather(config, context.params["artifacts"], context.inputs)
    entries = [_entry(report, artifact) for artifact in report.released]
    write_release(context.out, config.release.name, now(), config, entries)
    return Outcome(f"{len(entries)} models, {len(report.failures)} failed")


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
