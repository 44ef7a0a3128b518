"""The operators of the full-integer .tflite that a network becomes, known before it is built. No TensorFlow here.

`deploy.convert` gives these operators in this order after post-training quantization. After quantization-aware training
a batch normalization by itself is a depthwise convolution, and equal ReLUs on the edges of a cell stay apart; the rest
is the same. What the converter fuses and what it leaves is read off its results: tests/deploy/test_cost_converted.py
compares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.layers import Layer
from search.tf_graph import ABSORBED, Node, graph_of

IMAGE = "uint8 image"
SCORES = "uint8 scores"


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant operand: a weight tensor, a bias, a shape.

    Attributes:
      key: operands with the same key are one tensor of the file.
      size_bytes: of its values.
      scales: how many scales (and as many zero points) it has.
      name_bytes: the length of its name.
    """

    key: str
    size_bytes: int
    scales: int
    name_bytes: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the .tflite.

    Attributes:
      name: TFLite's, such as "CONV_2D".
      inputs: the activations that it reads: outputs of earlier operators, or IMAGE.
      output: the activation that it makes.
      output_bytes: the size of that, one byte a value.
      constants: the operands that are no activations.
      name_bytes: the length of the output's name in the file.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    output_bytes: int
    constants: tuple[Constant, ...] = ()
    name_bytes: int = 0


def operators_of(layers: Sequence[Layer]) -> tuple[Operator, ...]:
    """The operators in the order of execution, from the QUANTIZE of the image to that of the scores."""
    by_name = {layer.name: layer for layer in layers}
    drafts = _Lowering(graph_of(layers), by_name).drafts
    operators = tuple(_operator(output, draft, by_name) for output, draft in drafts.items())
    last = operators[-1]
    return (*operators, Operator("QUANTIZE", (last.output,), SCORES, last.output_bytes, name_bytes=len("scores")))


def peak_activation_bytes(operators: Sequence[Operator]) -> int:
    """The most bytes of activations that are alive at once, as `alive_bytes` counts them."""
    return max(alive_bytes(operators))


def alive_bytes(operators: Sequence[Operator]) -> tuple[int, ...]:
    """The bytes of activations that are alive while each operator runs.

    A tensor lives from the operator that makes it to the last one that reads it, both included; the model's input lives
    from the beginning, its output to the end. Every output is a tensor of its own, that of a RESHAPE too. Constants and
    what an operator needs for itself are not counted.
    """
    sizes = {IMAGE: operators[0].output_bytes} | {operator.output: operator.output_bytes for operator in operators}
    readers = Counter(name for operator in operators for name in set(operator.inputs))
    alive, found = sizes[IMAGE], []
    for operator in operators:
        alive += operator.output_bytes
        found.append(alive)
        for name in set(operator.inputs):
            readers[name] -= 1
            if readers[name] == 0:
                alive -= sizes[name]
    return tuple(found)


NUMBER_BYTES = 3  # the name of a constant that is no kernel
SCALE_BYTES = 4  # float32
# Zero points are all 0; a file holds one vector of them for each number of channels: a length and an int64 each.
ZERO_POINT_BYTES = 8
VECTOR_BYTES = 4
# The flatbuffer tables of an operator and its output tensor, of a constant tensor (SHAPE_BYTES: one without scales) and
# of the file (version, signature, input): least squares over the files of 59 random, reference and odd networks; with
# them the sizes are met within 0.7 kB.
OPERATOR_BYTES = 81
CONSTANT_BYTES = 106
SHAPE_BYTES = 66
FILE_BYTES = 931


def file_size_bytes(operators: Sequence[Operator]) -> int:
    """The size of the .tflite: weights in int8, biases in int32, their scales by channel, and tables and names."""
    constants = {constant.key: constant for operator in operators for constant in operator.constants}
    values = sum(constant.size_bytes + SCALE_BYTES * constant.scales for constant in constants.values())
    values += sum(VECTOR_BYTES + ZERO_POINT_BYTES * n for n in {constant.scales for constant in constants.values()})
    names = sum(constant.name_bytes for constant in constants.values())
    names += sum(operator.name_bytes for operator in operators)
    tables = sum(CONSTANT_BYTES if constant.scales else SHAPE_BYTES for constant in constants.values())
    return values + names + tables + OPERATOR_BYTES * len(operators) + FILE_BYTES


