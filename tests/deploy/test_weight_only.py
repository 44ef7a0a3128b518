from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from deploy.convert import convert
from deploy.errors import ConversionError
from deploy.flatbuffer import WeightTensor, read
from deploy.interpreter import predict
from search.dataset import ImageSet

Digits = tuple[ImageSet, ImageSet]
BITS = {"int8_weights": 8, "int4_weights": 4}


@pytest.mark.parametrize("scheme", BITS)
def test_weights_have_so_many_bits_and_images_stay_float(files: dict[str, Path], scheme: str) -> None:
    graph = read(files[scheme])
    # LiteRT has no int4 kernel for depthwise convolutions.
    expected = {8} if scheme == "int8_weights" else {4, 8}
    assert {weight.bits for weight in graph.weights} == expected
    assert all(weight.bits == 8 for weight in graph.weights if weight.operator == "DEPTHWISE_CONV_2D")
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == ("float32", "float32")
    assert graph.signatures == ("serving_default",)


@pytest.mark.parametrize("scheme", BITS)
def test_every_weight_is_within_half_a_step(files: dict[str, Path], scheme: str) -> None:
    floats = {weight.name: weight.values for weight in read(files["float32"]).weights}
    for weight in read(files[scheme]).weights:
        steps = np.max(weight.scales) * np.ones(1, np.float32)
        largest = 2 ** (weight.bits - 1) - 1
        assert np.abs(weight.values.astype(int)).max() <= largest  # symmetric: -8 and -128 are not used
        error = np.abs(weight.real_values - floats[weight.name])
        # Rounding moves a weight by half a step at most; a thousandth more for float32 products.
        assert error.max() <= 0.501 * steps.max()


def test_scores_stay_close(files: dict[str, Path], digits: Digits) -> None:
    images = digits[1].rgb(slice(0, 200))
    exact = predict(files["float32"], images)
    agreement = {scheme: np.mean(predict(files[scheme], images).argmax(1) == exact.argmax(1)) for scheme in BITS}
    # Weights of 255 values change the odd undecided image, those of 15 a tenth of them at most.
    assert agreement["int8_weights"] >= 0.98 and agreement["int4_weights"] >= 0.9


def test_files_are_a_quarter_and_an_eighth(files: dict[str, Path]) -> None:
    sizes = {scheme: files[scheme].stat().st_size for scheme in ("float32", *BITS)}
    values = sum(weight.values.size for weight in read(files["float32"]).weights)
    assert sizes["float32"] - sizes["int8_weights"] > 3 * values - 4000  # scales and their tables take less than 4 kB
    assert sizes["int8_weights"] > sizes["int4_weights"]


def test_zeros_stay_zeros(network: keras.Model) -> None:
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    kernel = model.get_layer("last").kernel
    kernel.assign(np.where(np.abs(kernel.numpy()) < np.median(np.abs(kernel.numpy())), 0, kernel.numpy()))
    for scheme in BITS:
        (last,) = (weight for weight in read(convert(model, scheme).content).weights if weight.name == "last")
        assert last.sparsity >= 0.5


def test_int4_is_two_to_a_byte_the_low_one_first() -> None:
    from types import SimpleNamespace

    from ai_edge_litert import schema_py_generated as schema

    from deploy.flatbuffer import _stored_values

    tensor = SimpleNamespace(type=schema.TensorType.INT4, shape=[1, 5], sparsity=None)
    values, bits = _stored_values(tensor, np.array([0x21, 0x8F, 0x07], np.uint8))
    assert bits == 4 and values.tolist() == [[1, 2, -1, -8, 7]]


def test_real_values_of_one_scale_and_of_several() -> None:
    stored = np.array([[[[1, -2]]], [[[3, 4]]]], np.int8)
    one = WeightTensor("w", "o", "CONV_2D", stored, 0, None, scales=(0.5,))
    assert one.real_values.reshape(-1).tolist() == [0.5, -1, 1.5, 2]
    two = WeightTensor("w", "o", "CONV_2D", stored, 0, 0, scales=(0.5, 0.25))
    assert two.real_values.reshape(-1).tolist() == [0.5, -1, 0.75, 1]
    last = WeightTensor("w", "o", "DEPTHWISE_CONV_2D", stored, 1, 3, scales=(1.0, 2.0))
    assert last.real_values.reshape(-1).tolist() == [0, -6, 2, 6]


def test_a_quantization_aware_model_is_refused(quantization_aware: keras.Model) -> None:
    with pytest.raises(ConversionError, match="converts to full_integer, not to int4_weights"):
        convert(quantization_aware, "int4_weights")
