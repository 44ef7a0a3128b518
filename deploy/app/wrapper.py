"""An Android module around each model: the Java class that tflite-support's code generator makes. No TensorFlow here.

The generator's build file asks for a repository that is closed and for snapshot versions, and its AndroidManifest.xml
says what the Android Gradle plugin refuses since version 8; so the build file is our own, and the manifest, which a
library module no longer needs, is left out.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from core.workspace import atomic_write_bytes
from deploy.app.names import class_name
from deploy.app.render import render
from deploy.app.snippets import VERSIONS
from deploy.manifest import ReleaseModel
from deploy.metadata import generate_wrapper
from deploy.schemes import INT4_WEIGHTS, PERSONALIZE

ANDROID = "android"
_OBSOLETE = ("build.gradle", "AndroidManifest.xml")


def refusal(model: ReleaseModel, *, metadata: bool) -> str:
    """Why neither the Task Library nor the generated wrapper takes a model; "" if they do."""
    if not metadata:
        return "the release was made without metadata"
    if model.scheme == INT4_WEIGHTS:
        return "its TensorFlow Lite has no int4 weights"
    if model.scheme == PERSONALIZE:
        return "it knows nothing of signatures for training, and the model has no metadata"
    return ""


def write_wrapper(folder: Path, model: ReleaseModel, package: str) -> tuple[str, ...]:
    """Writes android/NAME; returns the paths of its files relative to `folder`.

    Raises ProcessError with the generator's reason if it does not take the model.
    """
    module = Path(model.file).stem
    generated = generate_wrapper(folder / model.file, package, class_name(model.file))
    files = {path: text.encode() for path, text in generated.items() if PurePosixPath(path).name not in _OBSOLETE}
    values = {"model": model.file, "module": module, "package": package, **VERSIONS}
    build_file = render("build.gradle.j2", **values, module_package=class_name(model.file).lower())
    files["build.gradle"] = build_file.encode()
    written = {f"{ANDROID}/{module}/{path}": content for path, content in sorted(files.items())}
    for path, content in written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(folder / path, _with_last_newline(content))
    return tuple(written)


def _with_last_newline(content: bytes) -> bytes:
    return re.sub(rb"\s*\Z", b"\n", content)
