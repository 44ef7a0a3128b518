"""Surrogate models that also know earlier tasks: a weighted prior, and a ranking-weighted ensemble. numpy only.

Both are search.oracles.gaussian_process.Surrogate for SurrogateBayes. Earlier tasks are Gaussian processes that were
fitted once; what they predict is brought to the mean and spread of the running task's targets. A task without weight
leaves no trace: the model is then the running task's Gaussian process alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search.oracles.encoding import Array
from search.oracles.gaussian_process import GaussianProcess
from search.oracles.task_similarity import MIN_POINTS, discordant_pairs, similarity

SAMPLES = 256  # draws of the ranking loss
RANKED_POINTS = 60  # observations that the ranking loss compares: 60 x 60 pairs a draw
DILUTION_PERCENTILE = 95


class TransferSurrogate(Protocol):
    """A Surrogate with earlier tasks."""

    measured: int
    weights: Array

    def weigh(self, features: Array, observed: Array) -> None:
        """Sets `weights`, how much each earlier task counts, 0..1, from observations; leaves the model as it is."""

    def fit(self, features: Array, targets: Array) -> None:
        """As Surrogate; only the first `measured` targets are observations, the others are the model's own guesses."""

    def predict(self, features: Array) -> tuple[Array, Array]:
        """As Surrogate."""


class _PastPredictions:
    """What the earlier tasks predict, remembered for the observations (rows are only ever appended)."""

    def __init__(self, past: Sequence[GaussianProcess]) -> None:
        self.past = tuple(past)
        self._known: list[tuple[Array, Array]] = []
        self._rows = 0

    def observed(self, features: Array, count: int) -> tuple[Array, Array]:
        """Means and deviations [tasks, count] for the first `count` rows."""
        if count > self._rows:
            self._known.append(self.of(features[self._rows : count]))
            self._rows = count
        if not self._known:
            return np.zeros((len(self.past), 0)), np.zeros((len(self.past), 0))
        means, deviations = (np.concatenate(parts, axis=1) for parts in zip(*self._known, strict=True))
        self._known = [(means, deviations)]
        return means[:, :count], deviations[:, :count]

    def of(self, features: Array) -> tuple[Array, Array]:
        """Means and deviations [tasks, rows]."""
        both = [model.predict(features) for model in self.past]
        shape = (len(both), len(features))
        means, deviations = (np.array([pair[index] for pair in both]).reshape(shape) for index in (0, 1))
        return means, deviations


class PriorSurrogate:
    """A Gaussian process whose prior mean is what similar earlier tasks predict, as far as they can be trusted.

    The earlier predictions are averaged with their measured similarities (search.oracles.task_similarity) as weights;
    the average is scaled like the least-squares line through the observations, with its own similarity in place of the
    correlation. The Gaussian process learns what remains.
    """

    def __init__(self, blocks: NDArray[np.int64], past: Sequence[GaussianProcess]) -> None:
        self._rest = GaussianProcess(blocks)
        self._past = _PastPredictions(past)
        self.measured = 0
        self.weights: Array = np.zeros(len(past))
        self._slope, self._offset = 0.0, 0.0

    def weigh(self, features: Array, observed: Array) -> None:
        """Measures the similarities."""
        means, _ = self._past.observed(features, len(observed))
        self.weights = np.array([similarity(mean, observed) for mean in means])
        self._slope = self._offset = 0.0
        if self.weights.any():
            self._scale(self.weights @ means, observed)

    def fit(self, features: Array, targets: Array) -> None:
        """Measures the similarities, then fits the rest."""
        self.weigh(features, targets[: self.measured])
        means, _ = self._past.observed(features, self.measured)
        known, guessed = self._combined(means), self._prior(features[self.measured :])
        self._rest.fit(features, targets - np.concatenate([known, guessed]))

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Prior and rest; the deviation is the rest's."""
        mean, deviation = self._rest.predict(features)
        return mean + self._prior(features), deviation

    def _scale(self, averaged: Array, observed: Array) -> None:
        trust, spread = similarity(averaged, observed), float(averaged.std())
        self._slope = trust * float(observed.std()) / spread if spread > 0 else 0.0
        self._offset = float(observed.mean() - self._slope * averaged.mean()) if self._slope else 0.0

    def _prior(self, features: Array) -> Array:
        if self._slope == 0.0 or not len(features):
            return np.zeros(len(features))
        return self._combined(self._past.of(features)[0])

    def _combined(self, means: Array) -> Array:
        return np.asarray(self._slope * (self.weights @ means) + self._offset)


