"""Slim files: the same outputs from fewer bytes, and everything that reads a .tflite still finds its way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.keras_env import keras, reset

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from deploy.convert import convert
from deploy.flatbuffer import read, sign
from deploy.interpreter import predict
from deploy.layers import weights_by_layer
from deploy.merge import merge
from deploy.names import bare_name, layer_of
from deploy.packing import packed, unpacked
from deploy.schemes import CONVERTIBLE
from deploy.slim import slim
from deploy.tracing import INPUT_NAME, OUTPUT_NAME, frozen_graph, scoring_function
from search.build import build
from search.dataset import ImageSet
from search.named import network as named_network

Digits = tuple[ImageSet, ImageSet]
KERNELS = ["stem", "expand", "depthwise", "project", "last", "logits"]


@pytest.fixture(scope="module")
def raw(network: keras.Model, calibration: np.ndarray) -> dict[str, bytes]:
    """What TensorFlow's converter makes of the network, with a signature and nothing taken out."""
    return {scheme: as_converted(network, scheme, calibration) for scheme in ("float32", "full_integer")}


def as_converted(model: keras.Model, scheme: str, calibration: np.ndarray) -> bytes:
    from deploy.convert import converter_settings, unfinished

    images = calibration if scheme == "full_integer" else None
    content, path = unfinished(model, scoring_function(model), converter_settings(scheme, images))
    assert path == "fast"
    file = unpacked(content)
    sign(file, INPUT_NAME, OUTPUT_NAME)
    return packed(file)


def slimmed(content: bytes, kernels: Mapping[int, str] | None = None) -> bytes:
    file = unpacked(content)
    slim(file, kernels or {})
    return packed(file)


def tensors(content: bytes) -> list[Any]:
    return list(flatbuffer_utils.convert_bytearray_to_object(bytearray(content)).subgraphs[0].tensors)


@pytest.mark.parametrize("scheme", ["float32", "full_integer"])
def test_outputs_are_bit_equal(raw: dict[str, bytes], files: dict[str, Path], digits: Digits, scheme: str) -> None:
    images = digits[1].rgb(slice(0, 50))
    smaller = slimmed(raw[scheme])
    assert len(smaller) < len(raw[scheme])
    np.testing.assert_array_equal(predict(smaller, images), predict(raw[scheme], images))
    np.testing.assert_array_equal(predict(files[scheme], images), predict(raw[scheme], images))


def test_nothing_is_left_to_take_out(raw: dict[str, bytes]) -> None:
    once = slimmed(raw["full_integer"])
    assert slimmed(once, {weight.index: weight.name for weight in read(once).weights}) == once


def test_a_network_of_sixty_thousand_weights_loses_a_fifth() -> None:
    """Zero points and names are a fixed price per channel and tensor, so small networks gain most."""
    reset(0)
    model = build(named_network("mobilenet_v2_small", 32, 10, 0.7))
    assert 50_000 < model.count_params() < 80_000
    images = np.random.default_rng(0).uniform(0, 1, (4, 32, 32, 3)).astype(np.float32)
    images[0, 0, 0], images[1, 0, 0] = 0, 1
    before = as_converted_by_tensorflow(model, images)
    assert len(slimmed(before)) < 0.8 * len(before)


def as_converted_by_tensorflow(model: keras.Model, images: np.ndarray) -> bytes:
    """As the guides have it, without our own packing."""
    from core.keras_env import tf

    function = scoring_function(model)
    converter = tf.compat.v1.lite.TFLiteConverter(frozen_graph(function), function.inputs[:1], function.outputs)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
    return bytes(converter.convert())


@pytest.mark.parametrize("scheme", CONVERTIBLE)
def test_kernels_carry_their_layers_names(files: dict[str, Path], network: keras.Model, scheme: str) -> None:
    graph = read(files[scheme])
    assert [weight.name for weight in graph.weights] == KERNELS
    assert list(weights_by_layer(graph.weights, network)) == KERNELS
    assert graph.signatures == ("serving_default",)
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("image", "scores")


@pytest.mark.parametrize("scheme", CONVERTIBLE)
def test_names_are_short_and_different(files: dict[str, Path], scheme: str) -> None:
    names = [tensor.name.decode() for tensor in tensors(files[scheme].read_bytes())]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= len("global_average_pooling2d") + 2  # and none lists what was folded into it
    assert not any(";" in name or "/" in name for name in names)


