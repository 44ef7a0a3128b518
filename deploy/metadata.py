"""Task Library metadata: written into a model, and the model then run by the Task Library itself.

tflite-support cannot share a process with TensorFlow, so `deploy/metadata_worker.py` runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core import process
from core.errors import LitesmithError, UsageError, bad_value
from core.workspace import atomic_write_bytes
from deploy.flatbuffer import describe
from deploy.interpreter import predict
from deploy.packing import repacked
from search.dataset import UInt8

INTERPRETER_VARIABLE = "LITESMITH_TFLITE_SUPPORT_PYTHON"
_ROOT = Path(__file__).resolve().parents[1]
_WORKER = Path(__file__).with_name("metadata_worker.py")
_WRITE_TIMEOUT_S = 120.0
_TIMEOUT_PER_IMAGE_S = 1.0
# The greatest float32 below 255. By 255 itself the wrapper, which does not round, would lower 120 of the 256 bytes.
_JUST_BELOW_255 = 254.99998474121094


@dataclass(frozen=True, slots=True, eq=False)
class TaskLibraryResult:
    """What the Task Library says: `scores` float32 [n, classes] and the first label of each image."""

    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An image for which the Task Library names another class than LiteRT."""

    image: int
    litert_class: int
    task_library_class: int


def find_interpreter() -> Path:
    """The Python of tflite-support's environment: `LITESMITH_TFLITE_SUPPORT_PYTHON`, else `.venv-tflite-support`.

    Raises UsageError naming `make tflite-support` if it is not there.
    """
    named = os.environ.get(INTERPRETER_VARIABLE)
    path = Path(named) if named else _ROOT / ".venv-tflite-support" / "bin" / "python"
    if not path.is_file():
        where = INTERPRETER_VARIABLE if named else "tflite-support"
        raise UsageError(f"{where}: no Python at {path}; `make tflite-support` installs its environment")
    return path


def write(model: Path, out: Path, labels: Sequence[str], name: str, description: str) -> None:
    """Writes `out`: `model` with image-classifier metadata and its labels packed in; inference is unchanged.

    Raises UsageError for labels that do not fit the model's classes or cannot stand on a line each, ProcessError if
    tflite-support fails.
    """
    inputs, outputs = describe(model)
    _check_labels(labels, outputs[0].shape[-1])
    # The Task Library feeds (pixel - mean) / std to a float model, and byte / 255 is what ours take. A uint8 model it
    # feeds the bytes, but the generated wrapper the same quotient, divided by the input's scale and cut to a byte.
    std = 255.0 if inputs[0].dtype == "float32" else _JUST_BELOW_255
    with tempfile.TemporaryDirectory() as directory:
        labels_file, written = Path(directory, "labels.txt"), Path(directory, "model.tflite")
        labels_file.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        paths = {"model": str(model), "out": str(written), "labels": str(labels_file)}
        texts = {"name": name, "description": description}
        _ask({"command": "write", **paths, **texts, "mean": 0.0, "std": std}, _WRITE_TIMEOUT_S)
        # tflite-support writes the whole model anew, each vector by itself.
        atomic_write_bytes(out, repacked(written.read_bytes()))


def check(model: Path, images: UInt8) -> TaskLibraryResult:
    """Runs a model with metadata on uint8 images [n, R, R, 3] by the Task Library's ImageClassifier.

    Raises ProcessError with the Task Library's reason if it refuses the model.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "images.npy")
        np.save(file, images, allow_pickle=False)
        request = {"command": "classify", "model": str(model), "images": str(file)}
        answer = _ask(request, _WRITE_TIMEOUT_S + _TIMEOUT_PER_IMAGE_S * len(images))
    return TaskLibraryResult(np.asarray(answer["scores"], np.float32), tuple(answer["labels"]))


def generate_wrapper(model: Path, package: str, class_name: str) -> dict[str, str]:
    """The files of an Android wrapper for a model with metadata: relative path -> text (see tflite_codegen).

    Raises ProcessError with the generator's reason if it does not take the model.
    """
    request = {"model": str(model), "package": package, "class": class_name, "asset": model.name}
    answer: dict[str, str] = _ask({"command": "generate", **request}, _WRITE_TIMEOUT_S)
    return answer


def disagreements(model: Path, images: UInt8, labels: Sequence[str]) -> tuple[Disagreement, ...]:
    """The images for which the Task Library's first class is not LiteRT's; equal highest scores count as ties.

    Raises LitesmithError if the labels packed into the model are not `labels`.
    """
    task, litert = check(model, images), predict(model, images)
    for image, label in enumerate(task.labels):
        if label not in labels or task.scores[image, list(labels).index(label)] < task.scores[image].max():
            raise LitesmithError(f"{model}: the Task Library answers {label!r}, which the label file does not explain")
    return tuple(
        Disagreement(image, int(litert[image].argmax()), int(task.scores[image].argmax()))
        for image in range(len(images))
        if not _share_a_top_class(litert[image], task.scores[image])
    )


def _share_a_top_class(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> bool:
    return bool(np.any((first == first.max()) & (second == second.max())))


def _check_labels(labels: Sequence[str], classes: int) -> None:
    if len(labels) != classes:
        raise UsageError(f"labels: {len(labels)} of them; expected {classes}, one for each class of the model")
    for label in labels:
        if list(labels).count(label) > 1:
            raise bad_value("labels", label, "a label that occurs once")
        if not label.strip() or label.splitlines() != [label]:
            raise bad_value("labels", label, "non-empty text on one line")


def _ask(request: dict[str, Any], timeout_s: float) -> Any:
    arguments = [str(find_interpreter()), str(_WORKER)]
    # The worker must not see this environment's packages.
    completed = process.run(arguments, timeout_s=timeout_s, stdin=json.dumps(request), env={"PYTHONPATH": ""})
    return json.loads(completed.stdout)
