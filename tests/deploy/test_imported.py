"""A user's model, imported and trained quantization-aware, has an integer form."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import pytest

from compress.importing.load import load_user_model
from compress.invariants import Invariants
from compress.run import apply_pass
from deploy.convert import convert
from deploy.flatbuffer import read
from tests.compress.nets import SPECS, blob_images, fine_tune

Layers = keras.layers


def imported(model: keras.Model, path: Path) -> keras.Model:
    model.save(path)
    return load_user_model(path, 4, 12, allow_custom=False, input_range="-1..1", where="--model")


@pytest.mark.slow
def test_an_imported_network_becomes_full_integer_through_training(tmp_path: Path) -> None:
    """Also its input range, a product and a sum, has an integer form."""
    image = keras.Input((12, 12, 3))
    x = Layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu6")(image)
    x = Layers.Dense(4, activation="softmax")(Layers.GlobalAveragePooling2D()(x))
    flat = imported(keras.Model(image, x), tmp_path / "model.keras")
    train = blob_images(32)
    result = apply_pass(SPECS["quantize"], flat, Invariants(), fine_tune(train, 1, 16), train)
    graph = read(convert(result.model, "full_integer").content)
    assert {operator.name for operator in graph.operators} >= {"MUL", "ADD", "DEPTHWISE_CONV_2D", "CONV_2D"}
    assert not graph.float_operators
