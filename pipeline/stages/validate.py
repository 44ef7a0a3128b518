"""Stage "validate": the .tflite against its Keras model on the test images, and what compression promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.storage import load_model
from core.workspace import atomic_write_json
from deploy.interpreter import predict
from deploy.metadata import disagreements
from deploy.schemes import INT4_WEIGHTS
from deploy.validate import Float32, validate
from pipeline.data import load
from pipeline.node import read_node
from pipeline.plan_artifacts import ArtifactPlan
from pipeline.runner import Outcome, StageContext
from pipeline.stages.convert import FILE
from search.dataset import ImageData, Int32

PREDICTIONS = "predictions.npz"
TASK_LIBRARY_IMAGES = 200


def run(context: StageContext) -> Outcome:
    """Writes validation.json and predictions.npz; problems fail the artifact, not the run."""
    plan: ArtifactPlan = context.params["artifact"]
    data = load(context.input("data"))
    node = context.inputs[plan.node]
    path = context.input("convert") / FILE
    record = read_node(node)
    scheme = record.scheme or plan.scheme
    scores = predict(path, data.test.rgb())
    found = validate(path, load_model(node / "model"), data.test, scheme, record.invariants, scores)
    problems = list(found.problems)
    if context.params["metadata"] and scheme != INT4_WEIGHTS:  # which the Task Library cannot load
        problems += _task_library_problems(context, data)
    atomic_write_json(context.out / "validation.json", found)
    _write_predictions(context.out / PREDICTIONS, scores, data.test.labels)
    summary = f"test accuracy {100 * found.tflite_accuracy:.2f} % (Keras {100 * found.keras_accuracy:.2f} %)"
    return Outcome(summary, "; ".join(problems))


def _write_predictions(path: Path, scores: Float32, labels: Int32) -> None:
    """Of each test image the class int32 [n] that the .tflite names, its probability float32 [n], and that of the true
    class."""
    predicted = scores.argmax(1).astype(np.int32)
    rows = np.arange(len(scores))
    np.savez(path, predicted=predicted, confidence=scores[rows, predicted], of_label=scores[rows, labels])


def _task_library_problems(context: StageContext, data: ImageData) -> list[str]:
    images = data.test.first(TASK_LIBRARY_IMAGES).rgb()
    different = disagreements(context.input("convert") / FILE, images, data.class_names)
    if not different:
        return []
    first = different[0]
    names = data.class_names[first.litert_class], data.class_names[first.task_library_class]
    return [
        f"the Task Library disagrees with LiteRT on {len(different)} of {len(images)} images "
        f"(image {first.image}: {names[1]} instead of {names[0]})"
    ]