@dataclass(slots=True)
class _Draft:
    """An operator that later nodes may still be fused into; `nodes` is what it is made of so far."""

    name: str
    inputs: tuple[str, ...]
    nodes: list[Node]
    has_activation: bool = False


_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_WITH_BIAS = (*_CONVOLUTIONS, "FULLY_CONNECTED")
_FUSES_RELU = (*_WITH_BIAS, "ADD", "MUL", "AVERAGE_POOL_2D", "MAX_POOL_2D")
_OPERATORS = {
    "Placeholder": "QUANTIZE",
    "Conv2D": "CONV_2D",
    "DepthwiseConv2dNative": "DEPTHWISE_CONV_2D",
    "MatMul": "FULLY_CONNECTED",
    "FusedBatchNormV3": "ADD",
    "Relu": "RELU",
    "Relu6": "RELU6",
    "Sigmoid": "LOGISTIC",
    "HardSwish": "HARD_SWISH",
    "AddV2": "ADD",
    "AddConstant": "ADD",
    "Mul": "MUL",
    "MulConstant": "MUL",
    "ConcatV2": "CONCATENATION",
    "StridedSlice": "STRIDED_SLICE",
    "Reshape": "RESHAPE",
    "Transpose": "TRANSPOSE",
    "Pad": "PAD",
    "MaxPool": "MAX_POOL_2D",
    "AvgPool": "AVERAGE_POOL_2D",
    "Mean": "MEAN",
    "Softmax": "SOFTMAX",
}


