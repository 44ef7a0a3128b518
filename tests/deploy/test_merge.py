from __future__ import annotations

from copy import copy

from core.keras_env import keras, reset

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from deploy.convert import convert
from deploy.interpreter import open_interpreter, predict
from deploy.merge import merge_buffers
from deploy.packing import ALIGNMENT
from tests.deploy.conftest import SHARED_MODELS, constant_bytes, small_network

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3)).astype(np.uint8)
PIXELS[0, 0, :2] = [[0], [255]]  # calibration needs both extremes


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """An untrained network as the converter writes it."""
    reset(1)
    network = small_network()
    calibration = PIXELS.astype(np.float32) / 255
    schemes = ("float32", "float16", "dynamic_range", "full_integer")
    return {scheme: convert(network, scheme, calibration).content for scheme in schemes}


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic_range", "full_integer"])
def test_outputs_stay_bit_equal(scheme: str, contents: dict[str, bytes]) -> None:
    content = contents[scheme]
    merged = merge_buffers(content)
    np.testing.assert_array_equal(predict(content, PIXELS), predict(merged, PIXELS))
    assert merge_buffers(merged) == merged
    assert described(merged) == described(content)


def described(content: bytes) -> list[object]:
    """Everything of a model but where its constants are stored."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    found: list[object] = [[signature.signatureKey for signature in model.signatureDefs]]
    for tensor in model.subgraphs[0].tensors:
        quantization = tensor.quantization
        scales = [] if quantization is None or quantization.scale is None else list(quantization.scale)
        data = model.buffers[tensor.buffer].data
        constant = b"" if data is None else bytes(data)
        found.append([tensor.name, tensor.type, list(tensor.shape), scales, constant])
    return found


def test_equal_constants_are_stored_once() -> None:
    """Two layers with the same kernel, which TensorFlow's converter does not notice when they are quantized apart."""
    content = duplicated(twin_network())
    merged = merge_buffers(content)
    assert kernel_buffers(content) == 2 and kernel_buffers(merged) == 1
    assert constant_bytes(merged) <= constant_bytes(content) - KERNEL_BYTES
    assert len(merged) <= len(content) - KERNEL_BYTES
    corners = PIXELS[:, :8, :8]
    np.testing.assert_array_equal(predict(content, corners), predict(merged, corners))


CHANNELS = 16
KERNEL_BYTES = CHANNELS * CHANNELS * 4


def twin_network() -> bytes:
    reset(2)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(CHANNELS, 3, name="stem")(image)
    twin = keras.layers.Conv2D(CHANNELS, 1, name="twin")
    x = keras.layers.GlobalAveragePooling2D()(twin(keras.layers.ReLU()(twin(x))))
    return convert(keras.Model(image, keras.layers.Dense(4)(x)), "float32").content


def duplicated(content: bytes) -> bytes:
    """The model with a copy of each constant that several tensors or operators use: what other converters write."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    used: set[int] = set()
    for operator in graph.operators:
        for place, index in enumerate(operator.inputs):
            tensor = graph.tensors[index]
            if index in used and model.buffers[tensor.buffer].data is not None:
                twin = copy(tensor)
                twin.buffer = len(model.buffers)
                model.buffers.append(copy(model.buffers[tensor.buffer]))
                operator.inputs[place] = len(graph.tensors)
                graph.tensors.append(twin)
            used.add(int(index))
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def kernel_buffers(content: bytes) -> int:
    """In how many buffers the kernels of the 1x1 convolutions are."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    shape = [CHANNELS, 1, 1, CHANNELS]
    tensors = [tensor for tensor in model.subgraphs[0].tensors if list(tensor.shape) == shape]
    assert len(tensors) == 2
    return len({tensor.buffer for tensor in tensors})


def test_constants_are_aligned_as_the_schema_asks(contents: dict[str, bytes]) -> None:
    merged = merge_buffers(contents["full_integer"])
    model = schema.Model.GetRootAs(bytearray(merged), 0)
    starts = []
    for number in range(model.BuffersLength()):
        buffer = model.Buffers(number)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)) % ALIGNMENT)
    assert len(starts) >= 5 and set(starts) == {0}  # at least the five kernels


def test_metadata_keep_their_own_buffers(contents: dict[str, bytes]) -> None:
    """tflite-support writes into the buffer of a metadata entry: no tensor may share it."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(contents["float32"]))
    constant = next(t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None)
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = b"same as a kernel", constant.buffer
    model.metadata = [*(model.metadata or []), metadata]
    merged = flatbuffer_utils.convert_bytearray_to_object(
        bytearray(merge_buffers(bytes(flatbuffer_utils.convert_object_to_bytearray(model))))
    )
    entry = merged.metadata[-1]
    assert entry.buffer not in {tensor.buffer for tensor in merged.subgraphs[0].tensors}
    assert bytes(merged.buffers[entry.buffer].data) == bytes(model.buffers[constant.buffer].data)


@pytest.mark.parametrize("name", ["vww_96_int8", "pretrainedResnet_quant", "kws_ref_model_float32"])
def test_models_of_other_toolchains(name: str) -> None:
    path = SHARED_MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared data")
    content = path.read_bytes()
    merged = merge_buffers(content)
    assert len(merged) <= len(content)
    np.testing.assert_array_equal(output_of(content), output_of(merged))


def output_of(content: bytes) -> np.ndarray:
    interpreter = open_interpreter(content)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = np.random.default_rng(1).integers(-100, 100, inputs["shape"])
    interpreter.set_tensor(inputs["index"], values.astype(inputs["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(outputs["index"])
