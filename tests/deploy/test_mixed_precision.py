from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from core.errors import UsageError
from core.spec_io import canonical_json
from deploy.convert import convert
from deploy.errors import ConversionError
from deploy.flatbuffer import describe, read
from deploy.mixed_precision import convert_mixed
from deploy.validate import validate
from search.dataset import ImageSet
from tests.deploy.conftest import fit

Digits = tuple[ImageSet, ImageSet]
MAX_LOSS = 0.005


def relu_network() -> keras.Model:
    """Convolutions with normalizations and plain ReLUs, through which a factor passes unchanged."""

    def normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    image = keras.Input((28, 28, 3))
    x = normalized(keras.layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(image), "stem")
    x = normalized(keras.layers.Conv2D(32, 1, use_bias=False, name="expand")(x), "expand")
    x = normalized(keras.layers.DepthwiseConv2D(5, 2, "same", use_bias=False, name="depthwise")(x), "depthwise")
    x = normalized(keras.layers.Conv2D(32, 3, 2, "same", use_bias=False, name="last")(x), "last")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="relu_network")


def widen(model: keras.Model, producer: str, consumer: str, channels: Sequence[int], factor: float) -> None:
    """Multiplies channels of an activation and divides what reads them: the same network, a range too wide for int8."""
    norm, reader = model.get_layer(f"{producer}_bn"), model.get_layer(consumer)
    for variable in (norm.gamma, norm.beta):
        values = variable.numpy()
        values[list(channels)] *= factor
        variable.assign(values)
    kernel = getattr(reader, "depthwise_kernel", None)
    kernel = reader.kernel if kernel is None else kernel
    values = kernel.numpy()
    values[:, :, list(channels)] /= factor
    kernel.assign(values)


@pytest.fixture(scope="module")
def wide(digits: Digits) -> keras.Model:
    """A trained network whose output of "expand" has two channels of 300 times the range of the others."""
    reset(1)
    model = relu_network()
    fit(model, digits[0], epochs=3)
    widen(model, "expand", "depthwise", (0, 1), 300.0)
    return model


def halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Validation images, by which precisions are chosen, and others, by which they are judged."""
    return images.first(500), ImageSet(images.images, images.all_labels, images.rows[500:])


def test_brings_back_what_int8_loses(
    wide: keras.Model, calibration: np.ndarray, digits: Digits, tmp_path: Path
) -> None:
    val, test = halves(digits[1])
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(wide, "full_integer", calibration).content)
    int8 = validate(path, wide, test, "full_integer")
    assert int8.tflite_accuracy < int8.keras_accuracy - 0.02  # the network is as bad as it is meant to be
    converted, report = convert_mixed(wide, calibration, val, MAX_LOSS)
    path.write_bytes(converted.content)
    mixed = validate(path, wide, test, "mixed")
    assert mixed.problems == ()  # uint8 in and out, with the agreed scales
    assert report.val_accuracy >= report.float_accuracy - MAX_LOSS
    # Chosen on 500 images and judged on 500 others: a handful of undecided images may fall either way.
    assert mixed.tflite_accuracy >= mixed.keras_accuracy - 2 * MAX_LOSS
    bits = {row.layer: row.bits for row in mixed.layers}
    assert bits["expand"] == bits["depthwise"] == 32  # both sides of the wide activation
    assert bits["stem"] == bits["logits"] == 8
    canonical_json(report)


def test_the_report_tells_how(wide: keras.Model, calibration: np.ndarray, digits: Digits) -> None:
    _, report = convert_mixed(wide, calibration, halves(digits[1])[0], MAX_LOSS)
    by_layer = {row.layer: row for row in report.operators}
    assert list(by_layer) == ["stem", "expand", "depthwise", "last", "pool", "logits", "scores"]
    worst = sorted(by_layer, key=lambda layer: -by_layer[layer].sensitivity)[:2]
    assert set(worst) == {"expand", "depthwise"}
    assert all(row.sensitivity >= 0 for row in report.operators)
    assert by_layer["stem"].macs == 14 * 14 * 16 * 27 and by_layer["pool"].macs == 0
    floats = sum(row.macs for row in report.operators if row.is_float)
    assert report.float_macs == floats / sum(row.macs for row in report.operators)
    assert report.steps[-1].val_accuracy == report.val_accuracy
    assert report.steps[-1].float_macs == report.float_macs
    assert {step.precision for step in report.steps} <= {"float32", "int8"}


def test_what_is_not_needed_becomes_int8_again(wide: keras.Model, calibration: np.ndarray, digits: Digits) -> None:
    """No layer in float32 can be missed: each without it falls below the target."""
    from deploy.convert import converter_settings, unfinished
    from deploy.mixed_precision import _calibrate_only, _Network, _Search
    from deploy.tracing import scoring_function

    settings = converter_settings("full_integer", calibration, _calibrate_only)
    network = _Network(unfinished(wide, scoring_function(wide), settings)[0], wide)
    val = halves(digits[1])[0]
    _, report = convert_mixed(wide, calibration, val, MAX_LOSS)
    search = _Search(network, val, report.float_accuracy, MAX_LOSS, 1.0)
    backwards = {node.name: float(-number) for number, node in enumerate(network.nodes)}  # stem first: a bad order
    found = search.run(backwards)
    assert found.val_accuracy >= found.float_accuracy - MAX_LOSS
    kept = set(search.floats)
    assert {network.layers[name] for name in kept} >= {"expand", "depthwise"}
    assert all(search._measured(kept - {name}) < found.float_accuracy - MAX_LOSS for name in kept)


def test_where_int8_suffices_it_is_the_full_integer_file(
    network: keras.Model, calibration: np.ndarray, digits: Digits, files: dict[str, Path]
) -> None:
    converted, report = convert_mixed(network, calibration, digits[1].first(300), 0.05)
    assert converted.content == files["full_integer"].read_bytes()
    assert report.steps == () and report.float_macs == 0
    assert not any(row.is_float for row in report.operators)


def test_a_budget_that_does_not_suffice_is_refused(wide: keras.Model, calibration: np.ndarray, digits: Digits) -> None:
    with pytest.raises(ConversionError, match=r"cannot be converted to mixed: .* of the validation images") as caught:
        convert_mixed(wide, calibration, halves(digits[1])[0], MAX_LOSS, max_float_macs=0.2)
    assert "\n" not in str(caught.value)


def test_repeats(wide: keras.Model, calibration: np.ndarray, digits: Digits) -> None:
    first, second = (convert_mixed(wide, calibration, digits[1].first(200), 0.02) for _ in range(2))
    assert first[0].content == second[0].content
    assert json.loads(canonical_json(first[1])) == json.loads(canonical_json(second[1]))
    assert describe(first[0].content)[0][0].dtype == "uint8"
    assert read(first[0].content).float_operators != ()


def test_bad_input(wide: keras.Model, quantization_aware: keras.Model, calibration: np.ndarray, digits: Digits) -> None:
    with pytest.raises(UsageError, match=r"max_loss: 1\.5 is not legal; expected a number from 0 to 1"):
        convert_mixed(wide, calibration, digits[1], 1.5)
    with pytest.raises(UsageError, match="max_float_macs"):
        convert_mixed(wide, calibration, digits[1], 0.1, max_float_macs=float("nan"))
    with pytest.raises(ConversionError, match="needs calibration images"):
        convert_mixed(wide, None, digits[1], 0.1)
    with pytest.raises(ConversionError, match="converts to full_integer, not to mixed"):
        convert_mixed(quantization_aware, calibration, digits[1], 0.1)
