"""The expected latency of a network whose operators are drawn, from a latency table. No TensorFlow here.

ProxylessNAS (Cai et al. 2019, arXiv:1812.00332, section 3.3): the latency of a place is the mean of its candidates',
weighted by their probabilities, and that of the network is the sum over its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from search.latency.blocks import BlockKey, Cut, at_width
from search.latency.table import LatencyTable
from search.space import SearchSpace
from search.supernet.places import HEAD, STEM, Place, places_of, searched


@dataclass(frozen=True, eq=False)
class ExpectedLatency:
    """A latency that is linear in the candidates' probabilities.

    Attributes:
      base_us: of what every network has, with what whole networks take beside their blocks, in microseconds.
      candidates_us: float64 [searched places, most candidates]: what each adds; 0 where there is none.
      legal: bool, of the same shape: whether there is such a candidate.
    """

    base_us: float
    candidates_us: NDArray[np.float64]
    legal: NDArray[np.bool_]

    def of(self, probabilities: NDArray[np.floating]) -> float:
        """The expectation in microseconds; probabilities [searched places, most candidates]."""
        return self.base_us + float(np.sum(probabilities * self.candidates_us))

    def of_network(self, genotype: Sequence[int]) -> float:
        """The latency in microseconds of one network."""
        return self.of(np.eye(self.legal.shape[1])[list(genotype)])

    def of_likeliest(self, probabilities: NDArray[np.floating]) -> float:
        """The latency in microseconds of the network of the likeliest candidates."""
        return self.of_network(np.argmax(probabilities, axis=1).tolist())

    @property
    def fastest(self) -> tuple[int, ...]:
        """The genotype of the fastest network."""
        return tuple(np.argmin(np.where(self.legal, self.candidates_us, np.inf), axis=1).tolist())

    @property
    def mean_us(self) -> float:
        """The mean over all genotypes."""
        return self.of(self.legal / self.legal.sum(axis=1, keepdims=True))


def expected_latency(space: SearchSpace, table: LatencyTable) -> ExpectedLatency:
    """What `table.predict` tells of every network of a space of layerwise choices.

    Raises UsageError for another space (search.supernet.places), and if the table lacks one of its blocks.
    """
    places = places_of(space)
    known_us = {block.key: block.median_us for block in table.blocks}
    keys = [_keys(space, place, table.data_type) for place in places]
    missing = table.missing(dict.fromkeys(key for of_place in keys for key in of_place if key is not None))
    if missing:
        raise UsageError(
            f"latency table of space {table.space}: it lacks {len(missing)} blocks of space {space.name}, the first "
            f"{missing[0].text!r}; it was measured for other images, classes or candidates"
        )
    rows = [[0.0 if key is None else known_us[key.text] for key in of_place] for of_place in keys]
    chosen = [row for place, row in zip(places, rows, strict=True) if place.is_searched]
    fixed_us = sum(row[0] for place, row in zip(places, rows, strict=True) if not place.is_searched)
    counts = np.array([len(place.branches) for place in searched(places)])
    legal = np.arange(counts.max()) < counts[:, None]
    candidates_us = np.zeros(legal.shape)
    candidates_us[legal] = np.concatenate(chosen)
    overhead = table.overhead
    return ExpectedLatency(overhead.constant_us + overhead.factor * fixed_us, overhead.factor * candidates_us, legal)


def _keys(space: SearchSpace, place: Place, data_type: str) -> list[BlockKey | None]:
    """The key of each candidate of a place; None of one that does nothing."""
    cut = Cut(space.template.norm, space.template.form, data_type)
    if place.prefix == STEM:
        return [cut.stem(space.template)[0]]
    if place.prefix == HEAD:
        return [cut.head(place.input_shape, space.template)]
    blocks = [at_width(block, space.template.width_multiplier) for block in place.blocks]
    return [cut.block(place.input_shape, block)[0] for block in blocks]
