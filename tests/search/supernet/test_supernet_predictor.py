"""The accuracy predictor on planted accuracies, and which networks it is trained on."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import Genotype, SearchSpace
from search.supernet.accuracy_predictor import AccuracyPredictor, ArchEncoder, PredictorQuality, spread_genotypes
from search.supernet.genotypes import largest_genotype, smallest_genotype
from tests.search.supernet.supernet_fakes import TOY, macs, planted_accuracy


@functools.cache
def spread() -> tuple[Genotype, ...]:
    return tuple(spread_genotypes(TOY, 60, macs, seed=1))


@functools.cache
def trained() -> tuple[AccuracyPredictor, PredictorQuality]:
    predictor = AccuracyPredictor(TOY, seed=1)
    return predictor, predictor.fit(spread(), [planted_accuracy(TOY.decode(item)) for item in spread()])


def test_other_networks_are_ranked_as_they_are() -> None:
    predictor, quality = trained()
    others = spread_genotypes(TOY, 40, macs, seed=2)
    true = np.array([planted_accuracy(TOY.decode(genotype)) for genotype in others])
    predicted = predictor.predict(others)
    # The worst of eight seeds had 0.985 and an error of 0.17 deviations, cross-validated 0.974 and 0.19.
    assert spearmanr(predicted, true).statistic > 0.95
    assert np.sqrt(np.mean((predicted - true) ** 2)) < 0.3 * true.std()
    assert quality.networks == 60 and quality.spearman > 0.95
    assert quality.rmse < 0.3 * true.std()


def test_noise_is_not_called_a_good_prediction() -> None:
    noise = np.random.default_rng(1).normal(0.5, 0.1, 60)
    quality = AccuracyPredictor(TOY, seed=1).fit(spread(), noise.tolist())
    # Of 60 pairs without relation the rank correlation deviates by 0.13.
    assert abs(quality.spearman) < 0.45
    assert quality.rmse > 0.08


def test_equal_accuracies_have_no_order() -> None:
    predictor = AccuracyPredictor(TOY, seed=1)
    quality = predictor.fit(spread()[:10], [0.5] * 10)
    assert (quality.networks, quality.spearman) == (10, 0.0)
    # The perceptrons stop where their loss hardly falls any more, 1e-4 or so from the constant.
    assert quality.rmse < 1e-3
    np.testing.assert_allclose(predictor.predict(spread()[:3]), 0.5, atol=1e-3)


def test_the_same_seed_learns_the_same() -> None:
    accuracies = [planted_accuracy(TOY.decode(genotype)) for genotype in spread()[:20]]
    one, two = (AccuracyPredictor(TOY, seed=3) for _ in range(2))
    assert one.fit(spread()[:20], accuracies) == two.fit(spread()[:20], accuracies)
    np.testing.assert_array_equal(one.predict(spread()), two.predict(spread()))


def test_few_networks_and_missing_accuracies_are_refused() -> None:
    predictor = AccuracyPredictor(TOY, seed=1)
    with pytest.raises(UsageError, match=r"9 networks, 9 accuracies.*at least 10"):
        predictor.fit(spread()[:9], [0.5] * 9)
    with pytest.raises(UsageError, match="20 networks, 19 accuracies"):
        predictor.fit(spread()[:20], [0.5] * 19)


def test_genotypes_of_one_network_are_encoded_alike() -> None:
    """The third block's kernel is inactive at depth 2."""
    blocks = tuple(BlockSpec(kernel_size=OneOf((3, 5)), out_channels=16) for _ in range(3))
    toy = SearchSpace("toy", ArchSpec(16, (StageSpec(blocks, OneOf((2, 3))),), 32, resolution=16, num_classes=2))
    archs = [toy.decode(genotype) for genotype in itertools.product((0, 1), repeat=4)]
    assert [gene.path[-5:] for gene in toy.genes] == ["_size", "_size", "_size", "depth"]
    features = ArchEncoder(archs).features(archs)
    assert len(np.unique(features, axis=0)) == 4 + 8  # kernels of two blocks, kernels of three
    np.testing.assert_array_equal(features[0b0000], features[0b0010])
    assert (features[0b0000] != features[0b0001]).any()


def test_networks_for_the_predictor_are_spread_over_the_costs() -> None:
    costs = sorted(macs(TOY.decode(genotype)) for genotype in spread())
    assert len({TOY.identity(genotype) for genotype in spread()}) == len(costs) == 60
    least, most = (macs(TOY.decode(end(TOY))) for end in (smallest_genotype, largest_genotype))
    # Draws that lean towards an end come near it.
    assert costs[0] < 1.2 * least and costs[-1] > most / 1.2
    logs = np.log(costs)
    assert np.diff(logs).max() < 5 * math.log(costs[-1] / costs[0]) / 59  # no gap of five steps


def test_a_small_space_gives_what_it_has() -> None:
    toy = SearchSpace(
        "toy", ArchSpec(OneOf((16, 24)), (StageSpec((BlockSpec(),), 1),), 32, resolution=16, num_classes=2)
    )
    assert sorted(spread_genotypes(toy, 9, macs, seed=1)) == [(0,), (1,)]
