"""What a run says of its release: manifest and predictions, from the stages' results. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.spec_io import content_id, to_plain
from deploy.manifest import Manifest, ReleaseModel, TestSet, latency_of
from deploy.predictions import Predictions, image_hashes, images_sha256
from deploy.release import LABELS
from pipeline.config import Config
from pipeline.data import load
from pipeline.plan_artifacts import ArtifactPlan
from pipeline.release_config import PUBLICATION
from pipeline.report_data import ArtifactReport, RunReport, file_name
from search.dataset import ImageSet


def release_manifest(
    report: RunReport,
    config: Config,
    artifacts: tuple[ArtifactPlan, ...],
    directories: Mapping[str, Path],
    stage_key: str,
    created: str,
    command: str,
) -> Manifest:
    """The manifest of a release, but for the files beside its models, which are yet to be written.

    A release that lacks models which failed has another key than the whole one, which will then be something new.
    """
    made = {artifact.plan.name for artifact in report.artifacts}
    failed = tuple(sorted(file_name(config, plan) for plan in artifacts if plan.recipe and plan.name not in made))
    test = load(directories["data"]).test
    return Manifest(
        release=config.release.name,
        created=created,
        config=without_publication(config),
        artifacts=tuple(_model(report, artifact) for artifact in report.released),
        test_set=TestSet(report.data["name"], tuple(report.data["class_names"]), len(test), images_sha256(test)),
        key=f"{stage_key}-{content_id(failed, length=6)}" if failed else stage_key,
        command=command,
        failed=failed,
    )


def without_publication(config: Config) -> Any:
    """The configuration as JSON types, without where and whether its release is published."""
    plain = to_plain(config)
    release = {name: value for name, value in plain["release"].items() if name not in PUBLICATION}
    return {**plain, "release": release}


def release_predictions(report: RunReport, directories: Mapping[str, Path]) -> Predictions:
    """Of all released models."""
    test = load(directories["data"]).test
    predicted = {artifact.file: predictions_of(artifact, directories) for artifact in report.released}
    return Predictions(image_hashes(test), test.labels.astype(np.int32), predicted)


def predictions_of(artifact: ArtifactReport, directories: Mapping[str, Path]) -> Any:
    """int32 [n], the classes that a model names for the test images."""
    with np.load(directories[f"{artifact.plan.name}.validate"] / "predictions.npz") as file:
        return file["predicted"]


def test_images(artifact: ArtifactReport, directories: Mapping[str, Path]) -> ImageSet:
    """The test images in the model's own resolution."""
    own = f"w{artifact.plan.winner}.data"
    return load(directories[own if own in directories else "data"]).test


def _model(report: RunReport, artifact: ArtifactReport) -> ReleaseModel:
    made, found = artifact.artifact, artifact.validation
    return ReleaseModel(
        file=artifact.file,
        sha256=made.sha256,
        size_bytes=made.size_bytes,
        zipped_bytes=artifact.zipped_bytes,
        scheme=artifact.plan.scheme,
        input=made.inputs[0],
        output=made.outputs[0],
        labels=LABELS,
        arch=artifact.arch,
        macs=artifact.macs,
        params=artifact.params,
        recipe=artifact.plan.recipe,
        float_test_accuracy=report.float_parent(artifact).validation["tflite_accuracy"],
        test_accuracy=found["tflite_accuracy"],
        sparsity=found["sparsity"],
        clusters=found["clusters"],
        latency=tuple(latency_of(measurement) for measurement in artifact.measurements),
        tool_versions=made.tool_versions or {},
        winner=artifact.plan.winner,
        val_accuracy=artifact.val_accuracy,
    )
