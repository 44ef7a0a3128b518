"""The limits of a search's configuration as a cost model: what a network costs by its spec alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec
from search.cost import cost
from search.latency.reachable import distinct_blocks
from search.latency.table import read_latency_table
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


def check_latency_table(config: SearchConfig, space: SearchSpace) -> None:
    """Raises UsageError if `config.latency_table` lacks a block of the space, as one for other images does."""
    if config.latency_table is None:
        return
    table = read_latency_table(Path(config.latency_table))
    missing = table.missing(distinct_blocks(space, table.data_type))
    if missing:
        raise UsageError(
            f"config.search.latency_table: {config.latency_table} lacks {len(missing)} blocks of the space "
            f"{space.name}, the first {missing[0].text!r}; it was measured for other images or classes"
        )


def table_latency(config: SearchConfig) -> Callable[[ArchSpec], float] | None:
    """What a network's latency is by `config.latency_table`; None without one. Raises UsageError if unreadable."""
    if config.latency_table is None:
        return None
    table = read_latency_table(Path(config.latency_table))
    return lambda arch: table.predict(arch).latency_us
