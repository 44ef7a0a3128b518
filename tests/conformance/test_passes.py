"""What every compression pass of the table must do; a new one joins by its line in PASSES (and in nets.SPECS)."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from compress.invariants import Invariants, check, observe
from compress.model_cost import model_cost
from compress.passes import PASSES
from compress.passes.contract import CompressPass
from compress.storage import copy_of, load_model, named_weights, save_model
from core.registry import load
from tests.compress.nets import CHANGING, SPECS, blob_images, fine_tune, network_to_change, prepared, small_network

ORDER = tuple(SPECS)  # the legal order of passes


def test_every_pass_is_covered() -> None:
    assert set(PASSES) == set(SPECS)


@pytest.mark.parametrize("name", sorted(PASSES))
def test_pass_wraps_trains_and_strips(name: str, tmp_path: Path) -> None:
    images = blob_images(64)
    model = network_to_change() if name in CHANGING else small_network()
    earlier = prepared(model, ORDER[: ORDER.index(name)])
    parent_names = [layer.name for layer in model.layers]

    one_step = fine_tune(images, epochs=1, batch_size=64)
    compress_pass: CompressPass = load(PASSES, name, "pass")(SPECS[name].settings)
    wrapped = compress_pass.wrap(copy_of(model), earlier, one_step)
    one_step.run(wrapped, compress_pass.callbacks(), name)
    stripped = copy_of(compress_pass.strip(wrapped))

    promised = earlier.merged(compress_pass.promises())
    states = observe(stripped)
    check(states, promised, name)
    if name in CHANGING:
        assert model_cost(stripped).params < model_cost(model).params
        assert stripped.input_shape == model.input_shape
        assert stripped.output_shape == model.output_shape
    else:
        assert {state.layer for state in states} == {state.layer for state in observe(model)}
        assert changed_weights(model, stripped)  # the step trained something
    if name not in ("quantize", *CHANGING):  # the quantization-aware model alone keeps its wrappers
        assert [layer.name for layer in stripped.layers] == parent_names
        assert all(layer.trainable for layer in stripped.layers)
    assert_survives_saving(stripped, promised, tmp_path)


def changed_weights(model: keras.Model, stripped: keras.Model) -> bool:
    before = {key.rsplit("/", 1)[-1]: value for key, value in named_weights(model).items()}
    after = named_weights(stripped)
    return any(not np.array_equal(before[key.rsplit("/", 1)[-1]], after[key]) for key in after if key.endswith("gamma"))


def assert_survives_saving(model: keras.Model, promised: Invariants, directory: Path) -> None:
    save_model(model, directory)
    loaded = load_model(directory)
    before, after = named_weights(model), named_weights(loaded)
    assert before.keys() == after.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(value, after[key], err_msg=key)
    pixels = blob_images(8).rgb().astype(np.float32) / 255
    np.testing.assert_array_equal(model(pixels, training=False), loaded(pixels, training=False))
    check(observe(loaded), promised, "loading")
