"""NAS-Bench-201's cell and reduction (Dong & Yang 2020, arXiv:2001.00326)."""

from __future__ import annotations

from core.errors import CandidateError
from search.arch import CELL_NODES, BlockSpec, cell_edges, cell_nodes_in_use
from search.blocks.common import conv_bn
from search.layers import LayerList


def nasbench201_cell(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Four nodes, an operation on each of the six edges; a node is the sum of its incoming edges.

    What no path of the cell needs is left out. Raises CandidateError if nothing reaches the last node.
    """
    if layers.shape(x)[2] != out_channels:
        raise CandidateError(f"{name}: a cell keeps its {layers.shape(x)[2]} channels, not {out_channels}")
    needed = cell_nodes_in_use(spec.edges)
    if 0 not in needed:
        raise CandidateError(f"{name}: no path of the cell's edges {spec.edges} leads from its input to its output")
    nodes: dict[int, str] = {0: x}
    for target in range(1, CELL_NODES):
        incoming = [
            _edge(layers, f"{name}_e{source}{target}", nodes[source], op, out_channels)
            for source, end, op in cell_edges(spec.edges)
            if end == target and op != "none" and source in nodes and target in needed
        ]
        if incoming:
            nodes[target] = _sum(layers, f"{name}_n{target}", incoming)
    return nodes[CELL_NODES - 1]


def nasbench201_reduction(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """The residual block between the stages: two pre-activation convolutions, the first with stride 2."""
    y = _relu_conv_bn(layers, f"{name}_1", x, 3, out_channels, stride=2)
    y = _relu_conv_bn(layers, f"{name}_2", y, 3, out_channels)
    x = layers.pool("avg_pool", f"{name}_pool", x, 2, 2, "valid")
    x = layers.conv(f"{name}_shortcut_conv", x, out_channels, 1, 1, use_bias=layers.bias_without_norm)
    return layers.add(f"{name}_add", x, y)


def _edge(layers: LayerList, name: str, x: str, op: str, channels: int) -> str:
    if op == "conv1x1":
        return _relu_conv_bn(layers, name, x, 1, channels)
    if op == "conv3x3":
        return _relu_conv_bn(layers, name, x, 3, channels)
    if op == "avg3x3":
        return layers.pool("avg_pool", f"{name}_pool", x, 3, 1, "same")
    return x


def _relu_conv_bn(layers: LayerList, name: str, x: str, kernel_size: int, channels: int, stride: int = 1) -> str:
    x = layers.activation(f"{name}_relu", x, "relu")
    return conv_bn(layers, name, x, channels, kernel_size=kernel_size, stride=stride)


def _sum(layers: LayerList, name: str, incoming: list[str]) -> str:
    total = incoming[0]
    for index, term in enumerate(incoming[1:]):
        total = layers.add(f"{name}_add{index}", total, term)
    return total
