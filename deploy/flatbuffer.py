"""What is inside a .tflite file: tensors, operators, weights. No TensorFlow here.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, read by `ai_edge_litert.tools.flatbuffer_utils`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from core.errors import UsageError, one_line
from core.values import Artifact, TensorSpec, file_sha256
from deploy.interpreter import load_bytes, open_interpreter
from deploy.names import text
from deploy.sparse_tensor import dense_values

SIGNATURE = "serving_default"
TOOLS = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert", "ai-edge-quantizer")
_FLOAT_TYPES = ("float16", "float32", "float64", "bfloat16")
_WIDENING = ("DEQUANTIZE", "DENSIFY")
# The axis of the output channels in the second input of an operator; one filter's weights share a scale.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name (a custom one's own name) and the types of its tensors."""

    name: str
    is_custom: bool
    dtypes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WeightTensor:
    """The kernel of a convolution or a dense layer.

    Attributes:
      name: of the tensor; for most it lists the Keras operations that were folded into it, separated by semicolons.
      output_name: of the operator's output, made up likewise.
      operator: the operator that uses it.
      values: as stored: int8, float16 or float32; filters along `channel_axis`.
      zero_point: the stored value that stands for 0.
      channel_axis: the axis of the output channels, along which values may be scaled: by their quantization or by a
        batch normalization that was folded in.
      index: the number of the tensor in the main graph.
      bits: of a stored value; int4 values are stored two to a byte, and are int8 in `values`.
      scales: the quantization's: one, or one for each channel; none for float values.
    """

    name: str
    output_name: str
    operator: str
    values: npt.NDArray[Any]
    zero_point: int
    channel_axis: int
    index: int = -1
    bits: int = 8
    scales: tuple[float, ...] = ()

    @property
    def real_values(self) -> npt.NDArray[np.float32]:
        """What the stored values stand for, in the same shape."""
        if not self.scales:
            return self.values.astype(np.float32)
        scales, shape = np.asarray(self.scales, np.float32), [1] * self.values.ndim
        if len(scales) > 1:
            shape[self.channel_axis] = len(scales)
        return (self.values.astype(np.float32) - self.zero_point) * scales.reshape(shape)

    @property
    def sparsity(self) -> float:
        """The fraction of weights that are exactly zero."""
        return float(np.mean(self.values == self.zero_point))

    @property
    def unique_values(self) -> int:
        """Distinct values in the whole tensor."""
        return len(np.unique(self.values))

    def most_unique_values(self, axis: int | None) -> int:
        """The largest count of distinct values at one place of an axis; of the whole tensor without one."""
        if axis is None:
            return self.unique_values
        return max(len(np.unique(part)) for part in np.moveaxis(self.values, axis, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A .tflite model: `operators` of all subgraphs, `weights` of the first."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    weights: tuple[WeightTensor, ...]
    signatures: tuple[str, ...]

    @property
    def float_operators(self) -> tuple[str, ...]:
        """Names of the operators with a floating-point input or output."""
        return tuple(op.name for op in self.operators if any(dtype in _FLOAT_TYPES for dtype in op.dtypes))

    @property
    def custom_operators(self) -> tuple[str, ...]:
        """Names of the operators that are not LiteRT's own (those of TensorFlow begin with "Flex")."""
        return tuple(op.name for op in self.operators if op.is_custom)


def read(source: Path | str | bytes) -> Graph:
    """Reads a model that this runtime can load. Raises UsageError with one clear line for anything else."""
    content, where = load_bytes(source)
    if content[4:8] != b"TFL3":
        raise UsageError(f"{where}: not a .tflite model (no TFL3 mark at byte 4)")
    open_interpreter(source)
    try:
        return _graph(flatbuffer_utils.read_model_from_bytearray(bytearray(content)))
    except Exception as error:  # the generated readers raise whatever a wrong offset leads to
        raise UsageError(f"{where}: damaged .tflite model: {one_line(error)}") from error


def describe(source: Path | str | bytes) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The input and the output tensors of a model. Raises UsageError as `read` does."""
    graph = read(source)
    return graph.inputs, graph.outputs


def artifact(path: Path, scheme: str, parents: Iterable[str] = ()) -> Artifact:
    """The value that stands for a model file. Raises UsageError as `read` does."""
    inputs, outputs = describe(path)
    return Artifact(
        path=str(path),
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        quantization=scheme,
        inputs=inputs,
        outputs=outputs,
        parents=tuple(parents),
        tool_versions=tool_versions(),
    )


def tool_versions() -> dict[str, str]:
    """The versions of the packages that train, convert and run the models."""
    return {name: importlib.metadata.version(name) for name in TOOLS}


def sign(model: Any, input_name: str, output_name: str) -> None:
    """Renames the input and the output of a flatbuffer object (`ModelT`) that has one of each, and gives it a signature
    of these names, in place.

    The conversion of a bare graph leaves no signature, without which LiteRT's SignatureRunner refuses a model.
    """
    graph = model.subgraphs[0]
    (input_index,), (output_index,) = graph.inputs, graph.outputs
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_tensor_map(input_name, input_index)]
    signature.outputs = [_tensor_map(output_name, output_index)]
    model.signatureDefs = [signature]
    graph.tensors[input_index].name, graph.tensors[output_index].name = input_name, output_name


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _graph(model: Any) -> Graph:
    main = model.subgraphs[0]
    return Graph(
        inputs=tuple(_tensor_spec(main.tensors[index]) for index in main.inputs),
        outputs=tuple(_tensor_spec(main.tensors[index]) for index in main.outputs),
        operators=tuple(_operator(model, graph, op) for graph in model.subgraphs for op in graph.operators),
        weights=weights_of(model),
        signatures=tuple(text(signature.signatureKey) for signature in model.signatureDefs or ()),
    )


def _tensor_spec(tensor: Any) -> TensorSpec:
    scale = zero_point = None
    if tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale):
        scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    return TensorSpec(
        name=text(tensor.name),
        shape=tuple(int(size) for size in tensor.shape),
        dtype=_dtype(tensor),
        scale=scale or 0.0,
        zero_point=zero_point or 0,
    )


def _operator(model: Any, graph: Any, operator: Any) -> Operator:
    code = model.operatorCodes[operator.opcodeIndex]
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    name = text(code.customCode) if code.customCode else operator_name(model, operator)
    return Operator(name, bool(code.customCode), tuple(_dtype(tensor) for tensor in tensors))


def operator_name(model: Any, operator: Any) -> str:
    """LiteRT's name of an operator of a flatbuffer object, such as "CONV_2D"."""
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def kernel_paths(model: Any) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Each operator of a flatbuffer object (`ModelT`) with a kernel, and the kernel's tensors: first the one that the
    operator reads, last the stored constant.

    They differ where an operator widens weights in float16, in int8 or int4 where only they are quantized, and sparse
    ones.
    """
    graph = model.subgraphs[0]
    widened = {op.outputs[0]: op.inputs[0] for op in graph.operators if operator_name(model, op) in _WIDENING}
    for operator in graph.operators:
        if operator_name(model, operator) in _CHANNEL_AXIS:
            path = [int(operator.inputs[1])]
            while path[-1] in widened:
                path.append(int(widened[path[-1]]))
            yield operator, tuple(path)


def weights_of(model: Any) -> tuple[WeightTensor, ...]:
    """The kernels of a flatbuffer object (`ModelT`), in the order of the operators that use them."""
    graph = model.subgraphs[0]
    found: dict[int, WeightTensor] = {}
    for operator, path in kernel_paths(model):
        index = path[-1]
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        if index not in found and data is not None:
            output_name = text(graph.tensors[operator.outputs[0]].name)
            found[index] = _weight(tensor, data, operator_name(model, operator), output_name, index)
    return tuple(found.values())


def _weight(tensor: Any, data: Any, operator: str, output_name: str, index: int) -> WeightTensor:
    values, bits = _stored_values(tensor, data)
    quantization = tensor.quantization
    scales = () if quantization is None or quantization.scale is None else tuple(map(float, quantization.scale))
    return WeightTensor(
        name=text(tensor.name),
        output_name=output_name,
        operator=operator,
        values=values,
        zero_point=int(quantization.zeroPoint[0]) if scales else 0,
        channel_axis=_CHANNEL_AXIS[operator],
        index=index,
        bits=bits,
        scales=scales,
    )


def _stored_values(tensor: Any, data: Any) -> tuple[npt.NDArray[Any], int]:
    """The values of a constant in its shape, and their bits in the file."""
    raw, dtype = np.asarray(data, np.uint8), _dtype(tensor)
    if dtype != "int4":
        values = raw.view(dtype)
        dense = values.reshape(tensor.shape) if tensor.sparsity is None else dense_values(tensor, values)
        return dense, 8 * values.itemsize
    nibbles = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: int(np.prod(tensor.shape))]  # the low one first
    return ((nibbles.astype(np.int8) ^ 8) - 8).reshape(tensor.shape), 4  # the fourth bit is the sign


def _dtype(tensor: Any) -> str:
    return str(flatbuffer_utils.type_to_name(tensor.type)).lower()
