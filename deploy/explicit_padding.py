"""Strided convolutions of a .tflite padded by an operator of their own. No TensorFlow here.

TensorFlow's converter turns a padding and a strided convolution into one that pads by itself ("same") where both come
to the same, as for images of an odd side. XNNPACK's sparse kernels then take the padding of a depthwise convolution for
none: seen in LiteRT 2.1.6 for arm64, whose scores were off by up to 1 without a word. With a PAD before it the
convolution is right: sparse where there are as many zeros on each side, and else dense.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from deploy.flatbuffer import operator_name

_STEM_SHAPE = (3, 3, 3)  # height, width and input channels of the convolution with which a sparse network begins
_AXES = 4


def pad_explicitly(model: Any) -> int:
    """Gives strided "same" convolutions of a flatbuffer object (`ModelT`) a PAD, in place; returns how many.

    Those are the depthwise ones, and the first convolution of an image, which is sparse in this form alone. Equal
    amounts of padding are one tensor.
    """
    graph = model.subgraphs[0]
    operators = []
    known: dict[bytes, int] = {}
    for operator in graph.operators:
        if _is_concerned(model, graph, operator):
            operators.append(_pad_before(model, graph, operator, known))
            operator.builtinOptions.padding = schema.Padding.VALID
        operators.append(operator)
    added = len(operators) - len(graph.operators)
    graph.operators = operators
    return added


def _is_concerned(model: Any, graph: Any, operator: Any) -> bool:
    name = operator_name(model, operator)
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    options = operator.builtinOptions
    is_strided = max(options.strideH, options.strideW) > 1
    kernel = tuple(int(size) for size in graph.tensors[operator.inputs[1]].shape)
    is_stem = name == "CONV_2D" and kernel[1:] == _STEM_SHAPE
    return is_strided and options.padding == schema.Padding.SAME and (is_stem or name == "DEPTHWISE_CONV_2D")


def _pad_before(model: Any, graph: Any, operator: Any, known: dict[bytes, int]) -> Any:
    """The PAD that does what the convolution `operator` did by itself; it reads the PAD's output from now on.

    `known` are the tensors of amounts so far.
    """
    options, source = operator.builtinOptions, graph.tensors[operator.inputs[0]]
    kernel = graph.tensors[operator.inputs[1]].shape
    rows = _same(int(source.shape[1]), int(kernel[1]), options.strideH, options.dilationHFactor)
    columns = _same(int(source.shape[2]), int(kernel[2]), options.strideW, options.dilationWFactor)
    amounts = np.array([(0, 0), rows, columns, (0, 0)], np.int32)
    if amounts.tobytes() not in known:
        known[amounts.tobytes()] = len(graph.tensors)
        graph.tensors.append(_amounts_tensor(model, amounts, len(graph.tensors)))
    padded = len(graph.tensors)
    graph.tensors.append(_padded_tensor(source, amounts, padded))
    pad = schema.OperatorT()
    pad.opcodeIndex = _pad_code(model)
    pad.builtinOptionsType, pad.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
    pad.inputs = np.array([operator.inputs[0], known[amounts.tobytes()]], np.int32)
    pad.outputs = np.array([padded], np.int32)
    operator.inputs = np.array([padded, *operator.inputs[1:]], np.int32)
    return pad


def _same(size: int, kernel_size: int, stride: int, dilation: int) -> tuple[int, int]:
    """The zeros before and after an axis in TensorFlow's "same" padding."""
    total = max(0, (-(-size // stride) - 1) * stride + (kernel_size - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _amounts_tensor(model: Any, amounts: np.ndarray, number: int) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(amounts.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = f"padding{number}".encode(), schema.TensorType.INT32, [_AXES, 2]
    tensor.buffer = len(model.buffers) - 1
    return tensor


def _padded_tensor(source: Any, amounts: np.ndarray, number: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.quantization = f"padded{number}".encode(), source.type, source.quantization
    tensor.shape = [int(size) for size in np.asarray(source.shape) + amounts.sum(axis=1)]
    tensor.buffer = 0  # the empty one, which every file has
    return tensor


def _pad_code(model: Any) -> int:
    for index in range(len(model.operatorCodes)):
        if flatbuffer_utils.opcode_to_name(model, index) == "PAD":
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.PAD
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
