"""The folder of a release: models, labels, evaluation, what apps need, and the manifest of it all."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import LitesmithError
from core.values import file_sha256
from core.workspace import atomic_write_bytes
from deploy.app.app_files import write_app_files
from deploy.app.facts import AppModel, ReleaseFacts
from deploy.manifest import MANIFEST, Manifest, ReleaseFile, ReleaseModel, manifest_bytes, parse_manifest
from deploy.predictions import PREDICTIONS, Predictions, predictions_bytes
from deploy.schemes import FLOAT32

LABELS = "labels.txt"


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What is made for apps, as config.release has it; `metadata`: whether the models hold metadata."""

    golden_images: int
    android_package: str
    metadata: bool


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseContent:
    """What a release is made of.

    Attributes:
      manifest: without the files beside the models, and without the models' extras.
      sources: model file -> where it is now.
      models: each model with what it says of the test images, for its golden outputs and its card.
      facts: what model cards say of the whole release.
    """

    manifest: Manifest
    sources: Mapping[str, Path]
    predictions: Predictions
    models: Sequence[AppModel]
    facts: ReleaseFacts
    app: AppSettings


def zipped_bytes(content: bytes, name: str = "model.tflite") -> int:
    """Size in bytes of a .zip holding just this file, deflated at level 9: what a download costs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr(name, content)
    return len(archive.getvalue())


def write_release(out_dir: Path, content: ReleaseContent) -> Manifest:
    """Fills `out_dir`, a staging directory that the caller commits; the manifest, which is returned, comes last.

    Raises LitesmithError if no float32 sibling is among the models, two would get one file name, or a model's file is
    not what the manifest says; and what deploy.app.app_files raises.
    """
    draft = content.manifest
    _check(draft.artifacts)
    for model in draft.artifacts:
        shutil.copyfile(content.sources[model.file], out_dir / model.file)
        if file_sha256(out_dir / model.file) != model.sha256:
            raise LitesmithError(f"release: {content.sources[model.file]} has changed since it was converted")
    labels = "".join(f"{label}\n" for label in content.facts.labels)
    atomic_write_bytes(out_dir / LABELS, labels.encode())
    (out_dir / PREDICTIONS).parent.mkdir()
    atomic_write_bytes(out_dir / PREDICTIONS, predictions_bytes(content.predictions))
    extras = write_app_files(
        *(out_dir, content.models, content.facts),
        golden_images=content.app.golden_images,
        android_package=content.app.android_package,
        metadata=content.app.metadata,
    )
    models = tuple(replace(model, extras=extras.get(model.file, ())) for model in draft.artifacts)
    manifest = replace(draft, artifacts=models, files=_files_beside(out_dir, models))
    written = manifest_bytes(manifest)
    parse_manifest(written, f"release {manifest.release}")  # nobody could read one that breaks its own rules
    atomic_write_bytes(out_dir / MANIFEST, written)
    return manifest


def _check(models: Sequence[ReleaseModel]) -> None:
    if not any(model.scheme == FLOAT32 for model in models):
        raise LitesmithError("release: no float32 sibling among its models")
    names = [model.file for model in models]
    if len({*names, LABELS, MANIFEST}) != len(names) + 2:
        raise LitesmithError(f"release: file names must differ, got {', '.join(names)}")


def _files_beside(folder: Path, models: Sequence[ReleaseModel]) -> tuple[ReleaseFile, ...]:
    """All files in the folder but the models, sorted by path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    beside = sorted(files.keys() - {model.file for model in models})
    return tuple(ReleaseFile(name, file_sha256(files[name]), files[name].stat().st_size) for name in beside)
