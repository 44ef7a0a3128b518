"""A run's released models side by side on TensorBoard's page HPARAMS. No TensorFlow here."""

from __future__ import annotations

from android_bench.results import figure
from core.tracking import Tracker
from pipeline.report_data import ArtifactReport, RunReport


def track_artifacts(tracker: Tracker, report: RunReport) -> None:
    """A row for each released .tflite: its recipe and what it costs and is worth."""
    for artifact in report.released:
        plan = artifact.plan
        values = {"winner": plan.winner, "recipe": plan.recipe, "scheme": plan.scheme, "network": artifact.arch}
        tracker.of(plan.name).compare(values, _figures(artifact), step=0, title=artifact.file)


def _figures(artifact: ArtifactReport) -> dict[str, float]:
    latencies = {one.target.name: figure(one) for one in artifact.measurements}
    measured = {f"latency_us/{name}": found.median_us for name, found in latencies.items() if found is not None}
    return {
        "val_accuracy": artifact.val_accuracy,
        "test_accuracy": artifact.validation["tflite_accuracy"],
        "size_bytes": artifact.artifact.size_bytes,
        "zipped_bytes": artifact.zipped_bytes,
        "macs": artifact.macs,
        "params": artifact.params,
        **measured,
    }
