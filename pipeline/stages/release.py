"""Stage "release": WORKDIR/release with the .tflite files, what apps need beside them, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.app.facts import AppModel, ReleaseFacts
from deploy.manifest import Manifest
from deploy.release import AppSettings, ReleaseContent, write_release
from pipeline.config import Config
from pipeline.release_data import predictions_of, release_manifest, release_predictions, test_images
from pipeline.report_data import RunReport, gather
from pipeline.report_units import now
from pipeline.report_view import not_made
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes the release of every recipe that did not fail. Raises LitesmithError if the float32 sibling is missing."""
    params, inputs = context.params, context.inputs
    config: Config = params["config"]
    report = gather(config, params["artifacts"], inputs)
    draft = release_manifest(report, config, params["artifacts"], inputs, context.stage.key, now(), params["command"])
    settings = config.release
    manifest = write_release(
        context.out,
        ReleaseContent(
            manifest=draft,
            sources={artifact.file: Path(artifact.source) for artifact in report.released},
            predictions=release_predictions(report, inputs),
            models=_app_models(report, draft, inputs),
            facts=_facts(report, draft, config),
            app=AppSettings(settings.golden_images, settings.android_package, settings.metadata),
        ),
    )
    return Outcome(f"{len(manifest.artifacts)} models, {len(not_made(report))} failed")


def _app_models(report: RunReport, draft: Manifest, inputs: Mapping[str, Path]) -> list[AppModel]:
    return [
        AppModel(model, test_images(artifact, inputs), predictions_of(artifact, inputs), artifact.plan.steps)
        for model, artifact in zip(draft.artifacts, report.released, strict=True)
    ]


def _facts(report: RunReport, draft: Manifest, config: Config) -> ReleaseFacts:
    data = report.data
    return ReleaseFacts(
        release=draft.release,
        created=draft.created,
        labels=tuple(data["class_names"]),
        test_set=draft.test_set,
        data=data["name"],
        train_images=data["counts"]["train"],
        val_images=data["counts"]["val"],
        augment=data["augment"],
        seed=config.seed,
        origin=data.get("source", ""),
        teacher=_teacher(report, config),
        command=draft.command,
    )


def _teacher(report: RunReport, config: Config) -> str:
    """What the networks were distilled from, in words; "" for none."""
    if config.distill.teacher == "self":
        return "the uncompressed network itself"
    if report.teacher is None:
        return ""
    accuracy = f"{100 * report.teacher['val_accuracy']:.2f} % on the validation images"
    return f"{report.teacher['file'] or config.teacher.network}, {accuracy}"
