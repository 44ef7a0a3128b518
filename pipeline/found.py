"""What a supernet's training itself suggests to the search. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.space import Genotype, SearchSpace


@dataclass(frozen=True, slots=True)
class FoundSuggestion:
    """The one network that is left."""

    genotype: Genotype
    epochs: int
    oracle_id: str = "found"


class FoundStrategy:
    """A search.loop.SearchStrategy that suggests one network and then nothing more."""

    def __init__(self, genotype: Genotype, epochs: int) -> None:
        self._left = [FoundSuggestion(genotype, epochs)]

    def suggest(self) -> FoundSuggestion | None:
        """The network, once."""
        return self._left.pop() if self._left else None

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
        """Learns nothing: there is nothing more to suggest."""


def values_of(space: SearchSpace, genotype: Genotype) -> dict[str, Any]:
    """A genotype as an oracle's values: choice indices by hyperparameter name (search.oracles.hyperparameters)."""
    space.check(genotype)
    pairs = zip(space.genes, genotype, strict=True)
    return {gene.path: index for gene, index in pairs if len(gene.choices) > 1}
