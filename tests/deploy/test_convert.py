from __future__ import annotations

from pathlib import Path
from typing import Any

from core.keras_env import keras, reset, tf

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.errors import CandidateError, UsageError
from deploy import convert as conversion
from deploy.convert import convert
from deploy.flatbuffer import describe, read
from deploy.interpreter import predict
from deploy.schemes import CONVERTIBLE, FULL_INTEGER
from deploy.validate import keras_scores
from search.dataset import ImageSet
from tests.deploy.conftest import small_network

Digits = tuple[ImageSet, ImageSet]


@pytest.fixture
def slow_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> bytes:
        raise RuntimeError("not today")

    monkeypatch.setattr(conversion, "_fast", refuse)


def test_float32_gives_the_networks_probabilities(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    images = digits[1].rgb(slice(0, 100))
    # Two float32 implementations of sums of at most a few hundred products: 1e-5 is a hundred times the rounding.
    np.testing.assert_allclose(predict(files["float32"], images), keras_scores(network, images), atol=1e-5)


def test_scores_are_probabilities(files: dict[str, Path], digits: Digits) -> None:
    for path in files.values():
        totals = predict(path, digits[1].rgb(slice(0, 20))).sum(axis=1)
        # Ten outputs, each rounded to 1/256 in a full-integer model, so at most 10 half steps off.
        np.testing.assert_allclose(totals, 1, atol=10 / 512)


def test_no_second_softmax(calibration: np.ndarray) -> None:
    reset(1)
    content = convert(small_network(softmax=True), "full_integer", calibration).content
    assert [operator.name for operator in read(content).operators].count("SOFTMAX") == 1


@pytest.mark.parametrize("scheme", CONVERTIBLE)
def test_every_scheme_takes_the_fast_path_and_repeats(
    files: dict[str, Path], network: keras.Model, calibration: np.ndarray, scheme: str
) -> None:
    again = convert(network, scheme, calibration)
    assert again.path == "fast"
    assert again.content == files[scheme].read_bytes()


def test_schemes_shrink_the_weights(files: dict[str, Path]) -> None:
    kinds = {scheme: {str(weight.values.dtype) for weight in read(path).weights} for scheme, path in files.items()}
    assert kinds["float32"] == {"float32"} and kinds["float16"] == {"float16"}
    # LiteRT leaves kernels of fewer than 1,024 weights in float32; the layer named last has 12,800.
    assert "int8" in kinds["dynamic_range"]
    assert kinds["full_integer"] == {"int8"}


def test_quantization_aware_model_needs_no_calibration(quantization_aware: keras.Model, digits: Digits) -> None:
    converted = convert(quantization_aware, "full_integer")
    graph = read(converted.content)
    assert converted.path == "fast" and graph.float_operators == ()
    assert (graph.inputs[0].scale, graph.inputs[0].zero_point) == (float(np.float32(1 / 255)), 0)
    assert (graph.outputs[0].scale, graph.outputs[0].zero_point) == (1 / 256, 0)
    images = digits[1].rgb(slice(0, 200))
    same = predict(converted.content, images).argmax(1) == keras_scores(quantization_aware, images).argmax(1)
    # Training imitated this arithmetic, so only images on a class border (a few in a hundred) may change sides.
    assert same.mean() >= 0.95


def test_quantization_aware_model_has_no_float_sibling(quantization_aware: keras.Model) -> None:
    with pytest.raises(CandidateError, match="converts to full_integer, not to float32"):
        convert(quantization_aware, "float32")


@pytest.mark.parametrize("kind", ["network", "quantization_aware"])
def test_slow_path_gives_the_same_outputs(
    request: pytest.FixtureRequest, calibration: np.ndarray, digits: Digits, kind: str
) -> None:
    model = request.getfixturevalue(kind)
    fast = convert(model, "full_integer", calibration)
    request.getfixturevalue("slow_only")
    slow = convert(model, "full_integer", calibration)
    assert (fast.path, slow.path) == ("fast", "slow")
    assert describe(fast.content) == describe(slow.content)
    images = digits[1].rgb(slice(0, 100))
    np.testing.assert_array_equal(predict(slow.content, images), predict(fast.content, images))


def test_control_flow_takes_the_slow_path() -> None:
    class Gate(keras.layers.Layer):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x)

    reset(1)
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(Gate()(image))))
    converted = convert(model, "float32")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    assert converted.path == "slow"
    # Sums of 48 float32 products.
    np.testing.assert_allclose(predict(converted.content, images), keras_scores(model, images), atol=1e-5)


def test_signature_can_be_run(files: dict[str, Path]) -> None:
    runner = Interpreter(str(files["float32"])).get_signature_runner("serving_default")
    assert runner(image=np.zeros((1, 28, 28, 3), np.float32))["scores"].shape == (1, 10)


def test_unknown_scheme(network: keras.Model) -> None:
    for scheme in ("int4", "mixed"):  # the latter takes images to judge by: deploy.mixed_precision
        with pytest.raises(
            UsageError, match=f"scheme: '{scheme}' is not legal; expected one of dynamic_range, float16"
        ):
            convert(network, scheme)


def test_calibration_must_hold_both_extremes(network: keras.Model, calibration: np.ndarray) -> None:
    with pytest.raises(CandidateError, match="both extremes 0 and 1 must occur"):
        convert(network, "full_integer", calibration * 0.5)
    with pytest.raises(CandidateError, match="needs calibration images"):
        convert(network, "full_integer")


def test_a_model_of_another_form_gives_one_line() -> None:
    vector = keras.Input((8,))
    with pytest.raises(CandidateError, match="expected one image"):
        convert(keras.Model(vector, keras.layers.Dense(2)(vector)), "float32")


def test_an_operation_that_litert_lacks_gives_one_line() -> None:
    class Determinant(keras.layers.Layer):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.linalg.det(tf.transpose(x, [0, 3, 1, 2]))

    image = keras.Input((4, 4, 3))
    with pytest.raises(CandidateError, match="cannot be converted to float32") as caught:
        convert(keras.Model(image, Determinant()(image)), "float32")
    assert "\n" not in str(caught.value)


def test_a_dead_layer_gives_one_line(calibration: np.ndarray) -> None:
    """Its range is nothing, so LiteRT refuses the model or ends the process: it must not come that far."""
    image = keras.Input((28, 28, 3))
    below_zero = keras.initializers.Constant(-100.0)
    dead = keras.layers.ReLU()(keras.layers.Conv2D(4, 3, bias_initializer=below_zero, name="dead")(image))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(dead))
    with pytest.raises(CandidateError) as caught:
        convert(keras.Model(image, x, name="network"), FULL_INTEGER, calibration)
    message = str(caught.value)
    assert message.startswith("network: cannot be converted to full_integer: the output of network/")
    assert message.endswith("is 0 for every calibration image, which LiteRT cannot run in int8")
    assert "\n" not in message
