"""What each layer could become: every form and rank with its parameters, MACs and energy, before anything is computed.

The energy of a truncation follows from one spectrum of the kernel, so that all ranks cost one decomposition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.keras_env import keras

import numpy as np
import numpy.typing as npt

from compress.low_rank.decompose import Float32, Float64, bases, rank_of, spatial_matrix, spectrum

Int64 = npt.NDArray[np.int64]

# Tucker-2 has a pair of ranks: of wide layers, at most so many values of each are considered.
MAX_RANKS = 128
# A layer more costs time, a few hundred bytes of tables and a scale for each of its channels.
LEAST_SAVING = 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """A layer in a form of lower rank.

    Attributes:
      form: "svd" (a dense layer or 1x1 convolution as two), "spatial" (a convolution as a vertical and a horizontal
        one) or "tucker" (1x1, spatial, 1x1; a rank that is not lowered has no 1x1).
      ranks: one rank, or for "tucker" those of the input and output channels.
      params: weights of all factors, without the bias, which stays.
      macs: of one image (dense layers of more than one row, and convolutions of unknown size: of one output place).
      energy: share 0..1 of the kernel's sum of squares.
    """

    form: str
    ranks: tuple[int, ...]
    params: int
    macs: int
    energy: float


@dataclass(frozen=True, eq=False)
class Options:
    """All choices of a layer that pay, the smallest first: those that save LEAST_SAVING of its weights and of its MACs.

    Attributes:
      whole: the layer as it is.
      form, ranks, params, macs, energy: one row a choice; form is an index of FORMS, ranks [n, 2].
    """

    whole: Choice
    form: Int64
    ranks: Int64
    params: Int64
    macs: Int64
    energy: Float64

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, row: int) -> Choice:
        form = FORMS[self.form[row]]
        ranks = tuple(int(rank) for rank in self.ranks[row, : 2 if form == "tucker" else 1])
        return Choice(form, ranks, int(self.params[row]), int(self.macs[row]), float(self.energy[row]))


FORMS = ("svd", "spatial", "tucker")


@dataclass(frozen=True, slots=True)
class Places:
    """At how many places a convolution is computed: on its input, its output, and with its vertical stride alone."""

    before: int
    after: int
    between: int


def options_of(layer: keras.layers.Layer, kernel: Float32) -> Options:
    """The options of a Dense or ungrouped Conv2D layer with a kernel that is not all zero."""
    places = _places(layer)
    if kernel.ndim == 2 or kernel.shape[:2] == (1, 1):
        a, b = kernel.shape[-2:]
        columns = [_by_rank("svd", kernel.reshape(a, b), (a, b), (places.after, places.after))]
    else:
        height, width, channels, filters = kernel.shape
        sides = (height * channels, width * filters)
        columns = [_tucker(kernel, places)]
        if height > 1 and width > 1:
            columns.append(_by_rank("spatial", spatial_matrix(kernel), sides, (places.between, places.after)))
    whole = whole_of(layer, kernel)
    form, ranks, params, macs, energy = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    rows = np.flatnonzero((params <= (1 - LEAST_SAVING) * whole.params) & (macs <= (1 - LEAST_SAVING) * whole.macs))
    rows = rows[np.lexsort((-energy[rows], params[rows]))]
    return Options(whole, form[rows], ranks[rows], params[rows], macs[rows], np.minimum(energy[rows], 1.0))


def whole_of(layer: keras.layers.Layer, kernel: Float32) -> Choice:
    """The layer as it is: no form, no ranks, all energy. (A grouped kernel holds the inputs of one group only.)"""
    return Choice("", (), int(kernel.size), int(kernel.size) * _places(layer).after, 1.0)


_Columns = tuple[Int64, Int64, Int64, Int64, Float64]


def _by_rank(form: str, matrix: Float32 | Float64, sides: tuple[int, int], places: tuple[int, int]) -> _Columns:
    """A kernel as a matrix of `sides`, cut in two: the first factor is computed at places[0], the other at [1]."""
    whole = np.asarray(matrix, np.float64)
    values, _ = spectrum(whole if whole.shape[0] <= whole.shape[1] else whole.T)
    values = values[: rank_of(values)]  # a higher rank would be the same kernel with more weights
    ranks = np.arange(1, len(values) + 1)
    macs = ranks * (sides[0] * places[0] + sides[1] * places[1])
    both = np.stack([ranks, ranks], axis=1)
    energy = np.cumsum(values) / values.sum()
    return np.full(len(ranks), FORMS.index(form)), both, ranks * sum(sides), macs, energy


def _tucker(kernel: Float32, places: Places) -> _Columns:
    """All pairs of ranks. The energy is that of the truncated bases, which `tucker2` then improves a little."""
    height, width, channels, filters = kernel.shape
    whole = np.asarray(kernel, np.float64)
    in_basis, out_basis = bases(whole)
    core = np.einsum("hwio,ir,os->hwrs", whole, in_basis, out_basis, optimize=True)
    energies = np.cumsum(np.cumsum(np.square(core).sum(axis=(0, 1)), axis=0), axis=1) / np.square(whole).sum()
    r, s = (grid.ravel() for grid in np.meshgrid(_considered(channels), _considered(filters), indexing="ij"))
    first, last = np.where(r < channels, r * channels, 0), np.where(s < filters, s * filters, 0)
    middle = height * width * r * s
    macs = first * places.before + (middle + last) * places.after
    form = np.full(len(r), FORMS.index("tucker"))
    return form, np.stack([r, s], axis=1), first + middle + last, macs, energies[r - 1, s - 1]


def _considered(channels: int) -> Int64:
    return np.unique(np.linspace(1, channels, min(channels, MAX_RANKS)).round().astype(np.int64))


def _places(layer: keras.layers.Layer) -> Places:
    if isinstance(layer, keras.layers.Dense):
        return Places(1, 1, 1)
    before, after = (tuple(shape[1:3]) for shape in (layer.get_input_shape_at(0), layer.get_output_shape_at(0)))
    if None in before + after:
        before, after = layer.strides, (1, 1)
    return Places(math.prod(before), math.prod(after), after[0] * before[1])
