"""Sparse files: smaller, of the same kernels and scores, and in the form that XNNPACK computes right."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from core.keras_env import keras, reset

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from compress.invariants import kernel_variable
from compress.one_shot import pruned
from core.errors import UsageError
from deploy.convert import convert
from deploy.errors import ConversionError
from deploy.flatbuffer import read
from deploy.interpreter import predict
from deploy.layers import weights_by_layer
from deploy.schemes import DYNAMIC_RANGE, FLOAT16, FLOAT32
from deploy.sparse import SPARSE_SCHEMES, encode_sparse, smaller, sparse_or_dense, with_explicit_padding
from deploy.sparse_tensor import dense_values
from search.build import build
from search.grammar import from_text
from tests.deploy.test_cost_converted import check as check_cost

RESOLUTION = 14  # the stem's output is 7 pixels wide: the stride after it needs a PAD that the converter took away
NETWORK = "input_r{resolution}_n4_w1_xnnpack stem_s2_c16 ir_r1_k3_s2_e4_c24 ir_r1_k5_s1_e4_c24 head_c64"


def network(sparsity: float, resolution: int = RESOLUTION) -> keras.Model:
    """1x1 kernels with `sparsity` of zeros, normalizations and classes that differ."""
    reset(0)
    model, draw = build(from_text(NETWORK.format(resolution=resolution))), np.random.default_rng(0)
    for layer in model.layers:
        if type(layer) is keras.layers.BatchNormalization:
            ranges = ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5))  # of gamma, beta, mean and variance
            layer.set_weights([draw.uniform(*bounds, layer.gamma.shape) for bounds in ranges])
        elif type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = kernel_variable(layer)
            kernel.assign(pruned(kernel.numpy(), sparsity))
        elif type(layer) is keras.layers.Dense:
            layer.kernel.assign(layer.kernel * 5.0)
    return model


def images(count: int = 8, resolution: int = RESOLUTION) -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(1).integers(0, 256, (count, resolution, resolution, 3)).astype(np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    return pixels


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network(0.85)


@pytest.mark.parametrize("scheme", SPARSE_SCHEMES)
def test_sparse_file_is_smaller_and_says_the_same(model: keras.Model, scheme: str) -> None:
    calibration = images().astype(np.float32) / 255
    dense = convert(model, scheme, calibration).content
    encoding = sparse_or_dense(model, scheme, calibration, dense)
    assert encoding.is_sparse
    assert (len(encoding.content), len(dense)) == (encoding.sparse_bytes, encoding.dense_bytes)
    saved = sum(tensor.dense_bytes - tensor.stored_bytes for tensor in encoding.tensors)
    # What the tables of the encoding and its operators take is less than half of what they save, even in int8.
    assert saved / 2 < encoding.dense_bytes - encoding.sparse_bytes < saved
    assert encoding.sparse_zipped_bytes < encoding.sparse_bytes
    assert encoding.dense_zipped_bytes < encoding.dense_bytes
    np.testing.assert_array_equal(predict(encoding.content, images()), predict(dense, images()))
    sparse = {tensor.shape for tensor in encoding.tensors}
    assert {(64, 1, 1, 16), (64, 1, 1, 24), (24, 1, 1, 64)} & sparse
    for tensor in encoding.tensors:
        assert tensor.sparsity == pytest.approx(0.85, abs=0.05)  # int8 rounds more of them to zero
        assert tensor.stored_bytes < tensor.dense_bytes


def test_every_layer_is_found_in_the_sparse_file(model: keras.Model) -> None:
    for scheme in (FLOAT32, FLOAT16):
        content = sparse_or_dense(model, scheme).content
        kernels = weights_by_layer(read(content).weights, model)
        assert {"stem_conv", "s0_b0_expand_conv", "s0_b0_dw", "head_conv", "logits"} <= kernels.keys()
        assert kernels["head_conv"].sparsity == pytest.approx(0.85, abs=0.001)  # of 1,536 weights, within one


def test_a_network_with_few_zeros_stays_dense() -> None:
    full = network(0.0)
    encoding = sparse_or_dense(full, FLOAT32)
    assert not encoding.is_sparse
    assert encoding.content == convert(full, FLOAT32).content
    assert len(encoding.content) == encoding.dense_bytes


def test_schemes_without_sparse_kernels_are_refused(model: keras.Model) -> None:
    with pytest.raises(
        UsageError, match="'dynamic_range' is not legal; expected one of float16, float32, full_integer"
    ):
        sparse_or_dense(model, DYNAMIC_RANGE)


def test_other_kernels_are_no_encoding_of_this_model(model: keras.Model) -> None:
    other = convert(network(0.8), FLOAT32, adjust=encode_sparse).content
    with pytest.raises(ConversionError, match=r"a sparse kernel of shape .* is not in the dense file"):
        smaller(convert(model, FLOAT32).content, other, "network")


def operators(content: bytes) -> list[tuple[str, int]]:
    """(name, padding) of each operator; -1 where it has none."""
    file = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    return [
        (flatbuffer_utils.opcode_to_name(file, op.opcodeIndex), int(getattr(op.builtinOptions, "padding", -1)))
        for op in file.subgraphs[0].operators
    ]


@pytest.mark.parametrize("resolution", [14, 15, 16])
def test_strided_convolutions_of_a_sparse_file_have_a_pad_before_them(resolution: int) -> None:
    """Else XNNPACK on Arm gives wrong scores for odd sizes, and runs a stem on odd sizes dense."""
    model = network(0.85, resolution)
    encoding = sparse_or_dense(model, FLOAT32)
    steps = [(name, padding) for name, padding in operators(encoding.content) if name not in ("DENSIFY", "MEAN")]
    assert steps[:2] == [("PAD", -1), ("CONV_2D", 1)]  # 1: valid
    assert ("PAD", -1) in steps[2:]
    assert all(b == ("DEPTHWISE_CONV_2D", 1) for a, b in itertools.pairwise(steps[1:]) if a == ("PAD", -1))
    dense = convert(model, FLOAT32).content
    pixels = images(4, resolution)
    np.testing.assert_allclose(predict(encoding.content, pixels), predict(dense, pixels), atol=1e-6)  # sums' order


def test_equal_paddings_are_one_constant() -> None:
    text = "input_r32_n4_w1_xnnpack stem_s2_c16 ir_r1_k3_s2_e4_c24 ir_r1_k3_s2_e4_c24 ir_r1_k5_s2_e4_c24 head_c64"
    reset(0)
    model = build(from_text(text))
    file = flatbuffer_utils.read_model_from_bytearray(
        bytearray(with_explicit_padding(convert(model, FLOAT32, adjust=encode_sparse).content))
    )
    graph = file.subgraphs[0]
    codes = [flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex) for operator in graph.operators]
    pads = [operator for operator, code in zip(graph.operators, codes, strict=True) if code == "PAD"]
    used = {int(pad.inputs[1]) for pad in pads}
    amounts = {bytes(file.buffers[graph.tensors[index].buffer].data) for index in used}
    assert len(pads) == 4 and len(used) == len(amounts) < 4


def test_a_plain_network_s_uneven_padding_is_kept_in_effect() -> None:
    """16 pixels and a stride of 2: "same" pads the end alone."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 1)(image)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.Conv2D(256, 1, name="wide")(x)
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    kernel = kernel_variable(model.get_layer("wide"))
    kernel.assign(pruned(kernel.numpy(), 0.9))
    encoding = sparse_or_dense(model, FLOAT32)
    assert ("PAD", -1) in operators(encoding.content) and encoding.is_sparse
    pixels = images(4, 16)
    expected = predict(convert(model, FLOAT32).content, pixels)
    np.testing.assert_allclose(predict(encoding.content, pixels), expected, atol=1e-6)  # sums' order