class RankingEnsemble:
    """RGPE (Feurer et al. 2018, https://arxiv.org/abs/1802.02219): each model weighs as often as it orders the
    observations best.

    The running task's model is judged by its leave-one-out predictions. Draws are independent for each point. An
    earlier task is left out if its median loss is above the 95th percentile of the running one's (section 4.3). Beyond
    the paper, it never weighs more than its measured similarity (search.oracles.task_similarity): on a few points
    leave-one-out predictions are worse than chance, and an unrelated task, or even the opposite one, would win.

    Args:
      seed: of the draws; those of a fit depend on it and on the number of observations alone.
    """

    def __init__(self, blocks: NDArray[np.int64], past: Sequence[GaussianProcess], seed: int) -> None:
        self._blocks, self._own = blocks, GaussianProcess(blocks)
        self._past = _PastPredictions(past)
        self._seed = seed
        self.measured = 0
        self.weights: Array = np.zeros(len(past))
        self._shift: Array = np.zeros((2, len(past)))

    def weigh(self, features: Array, observed: Array) -> None:
        """Compares all models with the observations; the running task's is fitted anew."""
        own = GaussianProcess(self._blocks)
        own.fit(features, observed)
        self._weigh(own, features, observed)

    def fit(self, features: Array, targets: Array) -> None:
        """Fits the running task's model; observations alone weigh the models anew, guesses do not."""
        self._own.fit(features, targets)
        if len(targets) == self.measured:
            self._weigh(self._own, features, targets)

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Weighted means, and the deviation of the weighted sum of independent models."""
        mean, deviation = self._own.predict(features)
        if not self.weights.any():
            return mean, deviation
        own = 1 - self.weights.sum()
        scale, offset = self._shift
        means, deviations = self._past.of(features)
        mean = own * mean + self.weights @ (scale[:, None] * means + offset[:, None])
        variance = (own * deviation) ** 2 + self.weights**2 @ (scale[:, None] * deviations) ** 2
        return mean, np.sqrt(variance)

    def _weigh(self, own: GaussianProcess, features: Array, observed: Array) -> None:
        means, deviations = self._past.observed(features, len(observed))
        if len(observed) < MIN_POINTS or not len(means):
            return
        self.weights = self._ranking_weights(own, means, deviations, observed)
        scale = float(observed.std()) / np.maximum(means.std(axis=1), 1e-6)
        self._shift = np.array([scale, observed.mean() - scale * means.mean(axis=1)])

    def _ranking_weights(self, model: GaussianProcess, means: Array, deviations: Array, targets: Array) -> Array:
        random = np.random.default_rng((self._seed, len(targets)))
        rows, own_mean, own_deviation = model.leave_one_out()
        chosen = np.sort(random.permutation(len(rows))[:RANKED_POINTS])
        points = rows[chosen]

        def losses(mean: Array, deviation: Array) -> Array:
            drawn = mean + deviation * random.standard_normal((SAMPLES, len(mean)))
            return discordant_pairs(drawn, targets[points])

        own = losses(own_mean[chosen], own_deviation[chosen])
        past = np.array([losses(m[points], d[points]) for m, d in zip(means, deviations, strict=True)])
        past[np.median(past, axis=1) > np.percentile(own, DILUTION_PERCENTILE)] = np.inf
        trusted = np.array([similarity(mean, targets) for mean in means])
        past[trusted == 0] = np.inf
        table = np.vstack([own, past])
        # A tie goes to the running task's model.
        best = table.argmin(axis=0)
        return np.minimum(np.bincount(best, minlength=len(table))[1:] / SAMPLES, trusted)
