"""Regularized evolution: tournaments in a population whose oldest member dies.

Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search, https://arxiv.org/abs/1802.01548.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import keras_tuner

from core.checks import in_range
from search.oracles.base import GenotypeOracle
from search.settings import SearchConfig
from search.space import Genotype


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle with the paper's population of 100, but at most a third of the trials, and tournaments of a quarter."""
    population_size = min(100, max(2, config.max_trials // 3))
    return RegularizedEvolution.for_search(
        config,
        hyperparameters,
        seed,
        population_size=population_size,
        sample_size=max(2, population_size // 4),
    )


class RegularizedEvolution(GenotypeOracle):
    """Mutates the best of a random sample of the population; a finished child replaces the oldest member.

    The random start counts outstanding trials, so that any number of workers fills the population once.

    Args:
      population_size, sample_size: the paper's P and S.
      others: as in GenotypeOracle.
    """

    def __init__(self, *args: Any, population_size: int = 100, sample_size: int = 25, **others: Any) -> None:
        in_range("RegularizedEvolution: population_size", population_size, 1, 1_000_000)
        in_range("RegularizedEvolution: sample_size", sample_size, 1, population_size)
        super().__init__(*args, **others)
        self._population_size, self._sample_size = population_size, sample_size
        self._reset()

    def _reset(self) -> None:
        self._population: deque[tuple[float, Genotype]] = deque(maxlen=self._population_size)

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        self._population.append((-math.inf if score is None else score, genotype))

    def _propose(self) -> Genotype | None:
        if len(self.finished) + len(self.pending) < self._population_size or not self._population:
            return self.sample()
        size = min(self._sample_size, len(self._population))
        chosen = self.random.choice(len(self._population), size, replace=False)
        _, parent = max((self._population[index] for index in chosen), key=lambda member: member[0])
        return self.space.mutate(parent, self.random)
