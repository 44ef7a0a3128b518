"""The sparse encoding of a constant in a .tflite. No TensorFlow here.

Format: `SparsityParameters` in TFLite's schema, after Kjolstad et al. 2017, "The Tensor Algebra Compiler": a tree with
a level for each dimension, which is dense or lists the coordinates in use; the values are its leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SPARSE = 1  # DimensionType.SPARSE_CSR


def dense_values(tensor: Any, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values of a sparse tensor in its shape, zeros included.

    Args:
      tensor: a `TensorT` with `sparsity`.
      stored: the values of its buffer, in the tensor's type. There may be more than are used: the converter's buffers
        are at times longer.

    Raises ValueError if the encoding contradicts itself.
    """
    shape, sparsity = tuple(int(size) for size in tensor.shape), tensor.sparsity
    order = [int(axis) for axis in sparsity.traversalOrder]
    blocked = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    if len(order) != len(shape) + len(blocked) or len(sparsity.dimMetadata) != len(order):
        raise ValueError(f"sparse tensor of shape {shape}: {len(order)} dimensions are encoded")
    coordinates = _coordinates(sparsity.dimMetadata)
    places = [np.zeros(len(coordinates), np.int64) for _ in shape]
    for level, axis in enumerate(order):
        if axis < len(shape):  # the number of a block, or of a value where the axis has no blocks
            places[axis] += coordinates[:, level] * _block_size(axis, sparsity.dimMetadata, order, blocked, len(shape))
        else:
            places[blocked[axis - len(shape)]] += coordinates[:, level]
    if len(stored) < len(coordinates):
        raise ValueError(f"sparse tensor of shape {shape}: {len(coordinates)} places for {len(stored)} values")
    values = np.zeros(shape, stored.dtype)
    values[tuple(places)] = stored[: len(coordinates)]
    return values


def _coordinates(levels: Any) -> npt.NDArray[np.int64]:
    """The coordinates [values, levels] of the stored values, level by level down the tree."""
    coordinates = np.zeros((1, 0), np.int64)
    for level in levels:
        if level.format == _SPARSE:
            segments = np.asarray(level.arraySegments.values, np.int64)
            counts = segments[1:] - segments[:-1]
            column = np.asarray(level.arrayIndices.values, np.int64)
        else:
            counts = np.full(len(coordinates), int(level.denseSize))
            column = np.tile(np.arange(int(level.denseSize)), len(coordinates))
        if len(counts) != len(coordinates) or counts.sum() != len(column):
            raise ValueError("sparse tensor: its segments do not fit its indices")
        coordinates = np.column_stack([np.repeat(coordinates, counts, axis=0), column])
    return coordinates


def _block_size(axis: int, levels: Any, order: list[int], blocked: list[int], rank: int) -> int:
    """The side of the blocks along an axis; 1 if it has none."""
    if axis not in blocked:
        return 1
    return int(levels[order.index(rank + blocked.index(axis))].denseSize)
