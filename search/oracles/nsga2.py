"""NSGA-II: a population that spreads along the Pareto front of several objectives.

Deb et al. 2002, A fast and elitist multiobjective genetic algorithm, https://doi.org/10.1109/4235.996017; one child at
a time as in Nebro & Durillo 2009, On the effect of the steady-state selection scheme in multi-objective genetic
algorithms, https://doi.org/10.1007/978-3-642-01020-0_18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from core.checks import in_range
from core.errors import bad_value, one_of
from search.objective import FAILED_SCORE, PARETO
from search.oracles.base import GenotypeOracle
from search.oracles.objectives import objectives
from search.pareto import Array, costs, crowding_distance, non_dominated_sort
from search.settings import SearchConfig
from search.space import Genotype

PAIRS = 3  # of parents; if the child of the last one was tried before as well, it is mutated until it is new:
MUTANTS, ROUNDS = 10, 3  # so many mutants of the child are looked at, then as many of the last of these


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle with a population of 20, in small budgets with a third of them."""
    return Nsga2(
        objective=objectives(config),
        max_trials=config.max_trials,
        hyperparameters=hyperparameters,
        seed=seed,
        failed_score=None if config.objective == PARETO else FAILED_SCORE,
        population_size=min(20, max(2, config.max_trials // 3)),
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """A candidate with its costs (smaller is better) and the sum of its constraint violations."""

    genotype: Genotype
    costs: tuple[float, ...]
    violation: float


class Nsga2(GenotypeOracle):
    """Binary tournaments by front and crowding, uniform crossover, mutation; a finished child may replace the worst.

    With a list of keras_tuner.Objective each of them counts by itself (search.pareto finds the front of the log
    afterwards); with one objective it is a plain elitist genetic algorithm. Failed trials do not enter the population.

    Args:
      population_size: the paper's N, which is 100 for 25,000 evaluations; hundreds of them want a smaller one.
      crossover_rate: the share of children with two parents (the paper's p_c).
      mutation_rate: of each axis; None is the paper's 1 / number of axes. With 0 only children that were tried before
        are mutated: they are many in a finite space, and with hundreds of evaluations it does better.
      constraints: metric -> largest allowed value, known only after the evaluation (what is known before is a
        `cost_model`'s affair). Constrained domination: the smaller violation wins whatever the objectives; violations
        are relative to the limits.
      others: as in GenotypeOracle.
    """

    def __init__(
        self,
        *args: Any,
        population_size: int = 20,
        crossover_rate: float = 0.9,
        mutation_rate: float | None = 0.0,
        constraints: Mapping[str, float] | None = None,
        **others: Any,
    ) -> None:
        in_range("Nsga2: population_size", population_size, 2, 100_000)
        in_range("Nsga2: crossover_rate", crossover_rate, 0, 1)
        in_range("Nsga2: mutation_rate", 0 if mutation_rate is None else mutation_rate, 0, 1)
        super().__init__(*args, **others)
        self._population_size, self._crossover_rate = population_size, crossover_rate
        self._mutation_rate, self._constraints = mutation_rate, dict(constraints or {})
        self._reset()

    def _reset(self) -> None:
        self._population: list[_Member] = []  # best first

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        if score is None:
            return
        (values,) = costs([metrics], self.objectives)
        members = [*self._population, _Member(genotype, tuple(values), self._violation(metrics))]
        order = _order(np.array([member.costs for member in members]), [member.violation for member in members])
        self._population = [members[index] for index in order[: self._population_size]]

    def _propose(self) -> Genotype | None:
        if len(self.finished) + len(self.pending) < self._population_size or not self._population:
            return self.sample()
        for _ in range(PAIRS):
            child = self._parent()
            if self.random.random() < self._crossover_rate:
                child = self._cross(child, self._parent())
            child = self._mutate(child)
            if self.usable(child):
                return child
        return self._near(child)

    def _violation(self, metrics: Mapping[str, float]) -> float:
        excess = 0.0
        for name, limit in self._constraints.items():
            if name not in metrics:
                raise bad_value("Nsga2: constraint", name, one_of(metrics))
            excess += max(0.0, metrics[name] - limit) / (abs(limit) or 1.0)
        return excess

    def _parent(self) -> Genotype:
        """The winner of a tournament of two."""
        return self._population[int(self.random.integers(len(self._population), size=2).min())].genotype

    def _cross(self, one: Genotype, other: Genotype) -> Genotype:
        """Each axis from one or the other parent; where only one of them has it, from that one."""
        actives = np.array([self.space.active(one), self.space.active(other)])
        from_other = np.where(actives[0] == actives[1], self.random.random(len(one)) < 0.5, actives[1])
        drawn = self.space.random(self.random)
        genes = np.where(actives.any(axis=0), np.where(from_other, other, one), drawn)
        return self.space.canonical(tuple(map(int, genes)))

    def _mutate(self, genotype: Genotype) -> Genotype:
        free = self.space.free(genotype)
        rate = self._mutation_rate if self._mutation_rate is not None else 1 / max(len(free), 1)
        for _ in range(int(self.random.binomial(len(free), rate))):
            genotype = self.space.mutate(genotype, self.random)
        return genotype

    def _near(self, child: Genotype) -> Genotype:
        """Something near the child that can be suggested; if there is nothing the base refuses it, and asks again."""
        mutant = child
        for _ in range(ROUNDS):
            origin = mutant
            for _ in range(MUTANTS):
                if self.usable(mutant):
                    return mutant
                mutant = self.space.mutate(origin, self.random)
        return mutant


def _order(points: Array, violations: list[float]) -> NDArray[np.int64]:
    """Indices from best to worst: by front, within a front the loneliest first."""
    ranks = non_dominated_sort(points, violations)
    crowding = np.zeros(len(points))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        crowding[ranks == rank] = crowding_distance(points[ranks == rank])
    return np.lexsort((-crowding, ranks))
