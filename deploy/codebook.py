"""How small clustered kernels are as a table of centroids and indices, which no .tflite can hold. No TensorFlow here.

A .tflite stores every weight in full; what clustering saves shows when the file is compressed. This is what a format
made for it would take (Han et al. 2015, "Deep Compression", section 3).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from deploy.flatbuffer import WeightTensor


def codebook_bytes(kernels: Iterable[WeightTensor]) -> int:
    """Bytes of all kernels as tables of distinct values with an index for each weight, without the rest of the file.

    A kernel has one table, or one for each output channel, since channels with scales of their own hold other values;
    or it is as it is stored: whichever takes least. An index takes log2 of the values of the largest table, rounded up.
    """
    return sum(_bytes(kernel) for kernel in kernels)


def _bytes(kernel: WeightTensor) -> int:
    values = kernel.values
    channels = np.moveaxis(values, kernel.channel_axis, 0).reshape(values.shape[kernel.channel_axis], -1)
    bits = min(kernel.bits * values.size, *(_bits(parts, kernel.bits) for parts in (values.reshape(1, -1), channels)))
    return -(-bits // 8)


def _bits(parts: npt.NDArray[np.generic], value_bits: int) -> int:
    """One table for each row of `parts`."""
    counts = [len(np.unique(part)) for part in parts]
    return value_bits * sum(counts) + (max(counts) - 1).bit_length() * int(parts.size)
