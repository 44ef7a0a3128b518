"""How small clustered kernels are as a table of centroids and indices, which no .tflite can hold. No TensorFlow here.

A .tflite stores every weight in full; what clustering saves shows when the file is compressed. These figures say what a
format made for it would take (Han et al. 2015, "Deep Compression": weight sharing and Huffman coding) beside what
deflate takes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.flatbuffer import WeightTensor


@dataclass(frozen=True, slots=True)
class Codebook:
    """One kernel as tables of its distinct values and an index for each weight.

    Attributes:
      values: distinct stored values in the largest table.
      tables: 1 for the whole kernel, or one for each output channel: channels with scales of their own hold other
        values. Whichever takes less.
      index_bits: of each weight: log2 of `values`, rounded up.
      table_bytes: all tables, and the indices packed.
      entropy_bytes: all tables, and the indices at their entropy, which no code of one weight at a time goes below.
      stored_bytes: the kernel as it is stored; `zipped_bytes` after deflate.
    """

    layer: str
    weights: int
    values: int
    tables: int
    index_bits: int
    table_bytes: int
    entropy_bytes: int
    stored_bytes: int
    zipped_bytes: int


@dataclass(frozen=True, slots=True)
class CodebookSizes:
    """The codebooks of all kernels of a model. The sums are of the kernels alone, without the rest of the file."""

    layers: tuple[Codebook, ...]

    @property
    def table_bytes(self) -> int:
        """Of all kernels, where a table is worth it; the others as they are stored."""
        return sum(min(layer.table_bytes, layer.stored_bytes) for layer in self.layers)

    @property
    def entropy_bytes(self) -> int:
        """Of all kernels, likewise."""
        return sum(min(layer.entropy_bytes, layer.stored_bytes) for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """Of all kernels."""
        return sum(layer.stored_bytes for layer in self.layers)

    @property
    def zipped_bytes(self) -> int:
        """Of all kernels, each deflated by itself."""
        return sum(layer.zipped_bytes for layer in self.layers)


def codebook_sizes(kernels: Mapping[str, WeightTensor]) -> CodebookSizes:
    """The sizes of each kernel by its layer's name (see deploy.layers.weights_by_layer), in the order of `kernels`."""
    return CodebookSizes(tuple(codebook(layer, kernel) for layer, kernel in kernels.items()))


def codebook(layer: str, kernel: WeightTensor) -> Codebook:
    """The sizes of one kernel."""
    values, bits = kernel.values, kernel.bits
    whole = [values.reshape(-1)]
    channels = whole if kernel.channel_axis is None else list(_channels(values, kernel.channel_axis))
    tables = min((_Tables.of(parts, bits) for parts in (whole, channels)), key=lambda tables: tables.table_bits)
    return Codebook(
        layer=layer,
        weights=int(values.size),
        values=tables.values,
        tables=tables.count,
        index_bits=tables.index_bits,
        table_bytes=_whole_bytes(tables.table_bits),
        entropy_bytes=_whole_bytes(tables.entropy_bits),
        stored_bytes=_whole_bytes(bits * values.size),
        zipped_bytes=len(zlib.compress(values.tobytes(), 9)),
    )


@dataclass(frozen=True, slots=True)
class _Tables:
    """One way to divide a kernel among tables, with its size in bits."""

    count: int
    values: int
    index_bits: int
    table_bits: float
    entropy_bits: float

    @classmethod
    def of(cls, parts: list[npt.NDArray[np.generic]], value_bits: int) -> _Tables:
        counts = [np.unique(part, return_counts=True)[1] for part in parts]
        largest = max(len(count) for count in counts)
        index_bits = (largest - 1).bit_length()
        tables = value_bits * sum(len(count) for count in counts)
        weights = sum(part.size for part in parts)
        return cls(
            count=len(parts),
            values=largest,
            index_bits=index_bits,
            table_bits=tables + index_bits * weights,
            entropy_bits=tables + sum(_entropy_bits(count) for count in counts),
        )


def _channels(values: npt.NDArray[np.generic], axis: int) -> Iterable[npt.NDArray[np.generic]]:
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """The entropy of all weights of which `counts` have each value."""
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def _whole_bytes(bits: float) -> int:
    return int(np.ceil(bits / 8))