@pytest.mark.parametrize("resolution", [30, 33])
def test_costs_of_the_form_are_those_of_its_int8_file(resolution: int) -> None:
    """The converter takes up some of the explicit paddings, also of depthwise convolutions, and leaves others."""
    check_cost(from_text(NETWORK.format(resolution=resolution).replace("k5_s1", "k5_s2")))


def level(size: int) -> SimpleNamespace:
    return SimpleNamespace(format=0, denseSize=size, arraySegments=None, arrayIndices=None)


def listed(segments: list[int], indices: list[int]) -> SimpleNamespace:
    segment_array, index_array = SimpleNamespace(values=segments), SimpleNamespace(values=indices)
    return SimpleNamespace(format=1, denseSize=0, arraySegments=segment_array, arrayIndices=index_array)


def encoded(shape: list[int], order: list[int], blocks: list[int] | None, levels: list[Any]) -> SimpleNamespace:
    sparsity = SimpleNamespace(traversalOrder=order, blockMap=blocks, dimMetadata=levels)
    return SimpleNamespace(shape=shape, sparsity=sparsity)


def test_rows_of_listed_columns() -> None:
    tensor = encoded([3, 4], [0, 1], None, [level(3), listed([0, 2, 2, 3], [0, 3, 1])])
    found = dense_values(tensor, np.array([5, 6, 7], np.int8))
    np.testing.assert_array_equal(found, [[5, 0, 0, 6], [0, 0, 0, 0], [0, 7, 0, 0]])


def test_columns_first() -> None:
    tensor = encoded([2, 3], [1, 0], [], [level(3), listed([0, 1, 1, 3], [1, 0, 1])])
    np.testing.assert_array_equal(dense_values(tensor, np.array([1.0, 2.0, 3.0])), [[0, 0, 2], [1, 0, 3]])


def test_blocks() -> None:
    """TFLite's schema's own case: 2x2 blocks, row by row, of which the second row has the second alone."""
    levels = [level(2), listed([0, 2, 3], [0, 1, 1]), level(2), level(2)]
    tensor = encoded([4, 4], [0, 1, 2, 3], [0, 1], levels)
    found = dense_values(tensor, np.arange(1, 13))
    np.testing.assert_array_equal(found, [[1, 2, 5, 6], [3, 4, 7, 8], [0, 0, 9, 10], [0, 0, 11, 12]])


@pytest.mark.parametrize(
    ("tensor", "count", "message"),
    [
        (encoded([3, 4], [0], None, [level(3)]), 3, "1 dimensions"),
        (encoded([2, 4], [0, 1], None, [level(2), listed([0, 1], [0])]), 1, "segments"),
        (encoded([2, 4], [0, 1], None, [level(2), listed([0, 1, 2], [0, 1])]), 1, "2 places for 1 values"),
    ],
)
def test_contradictions_are_refused(tensor: SimpleNamespace, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_values(tensor, np.ones(count))
