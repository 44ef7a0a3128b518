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

# A tight limit refuses nearly all, and a cost takes milliseconds: after this many the pool is taken as it is.
DRAWS = 1000
DRAWS_PER_CANDIDATE = 10


def best_first(
    space: ChoiceSpace, score: Score, count: int, *, pool: int, seed: int, cost_model: CostModel | None = None
) -> list[dict[str, Any]]:
    """The `count` best of `pool` different random configurations, best first: hyperparameter values by name.

    The pool is smaller where the space or the limits leave fewer, or too few to be found by drawing; it may be empty.

    Args:
      score: of a configuration, larger is better: a zero-cost proxy, a column of a table, a cost with its sign changed.
        One without a finite score, or for which it raises CandidateError, is passed over.
      cost_model: refuses configurations before they are scored; each is asked for once.
    """
    drawn = _pool(space, pool, np.random.default_rng(seed), cost_model)
    scored = [(_score(score, space.values(genotype)), genotype) for genotype in drawn]
    ranked = sorted((pair for pair in scored if pair[0] is not None), key=lambda pair: -(pair[0] or 0.0))
    return [space.values(genotype) for _, genotype in ranked[:count]]


def _pool(space: ChoiceSpace, count: int, random: np.random.Generator, cost_model: CostModel | None) -> list[Genotype]:
    """Up to `count` different genotypes within the limits, in the order in which they were drawn."""
    is_within: dict[Genotype, bool] = {}
    found = 0
    for _ in range(DRAWS + DRAWS_PER_CANDIDATE * count):
        if found == count or len(is_within) >= space.size:
            break
        genotype = space.random(random)
        if genotype not in is_within:
            is_within[genotype] = cost_model is None or cost_model.feasible(space.values(genotype))
            found += is_within[genotype]
    return [genotype for genotype, within in is_within.items() if within]


def _score(score: Score, values: Mapping[str, Any]) -> float | None:
    try:
        found = float(score(values))
    except CandidateError:
        return None
    return found if math.isfinite(found) else None
