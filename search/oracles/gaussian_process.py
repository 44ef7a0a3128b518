"""A Gaussian process that learns how much each hyperparameter matters. numpy only, milliseconds at 1,000 points.

Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5 (http://gaussianprocess.org/gpml).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search.oracles.encoding import Array

MAX_POINTS = 300  # points the posterior rests on
FIT_POINTS = 200  # points the kernel's parameters are fitted to
FIRST_STEPS, LATER_STEPS = 30, 10  # of the fit
REFIT_GROWTH = 1.1  # the parameters are fitted again when the data have grown by this factor
PRIOR_DISTANCE, PRIOR_NOISE, PRIOR_SPREAD = 1.4, 0.05, 1.5  # see `_Parameters`
JITTER = 1e-6


class Surrogate(Protocol):
    """A regression model with uncertainty, as SurrogateBayes needs it."""

    def fit(self, features: Array, targets: Array) -> None:
        """Learns from rows of features and their targets (about standard normal), all of them each time."""

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation for each row."""


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Logarithms: the weight of each block of features, and the noise's variance over the signal's.

    Their prior is normal with a standard deviation of `PRIOR_SPREAD`: a noise of `PRIOR_NOISE`, and weights that give
    two points which differ in every block a distance of `PRIOR_DISTANCE`.
    """

    weights: Array
    noise: float

    @staticmethod
    def prior(blocks: int) -> _Parameters:
        """The mean of the prior."""
        return _Parameters(np.full(blocks, np.log(PRIOR_DISTANCE / max(blocks, 1))), float(np.log(PRIOR_NOISE)))

    def vector(self) -> Array:
        """All in one row, for the optimizer."""
        return np.append(self.weights, self.noise)

    @staticmethod
    def of(vector: Array) -> _Parameters:
        """The parameters that `vector` gives."""
        return _Parameters(vector[:-1], float(vector[-1]))


class GaussianProcess:
    """Covariance exp(-sum over blocks of weight * squared distance), parameters by maximum posterior density.

    Args:
      blocks: for each column of the features the block it belongs to, 0.. (Encoder.blocks).
    """

    def __init__(self, blocks: NDArray[np.int64]) -> None:
        self._blocks = blocks
        self._count = int(blocks.max()) + 1 if len(blocks) else 0
        self._parameters = _Parameters.prior(self._count)
        self._fitted_at = 0
        self._scaled: Array = np.zeros((0, len(blocks)))
        self._inverse: Array = np.zeros((0, 0))
        self._alpha: Array = np.zeros(0)
        self._variance = 1.0
        self._chosen = np.zeros(0, dtype=np.int64)
        self._targets: Array = np.zeros(0)

    @property
    def importance(self) -> Array:
        """The weight of each block, larger for hyperparameters that matter more."""
        return np.exp(self._parameters.weights)

    def fit(self, features: Array, targets: Array) -> None:
        """Learns from all points; of more than `MAX_POINTS` half are the best ones, half a sample of the others."""
        if len(targets) >= max(self._fitted_at * REFIT_GROWTH, self._fitted_at + 5):
            chosen = _subset(targets, FIT_POINTS)
            steps = LATER_STEPS if self._fitted_at else FIRST_STEPS
            self._parameters = _fitted(self._parameters, features[chosen], targets[chosen], self._blocks, steps)
            self._fitted_at = len(targets)
        chosen = _subset(targets, MAX_POINTS)
        self._scaled, targets = self._scale(features[chosen]), targets[chosen]
        covariance: Array = _covariance(self._scaled, self._scaled)
        covariance[np.diag_indices_from(covariance)] += np.exp(self._parameters.noise) + JITTER
        self._inverse = np.asarray(np.linalg.inv(covariance), dtype=float)
        self._alpha = self._inverse @ targets
        self._chosen, self._targets = chosen, targets
        self._variance = max(float(targets @ self._alpha) / max(len(targets), 1), JITTER)

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (of the noiseless function) for each row."""
        covariance = _covariance(self._scale(features), self._scaled)
        explained = np.einsum("ij,ij->i", covariance @ self._inverse, covariance)
        return covariance @ self._alpha, np.sqrt(self._variance * np.maximum(1 - explained, JITTER))

    def leave_one_out(self) -> tuple[NDArray[np.int64], Array, Array]:
        """The rows the posterior rests on; for each the mean and the standard deviation without it (noise included)."""
        precision = np.diag(self._inverse)
        mean = self._targets - self._alpha / precision
        return self._chosen, mean, np.sqrt(self._variance / precision)

    def _scale(self, features: Array) -> Array:
        return features * np.sqrt(self.importance)[self._blocks]