def test_operators_carry_the_names_of_layers_in_a_profile(files: dict[str, Path], network: keras.Model) -> None:
    interpreter = Interpreter(str(files["full_integer"]))
    details = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    outputs = [details[operator["outputs"][0]] for operator in interpreter._get_ops_details()]
    known = {layer.name for layer in network.layers}
    inner = [name for name in outputs if name in known or name.removesuffix(".1") in known]
    assert len(inner) >= 7  # six with a kernel, the sum and the mean; not those that quantize input and output


def test_every_vector_is_there_once(raw: dict[str, bytes]) -> None:
    content = slimmed(raw["full_integer"])
    zero_points = [t.quantization.zeroPoint.tobytes() for t in tensors(content) if t.quantization is not None]
    assert any(content.count(vector) and len(vector) >= 256 for vector in zero_points)
    longest = max(len(vector) for vector in zero_points)
    # All zeros of this length in a row: of several tensors, at one place.
    assert len([vector for vector in zero_points if len(vector) == longest]) > 1
    assert content.count(bytes(longest)) == 1


def test_constants_are_aligned(files: dict[str, Path]) -> None:
    """The schema's force_align: some kernels load 16 bytes at once."""
    content = files["full_integer"].read_bytes()
    for weight in read(files["full_integer"]).weights:
        stored = weight.values.tobytes()
        if len(stored) >= 64:  # long enough to occur once
            assert content.index(stored) % 16 == 0


def test_ranges_of_calibration_and_unread_metadata_go(raw: dict[str, bytes]) -> None:
    model = unpacked(raw["full_integer"])
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None:
            tensor.quantization.min, tensor.quantization.max = np.float32([-1]), np.float32([1])
    model.metadata[0].name = "CONVERSION_METADATA"
    after = unpacked(slimmed(packed(model)))
    assert all(t.quantization is None or t.quantization.min is None for t in after.subgraphs[0].tensors)
    assert after.metadata == []


def test_metadata_with_readers_stays(files: dict[str, Path]) -> None:
    names = {entry.name for entry in unpacked(files["float16"].read_bytes()).metadata}
    assert names == {b"min_runtime_version", b"reduced_precision_support"}


def test_packing_leaves_the_object_as_it_was(raw: dict[str, bytes]) -> None:
    model = unpacked(raw["full_integer"])
    merge(model)
    assert packed(model) == packed(model)


def test_constants_behind_the_flatbuffer_are_taken_into_it(raw: dict[str, bytes], digits: Digits) -> None:
    """AI Edge Quantizer writes larger models so, and LiteRT refuses what an unpacking makes of them that forgets it."""
    model = unpacked(raw["float32"])
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    data, largest.data = largest.data, None
    largest.offset, largest.size = 1 << 20, len(data)
    largest.offset = -(-len(packed(model)) // 16) * 16  # a number takes the same room, whatever it is
    outside = packed(model).ljust(largest.offset, b"\0") + data.tobytes()
    images = digits[1].rgb(slice(0, 5))
    inside = slimmed(outside)
    np.testing.assert_array_equal(predict(outside, images), predict(raw["float32"], images))
    np.testing.assert_array_equal(predict(inside, images), predict(raw["float32"], images))
    assert all(buffer.offset == 0 for buffer in unpacked(inside).buffers)


def test_a_layer_used_twice_is_one_kernel() -> None:
    reset(3)
    image = keras.Input((8, 8, 3))
    twice = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(twice(keras.layers.ReLU(name="relu")(twice(image))))
    model = keras.Model(image, x, name="network")
    graph = read(convert(model, "float32").content)
    assert {weight.name for weight in graph.weights} <= {"twice", "twice.1"}
    assert list(weights_by_layer(graph.weights, model)) == ["twice"]
    kernel = model.get_layer("twice").kernel.numpy().astype(np.float32)
    stored = np.moveaxis(kernel, -1, 0).tobytes()
    assert convert(model, "float32").content.count(stored) == 1


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("network/head_relu6/Relu6;network/head_bn/FusedBatchNormV3;network/head_conv/Conv2D", "head_relu6"),
        ("network/quant_head_conv/Conv2D", "head_conv"),
        ("network/gate/mul_1", "gate"),
        ("tfl.quantize", "tfl.quantize"),
        ("logits/MatMul", "MatMul"),
    ],
)
def test_layer_in_a_name(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer


def test_wrapper_prefixes() -> None:
    assert bare_name("quant_stem") == "stem"
    assert bare_name("quant_prune_low_magnitude_stem") == "stem"
    assert bare_name("stem_quant") == "stem_quant"
