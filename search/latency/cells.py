"""What a latency predictor sees of the networks of NAS-Bench-201, measured by others. No TensorFlow here.

Those measurements (HW-NAS-Bench, Li et al. 2021, arXiv:2103.10584) are of networks that were exported with the edges
that lead nowhere: which of these still ran depends on which edges are `none`. In our own networks they are left out;
search.latency.features.arch_features describes those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import bad_value
from search.arch import CELL_EDGES, CELL_OPS, cell_edges, cell_nodes_in_use
from search.latency.features import APART, SMOOTH, Features, bag_of

NONE = CELL_OPS.index("none")

_Cell = tuple[int, ...]  # the operation of each of CELL_EDGES
_Mask = tuple[bool, ...]  # which edges have one


def cell_features(ops: NDArray[np.integer]) -> Features:
    """Cells [n, 6] of indices into CELL_OPS, edges in the order of CELL_EDGES. Raises UsageError for other values.

    All 15 cells of a network are equal, so that one stands for the network. What an operation costs may depend on where
    it is and on which edges there are.
    """
    if ops.ndim != 2 or ops.shape[1] != len(CELL_EDGES) or not len(ops):
        raise bad_value("cell features: ops of shape", ops.shape, f"[cells, {len(CELL_EDGES)}]")
    if ops.min() < 0 or ops.max() >= len(CELL_OPS):
        raise bad_value("cell features: ops", (int(ops.min()), int(ops.max())), f"indices below {len(CELL_OPS)}")
    cells = [tuple(int(op) for op in row) for row in ops]
    masks = [tuple(op != NONE for op in cell) for cell in cells]
    pairs = list(zip(cells, masks, strict=True))
    return Features(
        (
            bag_of("operation", [Counter(_present(cell)) for cell in cells], _operation, SMOOTH),
            bag_of("operation in use", [Counter(_in_use(cell)) for cell in cells], _operation, SMOOTH),
            bag_of("operation by edges", [_by_mask(*pair) for pair in pairs], _operation_by_mask, SMOOTH),
            bag_of("edge by edges", [_by_edge(*pair) for pair in pairs], _edge_by_mask, SMOOTH),
            bag_of("edges", [{mask: 1} for mask in masks], _numbers, SMOOTH),
        )
    )


def _present(cell: _Cell) -> list[int]:
    return [op for op in cell if op != NONE]


def _in_use(cell: _Cell) -> list[int]:
    """The operations on paths from the cell's input to its output."""
    names = tuple(CELL_OPS[op] for op in cell)
    nodes = cell_nodes_in_use(names)
    return [CELL_OPS.index(op) for source, end, op in cell_edges(names) if {source, end} <= nodes and op != "none"]


def _by_mask(cell: _Cell, mask: _Mask) -> Counter[tuple[int, _Mask]]:
    return Counter((op, mask) for op in _present(cell))


def _by_edge(cell: _Cell, mask: _Mask) -> Counter[tuple[int, int, _Mask]]:
    return Counter((op, edge, mask) for edge, op in enumerate(cell) if op != NONE)


def _operation(op: int) -> list[float]:
    return _one_hot(op, CELL_OPS)


def _operation_by_mask(item: tuple[int, _Mask]) -> list[float]:
    op, mask = item
    return _operation(op) + _numbers(mask)


def _edge_by_mask(item: tuple[int, int, _Mask]) -> list[float]:
    op, edge, mask = item
    return _operation(op) + _one_hot(edge, CELL_EDGES) + _numbers(mask)


def _numbers(mask: _Mask) -> list[float]:
    return [float(value) for value in mask]


def _one_hot(index: int, choices: Sequence[Hashable]) -> list[float]:
    """Different choices are APART."""
    return [APART * (index == choice) for choice in range(len(choices))]
