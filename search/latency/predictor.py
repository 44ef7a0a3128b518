"""A latency predictor learned from networks measured whole, where a target tells nothing about their parts.

A network's latency is taken as a constant and a sum over its items (operators, blocks, a cell's edges; see
search.latency.features) of unknown functions, each a Gaussian process, and noise: the latency table that the whole
networks imply, with the uncertainty that they leave. How much each bag of items matters is learned by maximum
likelihood (variance components). numpy only, about a second at 300 networks.

Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5 (http://gaussianprocess.org/gpml);
Zhou, Hu, Zhou & Lange 2019, MM Algorithms for Variance Components Models (arXiv:1509.07426).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import bad_value
from search.arch import ArchSpec
from search.latency.features import EQUAL, LINEAR, Array, Bag, Features, arch_features
from search.latency.table import NORMAL_95, LatencyPrediction

FEWEST_NETWORKS = 3
STEPS = 100  # of the likelihood's maximization
START_NOISE = 0.1  # of the latencies' variance
CONSTANT = 10.0  # prior variance of the constant, over the latencies' variance: it may be anywhere
LEAST = 1e-7  # variance of a bag or the noise, over the latencies': keeps the covariance well conditioned
REPEATABLE = 0.001  # the least relative standard deviation of a prediction: no latency repeats better
ROUNDING = 1e-9  # relative differences below this are rounding errors
COVERAGE = 0.95  # of the interval


@dataclass(frozen=True)
class Predictions:
    """Predicted latencies in microseconds and their 95 % intervals, an entry for each network."""

    latency_us: Array
    low_us: Array
    high_us: Array


@dataclass(frozen=True)
class LatencyPredictor:
    """A fitted predictor; `fit` makes one.

    Attributes:
      features: of the measured networks.
      variances: of each bag (over the mean of its kernel's diagonal, `scales`) and of the noise, over the latencies'.
      mean_us, spread_us: mean and standard deviation of the measured latencies.
      inverse: of the covariance of the measured latencies [n, n], in units of their variance.
      alpha: `inverse` times the measured latencies [n], mean 0 and standard deviation 1.
      reach: half of an interval, in standard deviations.
    """

    features: Features
    scales: Array
    variances: Array
    mean_us: float
    spread_us: float
    inverse: Array
    alpha: Array
    reach: float

    @staticmethod
    def fit(features: Features, latencies_us: Sequence[float] | Array) -> LatencyPredictor:
        """Learns from networks and their measured latencies, [n] in microseconds.

        Raises UsageError if there are fewer than FEWEST_NETWORKS or a latency is not a positive number.
        """
        latencies = np.asarray(latencies_us, dtype=np.float64)
        if latencies.shape != (len(features),) or len(features) < FEWEST_NETWORKS:
            legal = f"{FEWEST_NETWORKS} or more, one for each of the {len(features)} networks"
            raise bad_value("latency predictor: number of latencies", latencies.shape, legal)
        if not (np.isfinite(latencies).all() and (latencies > 0).all()):
            raise bad_value("latency predictor: lowest latency", float(latencies.min()), "numbers above 0 us")
        mean, spread = float(latencies.mean()), float(latencies.std()) or 1.0
        targets = (latencies - mean) / spread
        kernels = [_kernel(bag, bag) for bag in features.bags]
        scales = np.array([_scale(kernel) for kernel in kernels])
        parts = [kernel / scale for kernel, scale in zip(kernels, scales, strict=True)]
        variances = _fitted([*parts, np.eye(len(targets))], targets)
        inverse = _inverse([*parts, np.eye(len(targets))], variances)
        alpha = inverse @ targets
        return LatencyPredictor(features, scales, variances, mean, spread, inverse, alpha, _reach(inverse, alpha))

    def predict(self, features: Features) -> Predictions:
        """The latencies of networks described in the same way. Raises UsageError if they are described otherwise."""
        known = [(bag.name, bag.likeness) for bag in self.features.bags]
        given = [(bag.name, bag.likeness) for bag in features.bags]
        if given != known:
            raise bad_value("latency predictor: features", given, f"{known}")
        covariance = np.full((len(features), len(self.features)), CONSTANT)
        variance = np.full(len(features), CONSTANT + self.variances[-1])
        weights = self.variances[:-1] / self.scales
        for bag, fitted, weight in zip(features.bags, self.features.bags, weights, strict=True):
            covariance += weight * _kernel(bag, fitted)
            variance += weight * _own(bag)
        variance -= np.einsum("ij,ij->i", covariance @ self.inverse, covariance)
        latency = self.mean_us + self.spread_us * (covariance @ self.alpha)
        deviation = np.hypot(self.spread_us * np.sqrt(np.maximum(variance, 0)), REPEATABLE * latency)
        half = self.reach * deviation
        return Predictions(latency, np.maximum(latency - half, 0), latency + half)

    def predict_arch(self, arch: ArchSpec) -> LatencyPrediction:
        """The latency of one network, for a predictor of `arch_features`. Raises CandidateError."""
        found = self.predict(arch_features([arch]))
        return LatencyPrediction(float(found.latency_us[0]), float(found.low_us[0]), float(found.high_us[0]))


def _kernel(rows: Bag, columns: Bag) -> Array:
    """The covariance of the sums over the items of two lots of networks [rows, columns]."""
    return np.asarray(rows.counts @ _likeness(rows, columns) @ columns.counts.T, dtype=np.float64)


def _scale(kernel: Array) -> float:
    """How far the networks of a kernel are apart; infinite for a bag that is the same in all, which tells nothing."""
    own = float(np.mean(np.diag(kernel)))
    apart = own - float(kernel.mean())
    return apart if apart > ROUNDING * own else np.inf


def _own(bag: Bag) -> Array:
    """The diagonal of `_kernel(bag, bag)`."""
    return np.asarray(np.einsum("ij,ij->i", bag.counts @ _likeness(bag, bag), bag.counts), dtype=np.float64)


def _likeness(rows: Bag, columns: Bag) -> Array:
    """The covariance of the function's values at the items."""
    x, y = rows.items, columns.items
    if rows.likeness == LINEAR:
        return x @ y.T
    if rows.likeness == EQUAL:
        return (x[:, None] == y[None]).all(axis=2).astype(np.float64)
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    return np.asarray(np.exp(-np.maximum(squares, 0) / 2), dtype=np.float64)


def _fitted(parts: Sequence[Array], targets: Array) -> Array:
    """The variances of the parts (the last one is the noise) with the largest likelihood.

    Each step of the MM algorithm multiplies a variance by the square root of the ratio of the two halves of the
    likelihood's gradient in it; the likelihood never falls.
    """
    variances = np.full(len(parts), 1 / len(parts))
    variances[-1] = START_NOISE
    for _ in range(STEPS):
        inverse = _inverse(parts, variances)
        alpha = inverse @ targets
        explained = np.array([alpha @ part @ alpha for part in parts])
        expected = np.array([np.sum(inverse * part) for part in parts])
        ratio = np.divide(explained, expected, out=np.zeros_like(expected), where=expected > 0)
        variances = np.maximum(variances * np.sqrt(np.maximum(ratio, 0)), LEAST)
    return variances


def _inverse(parts: Sequence[Array], variances: Array) -> Array:
    covariance = sum(
        (variance * part for variance, part in zip(variances, parts, strict=True)), start=np.array(CONSTANT)
    )
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64)


def _reach(inverse: Array, alpha: Array) -> float:
    """How many standard deviations an interval reaches: as far as the normal distribution's, or further.

    COVERAGE of the measured networks are within, each predicted from the others.
    """
    return max(NORMAL_95, float(np.quantile(np.abs(alpha) / np.sqrt(np.diag(inverse)), COVERAGE)))
