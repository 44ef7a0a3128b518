"""What a sub-network's accuracy will be, learned from a hundred evaluated ones; and which hundred to evaluate.

Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.4) trains a three-layer perceptron on one-hot codes of
16,000 sub-networks. Here there are about a hundred, so the networks' MACs and parameters are told as well, the
perceptrons are smaller and strongly regularized, and several are averaged. No TensorFlow here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.neural_network import MLPRegressor  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from core.checks import in_range
from core.errors import CandidateError, bad_value
from search.arch import ArchSpec
from search.cost import cost
from search.sampling import random_genotype
from search.space import Genotype, SearchSpace
from search.supernet.genotypes import largest_genotype, smallest_genotype

Array = NDArray[np.float64]

MEMBERS = 5  # perceptrons whose answers are averaged
HIDDEN = (64, 64)
PENALTY = 1.0  # on squared weights, for standardized features: of few networks much is noise
ITERATIONS = 100  # more take longer and predict no better
FOLDS = 5  # of the cross-validation
FEWEST = 2 * FOLDS  # networks that a predictor is trained on
DRAWS_PER_NETWORK = 10


@dataclass(frozen=True, slots=True)
class PredictorQuality:
    """How well accuracies are predicted of networks that were not trained on (cross-validation).

    Attributes:
      networks: how many were evaluated in all.
      spearman: rank correlation of predicted and evaluated accuracy; 0 if one of them is the same everywhere.
      rmse: root of the mean squared error, in the unit of the accuracy (0..1).
    """

    networks: int
    spearman: float
    rmse: float


class AccuracyPredictor:
    """Accuracies of genotypes of one space. What it learns depends on the seed and the data alone."""

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        self._space, self._seed = space, seed
        self._fitted: tuple[ArchEncoder, _Ensemble] | None = None

    def fit(self, genotypes: Sequence[Genotype], accuracies: Sequence[float]) -> PredictorQuality:
        """Learns from evaluated networks; tells how well it predicts others.

        Raises UsageError for fewer than FEWEST networks, or another number of accuracies.
        """
        if len(genotypes) < FEWEST or len(accuracies) != len(genotypes):
            found = f"{len(genotypes)} networks, {len(accuracies)} accuracies"
            raise bad_value("accuracy predictor", found, f"at least {FEWEST} networks with an accuracy each")
        archs = [self._space.decode(genotype) for genotype in genotypes]
        encoder, targets = ArchEncoder(archs), np.asarray(accuracies, dtype=float)
        features = encoder.features(archs)
        self._fitted = encoder, _Ensemble(features, targets, self._seed)
        return _cross_validated(features, targets, self._seed)

    def predict(self, genotypes: Sequence[Genotype]) -> Array:
        """Predicted accuracies (0..1) [n], after `fit`."""
        if self._fitted is None:
            raise ValueError("predict comes after fit")
        encoder, ensemble = self._fitted
        return ensemble.predict(encoder.features([self._space.decode(genotype) for genotype in genotypes]))


class ArchEncoder:
    """Networks as numbers: which of the values that occur at a place it has (one-hot), and what it costs.

    The *network* is encoded, not the genotype: what is inactive is not there, so genotypes of one network are alike.
    The places are those of the networks that the encoder is made from, where these differ.
    """

    def __init__(self, archs: Sequence[ArchSpec]) -> None:
        holders: dict[tuple[str, Any], list[int]] = {}
        for number, arch in enumerate(archs):
            for leaf in _leaves(arch, ""):
                holders.setdefault(leaf, []).append(number)
        # Values that the same networks have (the blocks of a stage are often alike) share a column.
        apart = {tuple(numbers): leaf for leaf, numbers in holders.items() if len(numbers) < len(archs)}
        self._columns = {leaf: number for number, leaf in enumerate(apart.values())}

    def features(self, archs: Sequence[ArchSpec]) -> Array:
        """[n, columns]; the last two are log10 of MACs and of parameters."""
        result = np.zeros((len(archs), len(self._columns) + 2))
        for row, arch in zip(result, archs, strict=True):
            row[[self._columns[leaf] for leaf in _leaves(arch, "") if leaf in self._columns]] = 1.0
            computed = cost(arch)
            row[-2:] = math.log10(computed.macs), math.log10(computed.params)
        return result


def spread_genotypes(
    space: SearchSpace, count: int, value: Callable[[ArchSpec], float], *, seed: int
) -> list[Genotype]:
    """Up to `count` different networks (fewer if the space has fewer), whose `value` is spread evenly on a log scale.

    Genotypes drawn uniformly crowd around the middle of every cost; a predictor that is to serve a tight budget and a
    wide one must have seen both ends. So each draw leans with a random weight towards the smallest or the largest
    network. `value` is above 0: MACs, a latency; networks for which it raises CandidateError are passed over.
    """
    in_range("spread: count", count, 1, 1_000_000)
    rng = random.Random(seed)
    pool: dict[str, tuple[float, Genotype]] = {}
    for _ in range(DRAWS_PER_NETWORK * count):
        genotype = _leaning(space, rng)
        identity = space.identity(genotype)
        if identity not in pool:
            with contextlib.suppress(CandidateError):
                pool[identity] = math.log(value(space.decode(genotype))), genotype
    ranked = sorted(pool.values())
    targets = np.linspace(ranked[0][0], ranked[-1][0], count) if ranked else ()
    chosen = []
    for target in targets[: len(ranked)]:
        nearest = min(range(len(ranked)), key=lambda i: abs(ranked[i][0] - target))
        chosen.append(ranked.pop(nearest)[1])
    return chosen


def _leaning(space: SearchSpace, rng: random.Random) -> Genotype:
    """A random genotype that has a random share of its genes from the smallest or the largest network."""
    lean = rng.uniform(-1, 1)
    extreme = largest_genotype(space) if lean > 0 else smallest_genotype(space)
    drawn = random_genotype(space, rng)
    return tuple(end if rng.random() < abs(lean) else own for end, own in zip(extreme, drawn, strict=True))


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The values of a network with their places."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            yield from _leaves(getattr(node, field.name), f"{place}/{field.name}")
    elif isinstance(node, tuple):
        for index, item in enumerate(node):
            yield from _leaves(item, f"{place}/{index}")
    else:
        yield place, node


class _Ensemble:
    """Perceptrons that differ in their initial weights; features and targets are standardized."""

    def __init__(self, features: Array, targets: Array, seed: int) -> None:
        self._shift, self._scale = features.mean(axis=0), features.std(axis=0)
        self._scale[self._scale == 0] = 1.0
        self._mean, self._deviation = float(targets.mean()), float(targets.std()) or 1.0
        self._members = [
            MLPRegressor(
                hidden_layer_sizes=HIDDEN,
                solver="lbfgs",  # for few examples better than Adam, and it needs no learning rate
                alpha=PENALTY,
                max_iter=ITERATIONS,
                random_state=(seed + member) % 2**32,
            )
            for member in range(MEMBERS)
        ]
        # On matrices so small a second BLAS thread costs more than it computes: five times as much on a busy machine.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the penalty, not the end of the descent, is decisive
            for member in self._members:
                member.fit(self._standardized(features), (targets - self._mean) / self._deviation)

    def predict(self, features: Array) -> Array:
        answers = [member.predict(self._standardized(features)) for member in self._members]
        return self._mean + self._deviation * np.mean(answers, axis=0)

    def _standardized(self, features: Array) -> Array:
        return (features - self._shift) / self._scale


def _cross_validated(features: Array, targets: Array, seed: int) -> PredictorQuality:
    """Each network predicted by an ensemble that has not seen it."""
    count = len(targets)
    predicted = np.zeros(count)
    for fold in np.array_split(np.random.default_rng(seed).permutation(count), FOLDS):
        others = np.setdiff1d(np.arange(count), fold)
        predicted[fold] = _Ensemble(features[others], targets[others], seed).predict(features[fold])
    constant = np.ptp(predicted) == 0 or np.ptp(targets) == 0
    rank = 0.0 if constant else float(spearmanr(predicted, targets).statistic)
    return PredictorQuality(count, rank, float(np.sqrt(np.mean((predicted - targets) ** 2))))
