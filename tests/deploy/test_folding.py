"""Normalizations beside clustered layers: what the converter folds where, and whether the clusters are still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants, kernel_variable
from deploy.convert import convert
from deploy.layer_table import LayerWeights
from deploy.schemes import DYNAMIC_RANGE, FLOAT32, FULL_INTEGER
from deploy.validate import Validation, validate
from search.dataset import ImageSet

L = keras.layers
CLUSTERS = 8
SIDE = 8
# Relative root mean square errors of a kernel: rounding to 24 bits, and to steps of a 127th of the largest weight of a
# row; in dynamic range of a dense layer's whole kernel, whose rows differ by a factor of up to 4.
LARGEST_ERROR = {FLOAT32: 1e-6, DYNAMIC_RANGE: 0.02, FULL_INTEGER: 0.02}


def norm() -> list[L.Layer]:
    return [L.BatchNormalization(), L.ReLU()]


def end() -> list[L.Layer]:
    return [L.GlobalAveragePooling2D(), L.Dense(4, name="logits")]


def first() -> list[L.Layer]:
    return [L.Flatten(), L.Dense(24, name="first"), L.ReLU(), L.BatchNormalization()]


# What stands around the clustered layer "it". Every layer has a bias other than 0: the converter folds a normalization
# into the dense layer that reads it only then.
BEHIND: dict[str, Callable[[], list[L.Layer]]] = {
    "behind a dropout": lambda: [L.Conv2D(24, 3, name="it"), L.SpatialDropout2D(0.1), *norm(), *end()],
    "behind a linear activation": lambda: [L.Conv2D(24, 3, name="it"), L.Activation("linear"), *norm(), *end()],
    "dense": lambda: [L.Flatten(), L.Dense(24, name="it"), *norm(), L.Dense(4)],
    "dense, dropout": lambda: [L.Flatten(), L.Dense(24, name="it"), L.Dropout(0.1), *norm(), L.Dense(4)],
    "twice": lambda: [L.Conv2D(24, 3, name="it"), L.BatchNormalization(), *norm(), *end()],
    "along another axis": lambda: [
        *(L.Conv2D(24, 3, name="it"), L.BatchNormalization(axis=1), L.ReLU(), L.BatchNormalization(axis=2), *end())
    ],
    "behind an activation": lambda: [L.Conv2D(24, 3, activation="relu", name="it"), *norm(), *end()],
    "depthwise with a multiplier": lambda: [L.DepthwiseConv2D(3, depth_multiplier=8, name="it"), *norm(), *end()],
}
BEFORE: dict[str, Callable[[], list[L.Layer]]] = {
    "before a dense layer": lambda: [*first(), L.Dense(16, name="it")],
    "before a dropout": lambda: [*first(), L.Dropout(0.1), L.Dense(16, name="it")],
    "of the mean": lambda: [
        *(L.Conv2D(24, 3), L.ReLU(), L.GlobalAveragePooling2D(), L.BatchNormalization(), L.Dense(16, name="it"))
    ],
    "flattened": lambda: [L.Conv2D(6, 3), L.ReLU(), L.BatchNormalization(), L.Flatten(), L.Dense(16, name="it")],
    "rescaled images": lambda: [L.Rescaling((0.5, 1.0, 2.0)), L.Flatten(), L.Dense(16, name="it")],
    "before and behind": lambda: [*first(), L.Dense(16, name="it"), *norm(), L.Dense(4)],
}


def network(layers: list[L.Layer]) -> keras.Model:
    """The layers in a row, with weights that differ, and 8 values in the kernel of "it"."""
    reset(0)
    x = image = keras.Input((SIDE, SIDE, 3))
    for layer in layers:
        x = layer(x)
    model = keras.Model(image, x)
    for number, layer in enumerate(model.layers):
        draw = np.random.default_rng(number)
        if isinstance(layer, L.BatchNormalization):
            ranges = ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5))  # of gamma, beta, mean and variance
            layer.set_weights([draw.uniform(*bounds, layer.gamma.shape) for bounds in ranges])
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(draw.uniform(-0.5, 0.5, layer.bias.shape))
    kernel = kernel_variable(model.get_layer("it"))
    kernel.assign(np.random.default_rng(0).choice(np.linspace(-0.3, 0.4, CLUSTERS), kernel.shape))
    return model


def validated(model: keras.Model, scheme: str, folder: Path) -> tuple[Validation, LayerWeights]:
    pixels = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    path = folder / "model.tflite"
    path.write_bytes(convert(model, scheme, pixels.astype(np.float32) / 255).content)
    images = ImageSet(pixels, np.zeros(8, np.int32), np.arange(8))
    found = validate(path, model, images, scheme, Invariants((), (("it", CLUSTERS),)))
    (row,) = (row for row in found.layers if row.layer == "it")
    return found, row


@pytest.mark.parametrize("scheme", LARGEST_ERROR)
@pytest.mark.parametrize("case", BEHIND)
def test_clusters_are_there_channel_by_channel(case: str, scheme: str, tmp_path: Path) -> None:
    found, row = validated(network(BEHIND[case]()), scheme, tmp_path)
    assert found.problems == ()
    assert row.max_unique_values is not None and 1 < row.max_unique_values <= CLUSTERS
    assert row.float_error is not None and row.float_error <= LARGEST_ERROR[scheme]


@pytest.mark.parametrize("scheme", LARGEST_ERROR)
@pytest.mark.parametrize("case", BEFORE)
def test_a_normalization_may_be_folded_into_the_layer_behind_it(case: str, scheme: str, tmp_path: Path) -> None:
    """Then each input has a factor: the clusters are there input by input, unless rows have scales of their own."""
    found, row = validated(network(BEFORE[case]()), scheme, tmp_path)
    assert found.problems == ()
    assert row.max_unique_values is None or 1 < row.max_unique_values <= CLUSTERS
    assert row.float_error is not None and row.float_error <= LARGEST_ERROR[scheme]


def test_which_clusters_cannot_be_counted(tmp_path: Path) -> None:
    before, both = network(BEFORE["before a dense layer"]()), network(BEFORE["before and behind"]())
    for scheme in (FLOAT32, DYNAMIC_RANGE):
        assert validated(before, scheme, tmp_path)[1].max_unique_values == CLUSTERS
        assert validated(both, scheme, tmp_path)[1].max_unique_values is None
    found, row = validated(before, FULL_INTEGER, tmp_path)
    assert (found.clusters, row.max_unique_values) == (None, None)
    assert row.unique_values > CLUSTERS


@pytest.mark.parametrize("case", ["dense", "before a dense layer"])
def test_lost_clusters_are_seen_beside_a_normalization(case: str, tmp_path: Path) -> None:
    model = network((BEHIND | BEFORE)[case]())
    kernel = kernel_variable(model.get_layer("it"))
    kernel.assign(np.random.default_rng(0).uniform(-1, 1, kernel.shape))
    (problem,) = validated(model, FLOAT32, tmp_path)[0].problems
    assert problem.endswith("distinct weights of one scale; expected at most 8")
