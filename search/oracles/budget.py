"""The limits of a search's configuration as a cost model: what a network costs by its spec alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import CandidateError
from search.arch import ArchSpec
from search.cost import cost
from search.latency.configured import table_latency
from search.oracles.hyperparameters import genotype
from search.settings import SearchConfig
from search.space import SearchSpace

LATENCY = "latency_us"


@dataclass(frozen=True)
class SpecBudget:
    """A search.oracles.cost_model.CostModel for networks of a space.

    `limits` names attributes of search.cost.Cost, and "latency_us", which `latency_us` predicts.
    """

    space: SearchSpace
    limits: Mapping[str, float]
    latency_us: Callable[[ArchSpec], float] | None = None

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether the network can be built and is within every limit."""
        try:
            arch = self.space.decode(genotype(self.space, values))
            found = dataclasses.asdict(cost(arch))
            if self.latency_us is not None and LATENCY in self.limits:
                found[LATENCY] = self.latency_us(arch)
        except CandidateError:
            return False
        return all(found[name] <= limit for name, limit in self.limits.items())


def spec_budget(config: SearchConfig, space: SearchSpace) -> SpecBudget | None:
    """The cost model of `config.max_macs` and the like; None without a limit.

    Raises UsageError for a latency table that cannot be read.
    """
    return SpecBudget(space, config.limits, table_latency(config)) if config.limits else None
