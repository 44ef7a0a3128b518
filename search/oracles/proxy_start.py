"""A warm start: the best of many random candidates by a cheap score, for any strategy that takes `first_values`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.errors import CandidateError
from search.oracles.choice_space import ChoiceSpace
from search.oracles.cost_model import CostModel
from search.space import Genotype

Score = Callable[[Mapping[str, Any]], float]

DRAWS = 50  # for each candidate of the pool: after that many the space is taken to hold no more


def best_first(
    space: ChoiceSpace, score: Score, count: int, *, pool: int, seed: int, cost_model: CostModel | None = None
) -> list[dict[str, Any]]:
    """The `count` best of `pool` different random configurations, best first: hyperparameter values by name.

    Args:
      score: of a configuration, larger is better: a zero-cost proxy, a column of a table, a cost with its sign changed.
        One without a finite score, or for which it raises CandidateError, is passed over.
      cost_model: refuses configurations before they are scored.
    """
    random = np.random.default_rng(seed)
    drawn: dict[Genotype, None] = {}
    for _ in range(DRAWS * pool):
        genotype = space.random(random)
        if genotype not in drawn and (cost_model is None or cost_model.feasible(space.values(genotype))):
            drawn[genotype] = None
        if len(drawn) == pool:
            break
    scored = [(_score(score, space.values(genotype)), genotype) for genotype in drawn]
    ranked = sorted((pair for pair in scored if pair[0] is not None), key=lambda pair: -(pair[0] or 0.0))
    return [space.values(genotype) for _, genotype in ranked[:count]]


def _score(score: Score, values: Mapping[str, Any]) -> float | None:
    try:
        found = float(score(values))
    except CandidateError:
        return None
    return found if math.isfinite(found) else None