def _covariance(rows: Array, columns: Array) -> Array:
    squares = (rows**2).sum(axis=1)[:, None] + (columns**2).sum(axis=1)[None] - 2 * rows @ columns.T
    return np.exp(-np.maximum(squares, 0))


def _subset(targets: Array, limit: int) -> NDArray[np.int64]:
    """At most `limit` points: the best of them and an even sample, by rank, of the others; in their own order."""
    if len(targets) <= limit:
        return np.arange(len(targets))
    ranked = np.argsort(-targets, kind="stable")
    best, others = ranked[: limit // 2], ranked[limit // 2 :]
    spread = np.linspace(0, len(others) - 1, limit - len(best)).astype(np.int64)
    return np.sort(np.concatenate([best, others[spread]]))


def _fitted(start: _Parameters, features: Array, targets: Array, blocks: NDArray[np.int64], steps: int) -> _Parameters:
    """Resilient propagation (Riedmiller & Braun 1993): the gradient's signs and a step size for each parameter."""
    prior = _Parameters.prior(len(start.weights)).vector()
    vector = best = start.vector()
    step, last, lowest = np.full(len(vector), 0.3), np.zeros(len(vector)), np.inf
    for _ in range(steps):
        loss, gradient = _loss(_Parameters.of(vector), features, targets, blocks)
        loss += float((((vector - prior) / PRIOR_SPREAD) ** 2).sum()) / 2
        gradient += (vector - prior) / PRIOR_SPREAD**2
        if loss < lowest:
            lowest, best = loss, vector
        agreement = np.sign(gradient * last)
        step = np.clip(step * np.where(agreement > 0, 1.3, np.where(agreement < 0, 0.5, 1.0)), 0.01, 1.0)
        vector, last = vector - step * np.sign(gradient), gradient
    return _Parameters.of(best)


def _loss(parameters: _Parameters, features: Array, targets: Array, blocks: NDArray[np.int64]) -> tuple[float, Array]:
    """Negative log likelihood at the best signal variance, and its gradient in the parameters' logarithms."""
    weights, noise, count = np.exp(parameters.weights), float(np.exp(parameters.noise)), len(targets)
    scaled = features * np.sqrt(weights)[blocks]
    kernel = _covariance(scaled, scaled)
    covariance = kernel + (noise + JITTER) * np.eye(count)
    inverse = np.linalg.inv(covariance)
    alpha = inverse @ targets
    variance = max(float(targets @ alpha) / count, JITTER)
    loss = count * np.log(variance) / 2 + float(np.linalg.slogdet(covariance)[1]) / 2
    slope = inverse - np.outer(alpha, alpha) / variance  # twice the gradient in the covariance
    product = slope * kernel
    # sum_ij product_ij * (x_i - x_j)^2 for each column x, without the matrix of differences
    columns = 2 * (product.sum(axis=1) @ scaled**2 - ((product @ scaled) * scaled).sum(axis=0))
    gradient = -np.bincount(blocks, weights=columns, minlength=len(weights)) / 2
    return float(loss), np.append(gradient, noise * np.trace(slope) / 2)
