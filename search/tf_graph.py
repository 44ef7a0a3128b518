"""The TensorFlow graph of a built network, in the order in which the TFLite converter takes it. No TensorFlow here.

That order decides which activations wait for which others, and so how much memory they take.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from search.layers import Layer

MODEL = "network"  # the Keras model's name, with which the nodes' names begin
INPUT = "image"
ABSORBED = "absorbed"


@dataclass(frozen=True, slots=True)
class Node:
    """One TensorFlow operation that computes an activation.

    Attributes:
      op: TensorFlow's name of the operation, with these exceptions: the last operation of a hard swish is "HardSwish"
        and the others are ABSORBED; "AddConstant" and "MulConstant" have a number as their second operand.
      name: in the graph.
      inputs: names of the nodes whose outputs it reads.
      constants: names of the graph's constants that it reads.
      layer: the primitive layer that it is a part of.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    layer: Layer


def graph_of(layers: Iterable[Layer]) -> tuple[Node, ...]:
    """The nodes of the model that `search.build` makes of the layers and of the softmax that `deploy` adds.

    They stand in the converter's order; a computation that is written down twice is there once, as in the converter.
    """
    return _without_duplicates(_in_import_order(nodes_of(layers)))


# The operations of a layer: the operation's and the node's name, the operands ("": the layer's inputs), the constants.
_Step = tuple[str, str, tuple[str, ...], tuple[str, ...]]
_STEPS: dict[str, tuple[_Step, ...]] = {
    "conv": (("Conv2D", "Conv2D", ("",), ("Conv2D/ReadVariableOp",)),),
    "depthwise": (("DepthwiseConv2dNative", "depthwise", ("",), ("depthwise/ReadVariableOp",)),),
    "dense": (("MatMul", "MatMul", ("",), ("MatMul/ReadVariableOp",)),),
    "bias": (("BiasAdd", "BiasAdd", ("",), ("BiasAdd/ReadVariableOp",)),),
    "batch_norm": (
        (
            "FusedBatchNormV3",
            "FusedBatchNormV3",
            ("",),
            tuple(f"{prefix}ReadVariableOp{end}" for prefix in ("", "FusedBatchNormV3/") for end in ("", "_1")),
        ),
    ),
    "relu": (("Relu", "Relu", ("",), ()),),
    "relu6": (("Relu6", "Relu6", ("",), ()),),
    "sigmoid": (("Sigmoid", "Sigmoid", ("",), ()),),
    "swish": (("Sigmoid", "Sigmoid", ("",), ()), ("Mul", "mul", ("", "Sigmoid"), ())),
    "hard_sigmoid": (
        ("AddConstant", "add", ("",), ("add/y",)),
        ("Relu6", "Relu6", ("add",), ()),
        ("MulConstant", "mul", ("Relu6",), ("mul/y",)),
    ),
    "hswish": (
        (ABSORBED, "add", ("",), ("add/y",)),
        (ABSORBED, "Relu6", ("add",), ()),
        (ABSORBED, "mul", ("Relu6",), ("mul/y",)),
        ("HardSwish", "mul_1", ("", "mul"), ()),
    ),
    "add": (("AddV2", "add", ("",), ()),),
    "multiply": (("Mul", "mul", ("",), ()),),
    "concat": (("ConcatV2", "concat", ("",), ("concat/axis",)),),
    "slice": (
        ("StridedSlice", "strided_slice", ("",), tuple(f"strided_slice/stack{end}" for end in ("", "_1", "_2"))),
    ),
    "shuffle": (
        ("Reshape", "Reshape", ("",), ("Reshape/shape",)),
        ("Transpose", "transpose", ("Reshape",), ("transpose/perm",)),
        ("Reshape", "Reshape_1", ("transpose",), ("Reshape_1/shape",)),
    ),
    "pad": (("Pad", "Pad", ("",), ("Pad/paddings",)),),
    "max_pool": (("MaxPool", "MaxPool", ("",), ()),),
    "avg_pool": (("AvgPool", "AvgPool", ("",), ()),),
    "global_pool": (("Mean", "Mean", ("",), ("Mean/reduction_indices",)),),
    "flatten": (("Reshape", "Reshape", ("",), ("Const",)),),
}
_HAS_WEIGHTS = ("conv", "depthwise", "dense", "batch_norm")


