"""Bayesian optimization for architectures: few evaluations, a surrogate model in place of the others.

After BANANAS (White et al. 2021, https://arxiv.org/abs/1910.11858), which mutates the best architectures for candidates
and takes what an acquisition function prefers, with a Gaussian process in place of its ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import keras_tuner
import numpy as np

from core.checks import in_choices
from search.oracles.base import GenotypeOracle
from search.oracles.encoding import Array, Encode, Encoder
from search.oracles.gaussian_process import GaussianProcess, Surrogate
from search.settings import SearchConfig
from search.space import Genotype

ACQUISITIONS = ("ei", "thompson")


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle that begins with ten random trials, in small budgets with a third of them."""
    return SurrogateBayes.for_search(
        config,
        hyperparameters,
        seed,
        initial_points=min(10, max(2, config.max_trials // 3)),
    )


class SurrogateBayes(GenotypeOracle):
    """Suggests the candidate with the largest acquisition among mutations of the best trials and random ones.

    The surrogate sees ranks (as normal scores), not scores: the few that matter are far apart, and neither a failed
    trial nor a penalty distorts them. An outstanding trial counts with its predicted value until it is finished.

    Args:
      encode: see search.oracles.encoding.Encoder.
      surrogate: makes the model of an encoder's features; a Gaussian process unless given.
      acquisition: "ei" (expected improvement) or "thompson" (an independent draw for each candidate).
      initial_points: random trials at the start.
      parents: how many of the best trials are mutated.
      mutations, random_points: candidates for each suggestion: one-step neighbours of the parents and as many two-step
        ones, at most `mutations` of each; and random ones.
      others: as in GenotypeOracle.
    """

    def __init__(
        self,
        *args: Any,
        encode: Encode | None = None,
        surrogate: Callable[[Encoder], Surrogate] | None = None,
        acquisition: str = "ei",
        initial_points: int = 10,
        parents: int = 10,
        mutations: int = 250,
        random_points: int = 100,
        **others: Any,
    ) -> None:
        super().__init__(*args, **others)
        in_choices("SurrogateBayes: acquisition", acquisition, ACQUISITIONS)
        self._encode, self._make_surrogate = encode, surrogate or _gaussian_process
        self._acquisition, self._initial_points = acquisition, initial_points
        self._parents, self._mutations, self._random_points = parents, mutations, random_points
        self._reset()

    def _reset(self) -> None:
        self._encoder = Encoder(self.space, self._encode) if self.space.axes else Encoder(self.space)
        self._model = self._make_surrogate(self._encoder)
        self._features: list[Array] = []

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        self._features.append(self._encoder.features([genotype])[0])

    def _propose(self) -> Genotype | None:
        if len(self.finished) + len(self.pending) < self._initial_points or not self._best(1):
            return self.sample()
        return self._preferred()

    def _preferred(self) -> Genotype | None:
        """The new candidate with the largest acquisition."""
        pool = self._pool()
        preferred = np.argsort(-self._prefer(pool), kind="stable") if pool else ()
        # Feasibility and identity last: they may cost more than everything else.
        return next((pool[index] for index in preferred if self.usable(pool[index])), None) or self.sample()

    def _prefer(self, pool: list[Genotype]) -> Array:
        """The acquisition of each candidate."""
        targets = normal_scores([trial.score for trial in self.finished])
        known = np.array(self._features)
        self._model.fit(known, targets)
        best = float(targets.max())
        if self.pending:
            waiting = self._encoder.features(list(self.pending.values()))
            expected, _ = self._model.predict(waiting)
            self._model.fit(np.concatenate([known, waiting]), np.concatenate([targets, expected]))
        mean, deviation = self._model.predict(self._encoder.features(pool))
        if self._acquisition == "thompson":
            return mean + deviation * self.random.standard_normal(len(pool))
        return expected_improvement(mean, deviation, best)

    def _pool(self) -> list[Genotype]:
        """New candidates, each once, in an order that only the random state decides."""
        near = [neighbour for parent in self._best(self._parents) for neighbour in self.space.neighbours(parent)]
        near = self._some(list(dict.fromkeys(near)))
        far = [self.space.mutate(genotype, self.random) for genotype in self._some(near)[: self._mutations // 2]]
        anywhere = [self.space.random(self.random) for _ in range(self._random_points)]
        return [genotype for genotype in dict.fromkeys((*near, *far, *anywhere)) if genotype not in self._seen]

    def _some(self, genotypes: list[Genotype]) -> list[Genotype]:
        """At most `mutations` of them, in random order."""
        order = self.random.permutation(len(genotypes))[: self._mutations]
        return [genotypes[index] for index in order]

    def _best(self, count: int) -> list[Genotype]:
        scored = [(trial.score, trial.genotype) for trial in self.finished if trial.score is not None]
        return [genotype for _, genotype in sorted(scored, key=lambda pair: -pair[0])[:count]]


def normal_scores(scores: Sequence[float | None]) -> Array:
    """Ranks as quantiles of the standard normal distribution; None ranks below all, equals share their mean rank."""
    numbers = np.array([-math.inf if score is None else score for score in scores])
    _, position, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(numbers)
    quantiles = np.array([NormalDist().inv_cdf(float(probability)) for probability in middle])
    return quantiles[position]


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Of a normal variable over `best` (Jones et al. 1998, https://doi.org/10.1023/A:1008306431147)."""
    z = (mean - best) / deviation
    below = 0.5 * (1 + np.array([math.erf(value) for value in z / math.sqrt(2)]))
    return deviation * (z * below + np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))


def _gaussian_process(encoder: Encoder) -> Surrogate:
    return GaussianProcess(encoder.blocks)
