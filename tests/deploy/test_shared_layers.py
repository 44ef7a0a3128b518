"""A .tflite of a network whose blocks share their weights holds each of them once."""

from __future__ import annotations

from core.keras_env import reset

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from compress.sharing import groups_of, with_shared
from deploy.convert import convert
from deploy.interpreter import predict
from search.build import build
from search.grammar import from_text
from tests.deploy.conftest import constant_bytes

TEXT = "input_r12_n4_w1 stem_s1_c8 ir_r3_k3_s2_e2_c8 ir_r1_k3_s1_e2_c8+ir_r1_k5_s1_e2_c8+ir_r1_k3_s1_e2_c8 head_c16"


@pytest.mark.parametrize("scheme", ["float32", "full_integer"])
def test_shared_kernels_are_stored_once(scheme: str) -> None:
    reset(1)
    model = build(from_text(TEXT))
    shared = with_shared(model, groups_of(model))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    images[0, 0, 0], images[-1, -1, -1] = 0, 255
    pixels = images.astype(np.float32) / 255
    contents = [convert(each, scheme, pixels).content for each in (model, shared)]
    buffers, uses = kernels(contents[1])
    assert buffers < uses == kernels(contents[0])[1]
    width = 4 if scheme == "float32" else 1
    saved = sum(
        int(np.prod(variable.shape))
        for variable in model.weights
        if "kernel" in variable.name and variable.name.startswith(("s0_b2_", "s1_b2_"))
    )
    assert constant_bytes(contents[0]) - constant_bytes(contents[1]) >= width * saved
    expected = np.exp(shared(pixels).numpy())
    expected /= expected.sum(axis=1, keepdims=True)
    # A full-integer model's scores are steps of 1/256; its activations add an error of a few.
    np.testing.assert_allclose(predict(contents[1], images), expected, atol=1e-5 if scheme == "float32" else 0.05)


def kernels(content: bytes) -> tuple[int, int]:
    """How many buffers hold kernels, and how many convolutions use them."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    used = [
        graph.tensors[operator.inputs[1]].buffer
        for operator in graph.operators
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    return len(set(used)), len(used)
