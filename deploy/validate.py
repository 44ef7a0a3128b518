"""Does the .tflite do what the Keras model does, and is what compression promised still in it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from compress.invariants import Invariants
from core.values import TensorSpec
from deploy.codebook import codebook_bytes
from deploy.flatbuffer import SIGNATURE, Graph, read
from deploy.interpreter import as_input, predict
from deploy.layer_table import LayerWeights, broken_promises, layer_table
from deploy.layers import weights_by_layer
from deploy.personalize_check import training_problems
from deploy.schemes import (
    FULL_INTEGER,
    INPUT_SCALE,
    INPUT_ZERO_POINT,
    OUTPUT_SCALE,
    OUTPUT_ZERO_POINT,
    PERSONALIZE,
    UINT8_IMAGES,
)
from deploy.tracing import OUTPUT_NAME, scoring_function
from search.dataset import ImageSet, Int32, UInt8

Float32 = npt.NDArray[np.float32]
KERAS_BATCH = 250


@dataclass(frozen=True, slots=True)
class Validation:
    """A .tflite against its Keras model on a test set. Accuracies, errors and sparsity are fractions of 1.

    Attributes:
      top1_agreement: how often both name the same class.
      mean_abs_error, max_abs_error: of the .tflite's probabilities; `output_step` is the step of its output (0: float).
      confusion: images of a class (row) that the .tflite took for a class (column).
      sparsity: zeros among all weights of convolutions and dense layers.
      clusters: the largest `max_unique_values` of the layers that were clustered, None without any that has one.
      codebook_bytes: these layers' kernels as tables of their values and indices (deploy.codebook), None likewise.
      problems: one line each; none if all is well.
    """

    scheme: str
    images: int
    keras_accuracy: float
    tflite_accuracy: float
    top1_agreement: float
    mean_abs_error: float
    max_abs_error: float
    output_step: float
    confusion: tuple[tuple[int, ...], ...]
    sparsity: float
    clusters: int | None
    codebook_bytes: int | None
    layers: tuple[LayerWeights, ...]
    problems: tuple[str, ...]


def validate(
    tflite: Path,
    model: keras.Model,
    test: ImageSet,
    scheme: str,
    promised: Invariants | None = None,
    scores: Float32 | None = None,
) -> Validation:
    """Runs both models on all test images and inspects the file; problems are listed, not raised.

    Args:
      scores: [n, classes] of the .tflite (deploy.interpreter.predict), if it was run already.

    Raises UsageError if the file cannot be loaded or takes images of another shape.
    """
    expected = promised or Invariants()
    graph = read(tflite)
    by_layer = weights_by_layer(graph.weights, model)
    images, labels = test.rgb(), test.labels
    ours = predict(tflite, images) if scores is None else scores
    theirs = keras_scores(model, images)
    ours = ours[:, : theirs.shape[1]]  # without spare classes, which score 0
    error = np.abs(ours - theirs)
    clustered = {layer: by_layer[layer] for layer, _ in expected.clusters if layer in by_layer}
    layers = layer_table(graph, by_layer, model, expected)
    unique_values = [row.max_unique_values for row in layers if row.layer in clustered]
    return Validation(
        scheme=scheme,
        images=len(labels),
        keras_accuracy=float(np.mean(theirs.argmax(1) == labels)),
        tflite_accuracy=float(np.mean(ours.argmax(1) == labels)),
        top1_agreement=float(np.mean(ours.argmax(1) == theirs.argmax(1))),
        mean_abs_error=float(error.mean()),
        max_abs_error=float(error.max()),
        output_step=graph.outputs[0].scale,
        confusion=_confusion(labels, ours),
        sparsity=_overall_sparsity(graph),
        clusters=max((count for count in unique_values if count is not None), default=None),
        codebook_bytes=codebook_bytes(clustered.values()) if clustered else None,
        layers=layers,
        problems=(
            *_graph_problems(graph, scheme),
            *_score_problems(ours),
            *broken_promises(by_layer, layers, expected),
            *(training_problems(tflite, test) if scheme == PERSONALIZE else ()),
        ),
    )


def keras_scores(model: keras.Model, images: UInt8) -> Float32:
    """Probabilities float32 [n, classes] of uint8 RGB images [n, R, R, 3] by the Keras model."""
    score = scoring_function(model, batch_size=None)
    batches = (images[start : start + KERAS_BATCH] for start in range(0, len(images), KERAS_BATCH))
    return np.concatenate([score(tf.constant(as_input(batch, np.float32)))[OUTPUT_NAME].numpy() for batch in batches])


def _confusion(labels: Int32, scores: Float32) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((scores.shape[1],) * 2, np.int64)
    np.add.at(counts, (labels, scores.argmax(1)), 1)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _overall_sparsity(graph: Graph) -> float:
    total = sum(weight.values.size for weight in graph.weights)
    return sum(weight.sparsity * weight.values.size for weight in graph.weights) / max(total, 1)


def _graph_problems(graph: Graph, scheme: str) -> list[str]:
    problems = [f"operator {name} is not one of LiteRT's own" for name in sorted(set(graph.custom_operators))]
    if SIGNATURE not in graph.signatures:
        problems.append(f"no signature {SIGNATURE}")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return [*problems, f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs; expected one of each"]
    if scheme == FULL_INTEGER:
        problems += [f"operator {name} computes in floating point" for name in sorted(set(graph.float_operators))]
    if scheme in UINT8_IMAGES:
        problems += _mapping_problems("input", graph.inputs[0], INPUT_SCALE, INPUT_ZERO_POINT)
        problems += _mapping_problems("output", graph.outputs[0], OUTPUT_SCALE, OUTPUT_ZERO_POINT)
    else:
        for kind, spec in (("input", graph.inputs[0]), ("output", graph.outputs[0])):
            if spec.dtype != "float32":
                problems.append(f"{kind} is {spec.dtype}; expected float32")
    return problems


def _mapping_problems(kind: str, spec: TensorSpec, scale: float, zero_point: int) -> list[str]:
    # The file holds the scale as a float32, so that is what it must equal.
    if spec.dtype == "uint8" and spec.scale == float(np.float32(scale)) and spec.zero_point == zero_point:
        return []
    found = f"{spec.dtype}, scale {spec.scale:.9g}, zero point {spec.zero_point}"
    return [f"{kind} is {found}; expected uint8, scale {scale:.9g}, zero point {zero_point}"]


def _score_problems(scores: Float32) -> list[str]:
    return [] if np.isfinite(scores).all() else ["scores hold NaN or infinity"]
