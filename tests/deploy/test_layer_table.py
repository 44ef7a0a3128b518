from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from compress.invariants import Invariants
from deploy.flatbuffer import WeightTensor, read
from deploy.float_kernels import folded_kernels
from deploy.layer_table import LayerWeights, broken_promises, layer_table
from deploy.layers import weights_by_layer
from deploy.schemes import CONVERTIBLE

# Relative root mean square errors of a kernel by scheme: float32 and float16 round to 24 and 11 bits; int8 has steps of
# 1/127 of the largest weight, int4 of 1/7, and a kernel's root mean square is a third or so of its largest weight.
LARGEST_ERROR = {
    "float32": 1e-6,
    "float16": 5e-4,
    "dynamic_range": 0.02,
    "int8_weights": 0.02,
    "int4_weights": 0.2,
    "full_integer": 0.02,
}


def table(path: Path, model: keras.Model, promised: Invariants) -> dict[str, LayerWeights]:
    graph = read(path)
    rows = layer_table(graph, weights_by_layer(graph.weights, model), model, promised)
    return {row.layer: row for row in rows}


@pytest.mark.parametrize("scheme", CONVERTIBLE)
def test_float_error_of_every_scheme(files: dict[str, Path], network: keras.Model, scheme: str) -> None:
    for row in table(files[scheme], network, Invariants()).values():
        assert row.float_error is not None and row.float_error <= LARGEST_ERROR[scheme], row
        assert row.float_error > 0 or scheme in ("float32", "dynamic_range")  # the rest has rounded something


def test_bits_and_scales(files: dict[str, Path], network: keras.Model) -> None:
    rows = table(files["full_integer"], network, Invariants((), (), (("expand", "2:4"),)))
    assert {row.bits for row in rows.values()} == {8} and {row.zero_point for row in rows.values()} == {0}
    assert [row.scales for row in rows.values()] == [16, 32, 32, 16, 32, 10]  # one for each channel
    assert all(0 < row.scale_min < row.scale_max for row in rows.values())
    assert [row.pattern for row in rows.values()] == ["", "2:4", "", "", "", ""]
    floats = table(files["float16"], network, Invariants())["expand"]
    assert (floats.bits, floats.scales, floats.scale_min, floats.scale_max) == (16, 0, 0.0, 0.0)


def test_quantization_aware_kernels_are_compared_too(quantization_aware: keras.Model, tmp_path: Path) -> None:
    from deploy.convert import convert

    path = tmp_path / "model.tflite"
    path.write_bytes(convert(quantization_aware, "full_integer").content)
    errors = {name: row.float_error for name, row in table(path, quantization_aware, Invariants()).items()}
    assert len(errors) == 6
    # tfmot gives a depthwise kernel one range for all channels, of which the smaller ones lose more.
    for name, error in errors.items():
        assert error is not None and 0 < error < (0.1 if name == "depthwise" else 0.02), name


def test_a_changed_kernel_shows(files: dict[str, Path], network: keras.Model) -> None:
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    model.get_layer("last").kernel.assign(1.1 * network.get_layer("last").kernel.numpy())
    error = table(files["float32"], model, Invariants())["last"].float_error
    assert error == pytest.approx(0.1 / 1.1, rel=1e-4)  # float32 rounding


def test_folding_by_hand() -> None:
    image = keras.Input((4, 4, 2))
    x = keras.layers.BatchNormalization(epsilon=0.0, name="norm")(keras.layers.Conv2D(3, 1, name="conv")(image))
    model = keras.Model(image, x)
    model.get_layer("norm").moving_variance.assign([1.0, 4.0, 9.0])
    model.get_layer("norm").gamma.assign([1.0, 4.0, 6.0])
    model.get_layer("conv").kernel.assign(np.arange(6.0).reshape(1, 1, 2, 3))
    plain, folded = folded_kernels(model.get_layer("conv"), model)
    values = np.arange(6.0).reshape(2, 3).T.reshape(3, 1, 1, 2)
    np.testing.assert_allclose(plain.values, values)
    np.testing.assert_allclose(folded.values, values * np.reshape([1.0, 2.0, 2.0], (3, 1, 1, 1)))
    assert (plain.by_output, folded.by_output, folded.by_input) == (False, True, False)
    assert list(folded_kernels(model.get_layer("norm"), model)) == []


def weight(values: list[int], zero_point: int = 0) -> WeightTensor:
    return WeightTensor("w", "o", "CONV_2D", np.array([[[values]]], np.int8), zero_point, 0)


def test_patterns_are_looked_for_along_the_input_channels() -> None:
    promised = Invariants((), (), (("a", "2:4"),))
    assert broken_promises({"a": weight([0, 5, 0, 6, 1, 2, 0, 0])}, (), promised) == []
    assert broken_promises({"a": weight([3, 5, 3, 6, 1, 2, 3, 3], zero_point=3)}, (), promised) == []
    (problem,) = broken_promises({"a": weight([0, 0, 0, 0, 1, 2, 3, 0])}, (), promised)
    assert problem == "layer a: a block of 4 weights has 1 zeros; expected at least 2"


def test_absent_weights_are_named_once() -> None:
    promised = Invariants((("gone", 0.5),), (("gone", 4),), (("gone", "2:4"),))
    assert broken_promises({}, (), promised) == ["layer gone: its weights are not in the file"]
