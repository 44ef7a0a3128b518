"""One int8 table for an embedding and the output layer that is tied to it (compress.tying). No TensorFlow here.

A float .tflite holds a tied table once. Quantized it is there twice, in different numbers: TensorFlow's converter gives
a GATHER's table the asymmetric range of an activation, and the weights of a FULLY_CONNECTED symmetric ones, by row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from deploy.flatbuffer import operator_name
from deploy.merge import merge
from deploy.packing import packed, unpacked

# The weights of int8 operators are -127..127: kernels may multiply in pairs, which -128 * -128 would overflow.
LARGEST = 127
# Half a step of each scale, and a little for the rounding of the scales themselves.
ROUNDING = 0.51
# What operators do with the scale of their input: pass it on, compute a bias from it, or nothing beyond reading it.
SAME_SCALE = (
    "BATCH_TO_SPACE_ND", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "SPACE_TO_BATCH_ND",
    "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
)  # fmt: skip
WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
ANY_SCALE = (
    "ADD", "DEQUANTIZE", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MEAN", "MUL", "QUANTIZE", "RELU", "RELU6", "SOFTMAX",
    "SUB", "SUM", "TANH",
)  # fmt: skip


def with_one_table(content: bytes) -> bytes:
    """A full-integer .tflite in which each tied table is one buffer with one symmetric scale.

    Where a GATHER's table and the weights of a FULLY_CONNECTED are the same numbers but for their rounding, both get
    the weights with the largest row's scale, and what follows from it: the scale of the rows looked up, through
    operators that only move values, and the biases computed from either. (Convert with the weights of dense layers
    quantized per tensor, and they are taken as they are; by row, they are rounded again.) All equal constants are
    merged. A model without such a pair, or one where another operator depends on the scale, is only merged.
    """
    model = unpacked(content)
    for graph in model.subgraphs:
        for gather in _operators(model, graph, "GATHER"):
            for dense in _operators(model, graph, "FULLY_CONNECTED"):
                _tie(model, graph, gather, dense)
    merge(model)
    return packed(model)


def _tie(model: Any, graph: Any, gather: Any, dense: Any) -> None:
    table, weights = (_table(model, graph, operator.inputs[place]) for operator, place in ((gather, 0), (dense, 1)))
    if table is None or weights is None or not _are_equal(table, weights):
        return
    if (followers := _followers(model, graph, table.tensor)) is None:
        return
    scale = weights.scales.max()
    old_scale = table.scales[0]
    values = np.clip(np.round(weights.real / scale), -LARGEST, LARGEST).astype(np.int8)
    table.tensor.buffer = weights.tensor.buffer = _new_buffer(model, values)
    for tensor in (weights.tensor, table.tensor, *followers.tensors):
        tensor.quantization = copy.deepcopy(tensor.quantization)
        tensor.quantization.scale, tensor.quantization.zeroPoint = [float(scale)], [0]
    for bias in followers.biases:
        _rescale(model, bias, np.float64(scale) / old_scale)
    if (bias := _bias(graph, dense)) is not None:
        _rescale(model, bias, np.float64(scale) / weights.scales)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """An int8 constant [rows, columns]: its tensor, its real values, and its scale for each row."""

    tensor: Any
    real: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Followers:
    """The tensors that have the scale of a table's rows, and the biases that depend on it."""

    tensors: list[Any]
    biases: list[Any]


def _operators(model: Any, graph: Any, *names: str) -> list[Any]:
    return [operator for operator in graph.operators if operator_name(model, operator) in names]


def _table(model: Any, graph: Any, index: int) -> _Table | None:
    """The constant if it is an int8 table scaled as a whole or by rows, else None."""
    tensor = graph.tensors[index]
    data, quantization = model.buffers[tensor.buffer].data, tensor.quantization
    if data is None or tensor.type != schema.TensorType.INT8 or len(tensor.shape) != 2 or quantization.scale is None:
        return None
    if len(quantization.scale) > 1 and quantization.quantizedDimension != 0:
        return None
    rows = (int(tensor.shape[0]),)
    scales = np.broadcast_to(np.asarray(quantization.scale, np.float64), rows)
    zero_points = np.broadcast_to(np.asarray(quantization.zeroPoint, np.float64), rows)
    values = np.asarray(data, np.uint8).view(np.int8).reshape(tensor.shape)
    return _Table(tensor, (values - zero_points[:, None]) * scales[:, None], scales)


def _are_equal(table: _Table, weights: _Table) -> bool:
    """Whether two constants can be the same numbers rounded to their scales."""
    if table.real.shape != weights.real.shape:
        return False
    rounding = ROUNDING * (table.scales + weights.scales)[:, None]
    return bool(np.all(np.abs(table.real - weights.real) <= rounding))


def _followers(model: Any, graph: Any, table: Any) -> _Followers | None:
    """What the scale of a table reaches; None if that is an output, or an operator that we do not know."""
    outputs = {int(index) for index in graph.outputs}
    start = next(index for index, tensor in enumerate(graph.tensors) if tensor is table)
    followers, reached, waiting = _Followers([], []), {start}, [start]
    while waiting:
        index = waiting.pop()
        for operator in graph.operators:
            places = [place for place, item in enumerate(operator.inputs) if item == index]
            name = operator_name(model, operator)
            if not places or (index == start and name == "FULLY_CONNECTED" and places == [1]):
                continue  # the tied layer itself is seen to by its weights
            if name in WITH_BIAS and places == [0]:
                followers.biases.extend(_present(_bias(graph, operator)))
            elif name in SAME_SCALE and places == [0]:
                fresh = {int(output) for output in operator.outputs} - reached
                followers.tensors.extend(graph.tensors[output] for output in sorted(fresh))
                reached |= fresh
                waiting.extend(sorted(fresh))
            elif name not in ANY_SCALE:
                return None
    return None if reached & outputs else followers


def _bias(graph: Any, operator: Any) -> Any | None:
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    return graph.tensors[operator.inputs[2]] if has_bias else None


def _present(value: Any | None) -> Iterable[Any]:
    return () if value is None else (value,)


def _rescale(model: Any, bias: Any, factor: npt.NDArray[np.float64] | np.float64) -> None:
    """The same int32 bias in steps that are larger by a factor, or by one for each value."""
    steps = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32)
    bias.buffer = _new_buffer(model, np.round(steps / factor).astype(np.int32))
    scales = np.asarray(bias.quantization.scale, np.float64) * factor
    bias.quantization = copy.deepcopy(bias.quantization)
    is_one = np.allclose(scales, scales[0], rtol=1e-6)  # float32 scales: by row before, of one table now
    bias.quantization.scale = [float(scale) for scale in (scales[:1] if is_one else scales)]
    bias.quantization.zeroPoint = [0] * len(bias.quantization.scale)


def _new_buffer(model: Any, values: npt.NDArray[Any]) -> int:
    """The number of a buffer of its own, for the old one may be that of other constants too."""
    buffer = schema.BufferT()
    buffer.data = values.reshape(-1).view(np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1
