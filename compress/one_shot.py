"""Sensitivity analysis: each layer of a trained network is pruned alone, without training, and the network evaluated.

(Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", figure 6.)
"""

from __future__ import annotations

from collections.abc import Sequence

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from compress.distill import ends_in_softmax
from compress.invariants import kernel_variable
from compress.sensitivity import SPARSITIES, LayerSensitivity, Sensitivity
from search.dataset import ImageSet
from search.train import predict

ANALYSIS_IMAGES = 512  # accuracies within 2 points (one standard deviation), losses closer still, as all see the same
LEAST_PROBABILITY = 1e-7


def analyse(
    model: keras.Model,
    images: ImageSet,
    layers: Sequence[str],
    *,
    sparsities: Sequence[float] = SPARSITIES,
    max_images: int = ANALYSIS_IMAGES,
) -> Sensitivity:
    """Loss and accuracy of `model` with one of `layers` at one of the rising `sparsities`, for all of both.

    Takes `max_images` images, evenly spread over `images`. The model is unchanged afterwards. The weights of a kernel
    that are smallest by magnitude become zero; at least one stays.
    """
    sample = _spread(images, max_images)
    loss, accuracy = _evaluate(model, sample)
    found = []
    for name in layers:
        kernel = kernel_variable(model.get_layer(name))
        trained = kernel.numpy()
        try:
            figures = [_evaluate_with(model, kernel, pruned(trained, sparsity), sample) for sparsity in sparsities]
        finally:
            kernel.assign(trained)
        losses, accuracies = zip(*figures, strict=True)
        found.append(LayerSensitivity(name, int(trained.size), tuple(sparsities), losses, accuracies))
    return Sensitivity(len(sample), loss, accuracy, tuple(found))


def pruned(kernel: npt.NDArray[np.float32], sparsity: float) -> npt.NDArray[np.float32]:
    """The kernel with `sparsity` of its weights, those of the smallest magnitude, at zero; at least one stays."""
    zeros = min(kernel.size - 1, round(kernel.size * sparsity))
    values = kernel.copy()
    values.reshape(-1)[np.argsort(np.abs(kernel), axis=None, kind="stable")[:zeros]] = 0.0
    return values


def _evaluate_with(
    model: keras.Model, kernel: tf.Variable, values: npt.NDArray[np.float32], images: ImageSet
) -> tuple[float, float]:
    kernel.assign(values)
    return _evaluate(model, images)


def _evaluate(model: keras.Model, images: ImageSet) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy."""
    outputs = predict(model, images).astype(np.float64)
    if not ends_in_softmax(model):
        outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    right = outputs[np.arange(len(images)), images.labels] / outputs.sum(axis=1)
    loss = -np.log(np.maximum(right, LEAST_PROBABILITY)).mean()
    return float(loss), float(np.mean(outputs.argmax(axis=1) == images.labels))


def _spread(images: ImageSet, count: int) -> ImageSet:
    if len(images) <= count:
        return images
    positions = np.arange(count) * len(images) // count
    return ImageSet(images.images, images.all_labels, images.rows[positions])
