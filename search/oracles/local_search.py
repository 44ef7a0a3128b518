"""Local search: walks from neighbour to better neighbour, and starts again elsewhere when there is none.

White et al. 2020, Exploring the Loss Landscape in Neural Architecture Search, https://arxiv.org/abs/2005.02960.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from core.checks import in_range
from search.oracles.base import GenotypeOracle
from search.settings import SearchConfig
from search.space import Genotype


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle that starts from the best of ten random trials, in small budgets of a third of them."""
    return LocalSearch.for_search(
        config,
        hyperparameters,
        seed,
        initial_points=min(10, max(1, config.max_trials // 3)),
    )


class LocalSearch(GenotypeOracle):
    """Moves to the first better neighbour (the paper's query-until-lower); at a local optimum it starts again.

    A start is the best of `initial_points` random trials. The trials of a warm start (`first_values`) count among those
    of the first start, and so do results that are told again when the space has grown. When all neighbours of the
    current point are outstanding, further suggestions belong to the next start, so that no worker waits.

    Args:
      initial_points: random trials at each start.
      others: as in GenotypeOracle.
    """

    def __init__(self, *args: Any, initial_points: int = 10, **others: Any) -> None:
        in_range("LocalSearch: initial_points", initial_points, 1, 1_000_000)
        super().__init__(*args, **others)
        self._initial_points = initial_points
        self._reset()

    def _reset(self) -> None:
        self._starts: dict[Genotype, bool] = {}  # of this start: whether it is finished
        self._current: tuple[Genotype, float] | None = None
        self._queue: list[Genotype] = []

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        if genotype in self._starts or self._current is None:
            self._starts[genotype] = True
        elif self._current is not None and score is not None and score > self._current[1]:
            self._move(genotype, score)

    def _propose(self) -> Genotype | None:
        if self._current is None:  # what is outstanding are starts, a warm start's too
            self._starts = dict.fromkeys(self.pending.values(), False) | self._starts
        while True:
            while self._queue:
                genotype = self._queue.pop()
                if self.usable(genotype):
                    return genotype
            if len(self._starts) < self._initial_points or not all(self._starts.values()):
                break
            self._climb_from_best_start()
        start = self.sample()
        if start is not None:
            self._starts[start] = False
        return start

    def _climb_from_best_start(self) -> None:
        scored = [(self.scores[start], start) for start in self._starts]
        self._starts = {}
        best = max(((score, start) for score, start in scored if score is not None), default=None)
        if best is not None:
            self._move(best[1], best[0])

    def _move(self, genotype: Genotype, score: float) -> None:
        self._current = (genotype, score)
        neighbours = self.space.neighbours(genotype)
        self._queue = [neighbours[index] for index in self.random.permutation(len(neighbours))]