def nodes_of(layers: Iterable[Layer]) -> list[Node]:
    """The nodes in the order of the layers."""
    nodes: list[Node] = []
    output: dict[str, str] = {}  # of a layer: the node
    for layer in layers:
        if layer.kind == "input":
            nodes.append(Node("Placeholder", INPUT, (), (), layer))
        else:
            operands = tuple(output[name] for name in layer.inputs)
            nodes += _nodes_of_layer(layer, _STEPS[layer.activation or layer.kind], operands)
            if layer.use_bias:
                nodes += _nodes_of_layer(layer, _STEPS["bias"], (nodes[-1].name,))
        output[layer.name] = nodes[-1].name
    nodes.append(Node("Softmax", "probabilities", (nodes[-1].name,), (), nodes[-1].layer))
    return nodes


def _nodes_of_layer(layer: Layer, steps: tuple[_Step, ...], operands: tuple[str, ...]) -> list[Node]:
    prefix = f"{MODEL}/{layer.name}/"
    nodes = []
    for op, name, reads, constants in steps:
        inputs: tuple[str, ...] = ()
        for read in reads:
            inputs += (prefix + read,) if read else operands
        nodes.append(Node(op, prefix + name, inputs, tuple(prefix + constant for constant in constants), layer))
    return nodes


def _in_import_order(nodes: Sequence[Node]) -> list[Node]:
    """The order in which the converter's importer takes a graph's nodes, constants and the input among them.

    A node follows as soon as its last operand is there; of several the one with the smallest name, and all that then
    becomes possible before the others.
    """
    by_name = {node.name: node for node in nodes}
    readers: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for name in (*node.inputs, *node.constants):
            readers.setdefault(name, []).append(node.name)
    missing = {node.name: len(node.inputs) + len(node.constants) for node in nodes}
    ready = sorted({INPUT, *(name for node in nodes for name in node.constants)}, reverse=True)
    order = []
    while ready:
        name = ready.pop()
        if name in by_name:
            order.append(by_name[name])
        for reader in sorted(readers[name], reverse=True):
            missing[reader] -= 1
            if missing[reader] == 0:
                ready.append(reader)
    return order


def _without_duplicates(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Of nodes that compute the same, the first; none that compute nothing."""
    stands_for: dict[str, str] = {}  # a node that is left out: its replacement
    first: dict[Hashable, str] = {}
    kept: dict[str, Node] = {}
    for node in nodes:
        inputs = tuple(stands_for.get(name, name) for name in node.inputs)
        if inputs and _changes_nothing(node, kept[inputs[0]]):
            stands_for[node.name] = inputs[0]
            continue
        original = first.setdefault(_computation(node, inputs), node.name)
        if original == node.name:
            kept[node.name] = Node(node.op, node.name, inputs, node.constants, node.layer)
        else:
            stands_for[node.name] = original
    return tuple(kept.values())


def _changes_nothing(node: Node, before: Node) -> bool:
    layer = node.layer
    if layer.kind == "shuffle":
        return layer.groups in (1, layer.out_shape[2])
    if node.op == "Pad":
        return layer.pixels == 0
    if node.op == "Mean":
        return layer.keepdims and before.layer.out_shape == layer.out_shape
    return node.op in ("Relu", "Relu6") and before.op == node.op


def _computation(node: Node, inputs: tuple[str, ...]) -> Hashable:
    """Equal for nodes that compute the same of the same inputs; no two layers have the same weights."""
    layer = node.layer
    if layer.kind in _HAS_WEIGHTS:
        return node.name
    window = (layer.kernel_size, layer.stride, layer.padding, layer.pixels)
    return (node.op, inputs, layer.out_shape, layer.keepdims, layer.begin, layer.groups, window)
