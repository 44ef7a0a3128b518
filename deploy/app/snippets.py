"""Programs that show how an app uses a model, for each model in Python, Kotlin and Java. No TensorFlow here.

The Python one is a whole program. Kotlin's uses LiteRT's Interpreter, Java's the Task Library where it takes the model.
"""

from __future__ import annotations

from pathlib import Path

from core.workspace import atomic_write_bytes
from deploy.app.golden import golden_path
from deploy.app.names import class_name
from deploy.app.render import render
from deploy.manifest import ReleaseModel

SNIPPETS = "snippets"
# Versions on Maven of what the snippets and wrappers need; 1.4.2 is the first of LiteRT's present line that has the
# Interpreter alone, 0.4.4 the last of the Task Library.
VERSIONS = {"litert": "1.4.2", "task_library": "0.4.4", "tensorflow_lite": "2.17.0"}


def snippet_paths(model_file: str) -> tuple[str, str, str]:
    """The Python, Kotlin and Java snippet of a model; the last two are named after their class, as Java wants it."""
    name = classifier_name(model_file)
    return (
        f"{SNIPPETS}/{Path(model_file).stem}.py",
        f"{SNIPPETS}/{name}.kt",
        f"{SNIPPETS}/{name}.java",
    )


def classifier_name(model_file: str) -> str:
    """The class of the Kotlin and the Java snippet."""
    return f"{class_name(model_file)}Classifier"


def write_snippets(
    folder: Path, model: ReleaseModel, package: str, *, has_golden: bool, task_library: bool
) -> tuple[str, ...]:
    """Writes the three snippets of a model; returns their paths relative to `folder`.

    Args:
      package: the Java package of the classes.
      has_golden: whether the release has golden outputs, which the Kotlin class then tests itself by.
      task_library: whether the Task Library takes the model.
    """
    paths = snippet_paths(model.file)
    values = {
        "model": model.file,
        "file": Path(paths[0]).name,
        "labels_file": model.labels,
        "side": model.input.shape[1],
        "outputs": model.output.shape[-1],
        "is_uint8": model.input.dtype == "uint8",
        "scale": f"{model.output.scale:.9g}",
        "package": package,
        "class_name": classifier_name(model.file),
        "golden": golden_path(model.file),
        "has_golden": has_golden,
    }
    java = "task_library.java.j2" if task_library else "interpreter.java.j2"
    (folder / SNIPPETS).mkdir(exist_ok=True)
    for path, template in zip(paths, ("snippet.py.j2", "snippet.kt.j2", java), strict=True):
        atomic_write_bytes(folder / path, render(template, **VERSIONS, **values).encode())
    return paths
