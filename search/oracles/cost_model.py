"""What a candidate costs before it is trained: a strategy never suggests what its cost model refuses.

A configuration is the mapping that Keras Tuner gives a HyperModel: the values of the active hyperparameters by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import CandidateError


class CostModel(Protocol):
    """Tells whether a configuration is within all limits."""

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether it may be suggested. Must answer the same for the same values, at once (microseconds to a few ms)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on one cost: multiply-accumulates, parameters, a predicted or tabulated latency.

    `cost` may raise CandidateError for a configuration that cannot be built. NaN is over every limit.
    """

    cost: Callable[[Mapping[str, Any]], float]
    limit: float

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether the cost is known and at most `limit`."""
        try:
            return self.cost(values) <= self.limit
        except CandidateError:
            return False


@dataclass(frozen=True, slots=True)
class AllOf:
    """Several limits at once."""

    models: tuple[CostModel, ...]

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether every model agrees; the cheapest should come first."""
        return all(model.feasible(values) for model in self.models)
