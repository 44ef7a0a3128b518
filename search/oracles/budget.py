"""The limits of a search's configuration as a cost model: what a network costs by its spec alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import CandidateError
from search.cost import cost
from search.oracles.hyperparameters import genotype
from search.settings import SearchConfig
from search.space import SearchSpace


@dataclass(frozen=True)
class SpecBudget:
    """A search.oracles.cost_model.CostModel for networks of a space; `limits` names attributes of search.cost.Cost."""

    space: SearchSpace
    limits: Mapping[str, float]

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether the network can be built and is within every limit."""
        try:
            found = cost(self.space.decode(genotype(self.space, values)))
        except CandidateError:
            return False
        return all(getattr(found, name) <= limit for name, limit in self.limits.items())


def spec_budget(config: SearchConfig, space: SearchSpace) -> SpecBudget | None:
    """The cost model of `config.max_macs` and the like; None without a limit."""
    return SpecBudget(space, config.limits) if config.limits else None
