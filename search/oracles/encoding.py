"""Genotypes as feature vectors for surrogate models: squared distances between them are what a kernel needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.oracles.choice_space import Axis, ChoiceSpace
from search.space import Genotype

Array = NDArray[np.float64]
Encode = Callable[[Mapping[str, Any]], Sequence[float]]

ONE_HOT_LIMIT = 16  # an ordered axis with more values than this is a number alone
CACHED = 4096  # vectors of the user's encoding that are kept


class Encoder:
    """Each axis is a block of columns; a user's own encoding of the configuration adds one more.

    Within a block the squared distance of two active values is 1 if they differ, on an ordered axis the mean of that
    and ((index difference) / (values - 1))^2; an inactive axis is half as far from each value.

    Args:
      space: of the genotypes.
      encode: values of the active hyperparameters -> numbers, as many for every configuration, scaled so that a squared
        distance of 1 is a notable difference. For example search.tabular.nasbench201.path_encoding.
    """

    def __init__(self, space: ChoiceSpace, encode: Encode | None = None) -> None:
        self._space, self._encode = space, encode
        self._tables = [_table(axis) for axis in space.axes]
        self._vectors: dict[Genotype, Array] = {}
        widths = [table.shape[1] for table in self._tables]
        if encode is not None:
            widths.append(len(encode(space.values(space.at(0)))))
        self.blocks = np.repeat(np.arange(len(widths)), widths)
        """The block of each column."""

    def features(self, genotypes: Sequence[Genotype]) -> Array:
        """One row for each genotype."""
        if not genotypes:
            return np.zeros((0, len(self.blocks)))
        indices = np.array(genotypes, dtype=np.int64).reshape(len(genotypes), -1)
        active = np.array([self._space.active(genotype) for genotype in genotypes], dtype=float)
        columns = [table[indices[:, j]] * active[:, j : j + 1] for j, table in enumerate(self._tables)]
        if self._encode is not None:
            columns.append(np.array([self._encoded(genotype) for genotype in genotypes]))
        return np.concatenate([np.zeros((len(genotypes), 0)), *columns], axis=1)

    def _encoded(self, genotype: Genotype) -> Array:
        assert self._encode is not None
        known = self._vectors.get(genotype)
        if known is None:
            if len(self._vectors) >= CACHED:
                self._vectors.clear()
            vector = np.asarray(self._encode(self._space.values(genotype)), dtype=float)
            known = self._vectors[genotype] = vector
        return known


def _table(axis: Axis) -> Array:
    """The columns of each value of an axis."""
    count = len(axis.values)
    one_hot = np.sqrt(0.5) * np.eye(count)
    if not axis.ordered or count <= 2:
        return one_hot
    # Shifted away from 0, which stands for "inactive".
    number = 0.5 + np.arange(count)[:, None] / (count - 1)
    return number if count > ONE_HOT_LIMIT else np.sqrt(0.5) * np.concatenate([one_hot, number], axis=1)