class _Lowering:
    """Turns nodes into operators, one after another.

    `drafts` holds the operators by the names of their outputs, in their order: a fused one stands where its last node
    stood.
    """

    def __init__(self, nodes: Sequence[Node], layers: Mapping[str, Layer]) -> None:
        self.layers = layers
        self.drafts: dict[str, _Draft] = {}
        self.readers = Counter(name for node in nodes for name in node.inputs)
        for node in nodes:
            if node.op != ABSORBED and not self._is_fused(node):
                self._append(node)

    def _append(self, node: Node) -> None:
        inputs = node.inputs or (IMAGE,)
        if node.op == "FusedBatchNormV3":  # one that nothing took up is a multiplication and an addition
            scaled = f"{node.name}/mul"
            self.drafts[scaled] = _Draft("MUL", inputs, [node])
            inputs = (scaled,)
        elif node.op == "HardSwish":
            inputs = node.inputs[:1]
        elif node.op in ("Conv2D", "DepthwiseConv2dNative"):
            inputs = self._inputs_of_convolution(node)
        elif node.op == "MatMul":
            inputs = self._inputs_of_dense(node)
        self.drafts[node.name] = _Draft(_OPERATORS[node.op], inputs, [node])

    def _is_fused(self, node: Node) -> bool:
        """Fuses the node into the operator that makes its input, if the converter does."""
        before = self.drafts.get(node.inputs[0]) if node.inputs else None
        if before is None or self.readers[node.inputs[0]] > 1:
            return False
        if before.name == "HARD_SWISH" and node.op in ("Relu", "Relu6"):
            before = self._spell_out_hard_swish(node.inputs[0])
        elif not _is_fusible(before, node):
            return False
        del self.drafts[node.inputs[0]]
        before.nodes.append(node)
        before.has_activation = node.op in ("Relu", "Relu6")
        self.drafts[node.name] = before
        return True

    def _spell_out_hard_swish(self, output: str) -> _Draft:
        """A ReLU goes into the pattern's last multiplication, after which the converter misses the pattern."""
        hard_swish = self.drafts.pop(output)
        node, (x,) = hard_swish.nodes[0], hard_swish.inputs
        clipped, gate = f"{output}/clipped", f"{output}/gate"
        self.drafts[clipped] = _Draft("ADD", (x,), [node], has_activation=True)
        self.drafts[gate] = _Draft("MUL", (clipped,), [node])
        self.drafts[output] = _Draft("MUL", (x, gate), [node])
        return self.drafts[output]

    def _inputs_of_convolution(self, node: Node) -> tuple[str, ...]:
        """A convolution that could pad by itself (as "same") reads what is before the explicit padding."""
        before, layer = self.drafts[node.inputs[0]], node.layer
        if before.name != "PAD" or self.readers[node.inputs[0]] > 1:
            return node.inputs
        side = self.layers[before.nodes[0].layer.inputs[0]].out_shape[0]
        same = max(0, (-(-side // layer.stride) - 1) * layer.stride + layer.kernel_size - side)
        return self.drafts.pop(node.inputs[0]).inputs if same == 2 * before.nodes[0].layer.pixels else node.inputs

    def _inputs_of_dense(self, node: Node) -> tuple[str, ...]:
        """A dense layer reads what is before a reshape that leaves the last axis as it is."""
        before = self.drafts[node.inputs[0]]
        if before.name != "RESHAPE" or before.nodes[0].layer.kind != "flatten":
            return node.inputs
        height, width, _ = self.layers[before.nodes[0].layer.inputs[0]].out_shape
        return node.inputs if height * width > 1 else self.drafts.pop(node.inputs[0]).inputs


def _is_fusible(before: _Draft, node: Node) -> bool:
    if node.op == "Reshape":
        return before.name == "RESHAPE"
    if before.has_activation:
        return False
    if node.op in ("Relu", "Relu6"):
        return before.name in _FUSES_RELU
    if node.op == "FusedBatchNormV3":
        return before.name in _CONVOLUTIONS
    return node.op in ("BiasAdd", "AddConstant") and before.name in _WITH_BIAS


def _operator(output: str, draft: _Draft, layers: Mapping[str, Layer]) -> Operator:
    output_bytes = math.prod(draft.nodes[-1].layer.out_shape)
    constants = _constants(output, draft, layers)
    return Operator(draft.name, draft.inputs, output, output_bytes, constants, len(draft.nodes[-1].layer.name))


def _constants(output: str, draft: _Draft, layers: Mapping[str, Layer]) -> tuple[Constant, ...]:
    first = draft.nodes[0]
    layer = first.layer
    channels = layer.out_shape[2]
    if draft.name in _WITH_BIAS:
        in_channels = 1 if layer.kind == "depthwise" else layers[layer.inputs[0]].out_shape[2]
        values = layer.kernel_size**2 * in_channels * channels
        weights = Constant(f"{output} weights", values, channels, len(layer.name))
        return weights, Constant(f"{output} bias", 4 * channels, channels, NUMBER_BYTES)
    if layer.kind == "batch_norm":
        return (Constant(output, channels, 1, NUMBER_BYTES),)
    if first.op in ("AddConstant", "MulConstant"):
        return (Constant(first.op, 1, 1, NUMBER_BYTES),)
    return tuple(Constant(str(values), 4 * len(values), 0, NUMBER_BYTES) for values in _shapes(draft, layer))


def _shapes(draft: _Draft, layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The constants of an operator that say where its values go, all of them vectors of int32."""
    if draft.name == "STRIDED_SLICE":
        return (0, 0, 0, layer.begin), (0, 0, 0, layer.begin + layer.out_shape[2]), (1, 1, 1, 1)
    if draft.name == "RESHAPE":
        last = draft.nodes[-1]
        rank = 2 if last.layer.kind == "flatten" else 4 if last.name.endswith("_1") else 5
        return ((*last.layer.out_shape, layer.groups, -1)[:rank],)
    if draft.name == "TRANSPOSE":
        return ((0, 1, 2, 4, 3),)
    if draft.name == "PAD":
        return ((layer.pixels,) * 8,)
    return ((1, 2),) if draft.name == "MEAN" else ()
