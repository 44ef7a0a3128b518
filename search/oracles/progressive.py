"""Progressive search: from the simplest configurations to complex ones, and a surrogate says which to grow.

Liu et al. 2018, Progressive Neural Architecture Search, https://arxiv.org/abs/1712.00559.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import numpy as np

from core.checks import in_range
from search.oracles.base import GenotypeOracle
from search.oracles.choice_space import ChoiceSpace
from search.oracles.encoding import Encode, Encoder
from search.oracles.gaussian_process import GaussianProcess, Surrogate
from search.oracles.surrogate import expected_improvement, normal_scores
from search.settings import SearchConfig
from search.space import Genotype

LEAST_RESULTS = 3  # before the surrogate is asked
REFIT_AFTER = 5  # new results
PER_LEVEL = 10  # trials of the budget, at least: in smaller budgets a level sets several axes at once
CANDIDATES = 400  # drawn at random to be ranked: for a level, and after the last one for each suggestion
KEPT = 25  # best trials around which the search goes on after the last level


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle whose levels take half of the trials; each hyperparameter's default stands for "unset"."""
    return Progressive.for_search(config, hyperparameters, seed)


class Progressive(GenotypeOracle):
    """Level by level: the best trials of a level with one more axis set are the candidates of the next one.

    The complexity of a configuration is the number of its active axes that are set, that is, differ from their unset
    value (no operation on an edge, the smallest depth). The search begins with everything unset. The surrogate ranks
    the candidates of a level, again whenever it has learned from a few more trials; simple configurations are trials as
    any other. After the last level it goes on around the best trials.

    Args:
      unset: name of a hyperparameter -> the value that stands for "unset"; by default the hyperparameter's default.
      beam_size: trials of a level, and how many of them are grown (the paper's K, there 256); None divides half of
        `max_trials` evenly.
      encode, surrogate: as in search.oracles.surrogate.SurrogateBayes.
      others: as in GenotypeOracle.
    """

    def __init__(
        self,
        *args: Any,
        unset: Mapping[str, Any] | None = None,
        beam_size: int | None = None,
        encode: Encode | None = None,
        surrogate: Callable[[Encoder], Surrogate] | None = None,
        **others: Any,
    ) -> None:
        if beam_size is not None:
            in_range("Progressive: beam_size", beam_size, 1, 1_000_000)
        super().__init__(*args, **others)
        self._unset, self._beam_size = dict(unset or {}), beam_size
        self._encode, self._make_surrogate = encode, surrogate or _gaussian_process
        self._reset()

    def _reset(self) -> None:
        self._growing = ChoiceSpace(
            tuple(
                dataclasses.replace(axis, default=axis.index(self._unset.get(axis.name, axis.values[axis.default])))
                for axis in self.space.axes
            )
        )
        self._encoder = Encoder(self.space, self._encode if self.space.axes else None)
        self._model = self._make_surrogate(self._encoder)
        self._fitted_to, self._best = 0, 0.0
        self._level = 0
        self._room = 1  # trials that the level may still have
        self._members: list[Genotype] = []  # the trials of the level
        self._queue = [self._growing.genotype({})]  # the candidates of the level, the best last
        self._ancestors = list(self._queue)

    def complexity(self, genotype: Genotype) -> int:
        """The number of active axes that are set."""
        active = self.space.active(genotype)
        return sum(
            on and index != axis.default for on, index, axis in zip(active, genotype, self._growing.axes, strict=True)
        )

    def _propose(self) -> Genotype | None:
        while self._level <= self._last_level:
            if self._refit():
                self._rank()
            while self._room and self._queue:
                genotype = self._queue.pop()
                if self.usable(genotype):
                    self._room -= 1
                    self._members.append(genotype)
                    return genotype
            self._begin_level()
        return self._near_the_best()

    @property
    def _last_level(self) -> int:
        axes = sum(length > 1 for length in self.space.lengths)
        return axes if self.max_trials is None else min(axes, max(1, self.max_trials // PER_LEVEL))

    def _begin_level(self) -> None:
        # Where nothing was tried, because nothing is feasible, what could not be tried is grown.
        self._level += 1
        parents = sorted(self._members, key=self._place)[-self._beam() :] or self._ancestors
        self._room, self._members = self._beam(), []
        left = self._last_level - self._level + 1
        most = max(map(self.complexity, parents), default=0)
        steps = math.ceil((sum(length > 1 for length in self.space.lengths) - most) / left) if left > 0 else 0
        self._queue = self._grown(parents, steps)
        self._ancestors = self._queue[:KEPT]  # their order is by chance yet
        self._rank()

    def _beam(self) -> int:
        """How many trials a level has; the levels together about half of all."""
        if self._beam_size is not None or self.max_trials is None:
            return self._beam_size or KEPT
        return max(1, self.max_trials // (2 * max(1, self._last_level)))

    def _grown(self, parents: list[Genotype], steps: int) -> list[Genotype]:
        """Different configurations with `steps` more axes set, or as many as there are; at most `CANDIDATES`."""
        if not parents:  # all of the earlier level was beyond the limits
            return []
        chosen = self.random.integers(len(parents), size=CANDIDATES)
        children = [parents[index] for index in chosen]
        for _ in range(steps):
            children = [self._expanded(child) for child in children]
        return list(dict.fromkeys(children))

    def _expanded(self, genotype: Genotype) -> Genotype:
        """The same with one more axis set, at random; what that activates is unset."""
        unset = [index for index in self.space.free(genotype) if genotype[index] == self._growing.axes[index].default]
        if not unset:
            return genotype
        axis = self._growing.axes[unset[int(self.random.integers(len(unset)))]]
        choice = (axis.default + 1 + int(self.random.integers(len(axis.values) - 1))) % len(axis.values)
        return self._growing.genotype(self.space.values(genotype) | {axis.name: axis.values[choice]})

    def _place(self, genotype: Genotype) -> tuple[int, float]:
        """Sorts failed trials first, then those without a result, then the others by score."""
        score = self.scores.get(genotype)
        if score is None:
            return (0 if genotype in self.scores else 1), 0.0
        return 2, score

    def _refit(self) -> bool:
        """Lets the surrogate learn if there are enough new results; whether it did."""
        if len(self.finished) < max(LEAST_RESULTS, self._fitted_to + REFIT_AFTER):
            return False
        self._fitted_to = len(self.finished)
        genotypes = [trial.genotype for trial in self.finished]
        targets = normal_scores([trial.score for trial in self.finished])
        self._best = float(targets.max())
        self._model.fit(self._encoder.features(genotypes), targets)
        return True

    def _rank(self) -> None:
        """Sorts the queue by the surrogate's prediction, the best last."""
        if self._fitted_to and self._queue:
            mean, deviation = self._model.predict(self._encoder.features(self._queue))
            promise = expected_improvement(mean, deviation, self._best)
            self._queue = [self._queue[index] for index in np.argsort(promise, kind="stable")]

    def _near_the_best(self) -> Genotype | None:
        """The most promising of the neighbours of the best trials, neighbours of those, and random configurations."""
        self._refit()
        best = sorted((trial.genotype for trial in self.finished), key=self._place)[-KEPT:] or self._ancestors
        chosen = self.random.integers(len(best), size=CANDIDATES // 4)
        near = [self.space.mutate(best[index], self.random) for index in chosen]
        further = [self.space.mutate(genotype, self.random) for genotype in near]
        anywhere = [self.space.random(self.random) for _ in near]
        self._queue = [one for one in dict.fromkeys((*near, *further, *anywhere)) if one not in self._seen]
        self._rank()
        return next((one for one in reversed(self._queue) if self.usable(one)), None) or self.sample()


def _gaussian_process(encoder: Encoder) -> Surrogate:
    return GaussianProcess(encoder.blocks)
