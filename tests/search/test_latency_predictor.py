"""The latency predictor on planted models and on published measurements of real devices."""

from __future__ import annotations

import random
import statistics

import numpy as np
import pytest

from benchmarks.latency_predictor import Data, cells, compare, fbnet, one_hot_pairs, ridge, spearman
from core.errors import UsageError
from search.arch import ArchSpec
from search.latency.blocks import blocks_of
from search.latency.cells import cell_features
from search.latency.features import EQUAL, LINEAR, SMOOTH, Bag, Features, arch_features, bag_of, operators_of, size_of
from search.latency.predictor import FEWEST_NETWORKS, LatencyPredictor
from search.named import space
from search.sampling import random_genotype

SPACE = space("mobilenet_v2_small", 48, 10)
SEEDS = 3
STEP = 5  # of the published networks every fifth: enough to be seen and to score


def networks(count: int) -> list[ArchSpec]:
    rng = random.Random(0)
    return [SPACE.decode(random_genotype(SPACE, rng)) for _ in range(count)]


def planted_us(arch: ArchSpec) -> float:
    """A target on which each kernel size has a speed of its own and each operator a fixed cost."""
    total = 100.0
    for key in blocks_of(arch, "float32"):
        for operator, count in operators_of(key).items():
            total += count * (2 + (1 + operator.kernel_size / 4) * 30 * size_of(operator))
    return total


def test_a_planted_model_is_learned_with_its_uncertainty():
    archs = networks(260)
    rng = np.random.default_rng(0)
    true = np.array([planted_us(arch) for arch in archs])
    noisy = true * rng.normal(1, 0.03, len(true))
    features = arch_features(archs)
    predictor = LatencyPredictor.fit(features.rows(range(60)), noisy[:60])
    found = predictor.predict(features.rows(range(60, 260)))
    # 3 % noise on 60 networks of which some 20 numbers are learned: about 3 % * sqrt(20 / 60) = 1.7 % of error
    assert float(np.median(np.abs(found.latency_us / true[60:] - 1))) < 0.02
    inside = (found.low_us <= noisy[60:]) & (noisy[60:] <= found.high_us)
    assert 0.9 <= inside.mean() <= 0.99  # 95 % intended; 1.5 % standard deviation from 200 networks, more from the fit


def test_one_network_is_predicted_as_among_others():
    archs = networks(30)
    features = arch_features(archs)
    predictor = LatencyPredictor.fit(features.rows(range(20)), [planted_us(arch) for arch in archs[:20]])
    among = predictor.predict(features.rows([25]))
    alone = predictor.predict_arch(archs[25])
    assert alone.latency_us == pytest.approx(float(among.latency_us[0]))
    assert (alone.low_us, alone.high_us) == pytest.approx((float(among.low_us[0]), float(among.high_us[0])))
    assert alone.low_us < alone.latency_us < alone.high_us


def test_what_no_network_varies_tells_nothing():
    counts = np.array([[1.0, 3.0], [1.0, 5.0], [1.0, 9.0], [1.0, 2.0]])
    fixed = Bag("fixed", counts[:, :1], np.ones((1, 1)), SMOOTH)
    varied = Bag("varied", counts[:, 1:], np.ones((1, 1)), LINEAR)
    predictor = LatencyPredictor.fit(Features((fixed, varied)), 10 + 2 * counts[:, 1])
    one = np.ones((1, 1))
    seven = Features((Bag("fixed", one, one, SMOOTH), Bag("varied", 7 * one, one, LINEAR)))
    assert predictor.predict(seven).latency_us[0] == pytest.approx(24, rel=1e-3)  # the prior pulls by its 1e-7 or so


def test_equal_latencies_are_predicted_as_such():
    predictor = LatencyPredictor.fit(cell_features(np.eye(6, dtype=np.int64)), [5.0] * 6)
    found = predictor.predict(cell_features(np.ones((1, 6), int)))
    assert found.latency_us[0] == pytest.approx(5)


@pytest.mark.parametrize(
    ("latencies", "message"),
    [
        (
            [1.0, 2.0, 3.0],
            r"latencies: \(3,\) is not legal; expected 3 or more, one for each of the 6 networks",
        ),
        ([1.0, 2.0, 0.0, 1.0, 1.0, 1.0], "lowest latency: 0.0 is not legal; expected numbers above 0 us"),
        ([1.0, 2.0, float("nan"), 1.0, 1.0, 1.0], "lowest latency: nan is not legal"),
    ],
)
def test_bad_latencies_are_one_line(latencies, message):
    with pytest.raises(UsageError, match=message):
        LatencyPredictor.fit(cell_features(np.eye(6, dtype=np.int64)), latencies)


def test_bad_features_are_one_line():
    cells_seen = cell_features(np.eye(6, dtype=np.int64))
    with pytest.raises(UsageError, match=r"features: .* is not legal; expected .*operation by edges"):
        LatencyPredictor.fit(cells_seen, np.arange(1.0, 7.0)).predict(arch_features(networks(1)))
    with pytest.raises(UsageError, match="networks in each bag"):
        Features((*cells_seen.bags, bag_of("other", [{1: 1}], lambda item: (1.0,), EQUAL)))
    with pytest.raises(UsageError, match=r"ops of shape: \(2, 5\) is not legal; expected \[cells, 6\]"):
        cell_features(np.zeros((2, 5), int))
    with pytest.raises(UsageError, match=r"ops: \(0, 5\) is not legal; expected indices below 5"):
        cell_features(np.full((2, 6), 5) * np.array([[0], [1]]))
    with pytest.raises(UsageError, match="features: networks: "):
        arch_features([])


def test_fewest_networks_are_enough():
    archs = networks(FEWEST_NETWORKS)
    predictor = LatencyPredictor.fit(arch_features(archs), [planted_us(arch) for arch in archs])
    assert all(predictor.predict_arch(arch).latency_us > 0 for arch in networks(6))


@pytest.fixture(scope="module")
def fbnet_data(shared) -> Data:
    return fbnet(shared, step=STEP)


@pytest.mark.parametrize("device", ["pixel3", "raspi4"])
@pytest.mark.parametrize(
    ("seen", "least_spearman", "least_within"),
    [(100, 0.999, 0.999), (250, 0.999, 0.999)],  # measured over 20 subsets: 1.0000 and 100 % at worst
)
def test_fbnet_latencies_of_real_devices(fbnet_data, device, seen, least_spearman, least_within):
    ours, plain = compare(fbnet_data, device, seen, SEEDS)
    assert min(score.spearman for score in ours) >= least_spearman  # asked: 0.90 with 100 seen, 0.99 with 250
    assert min(score.within for score in ours) >= least_within  # asked: 0.99 with 250
    if seen == 100:  # the operations are no better known than by their one-hot code
        assert statistics.median(score.spearman for score in plain) < 0.8


def test_nasbench201_latencies_of_real_devices(shared):
    data = cells(shared, step=STEP)
    for device in data.latencies_us:
        ours, plain = compare(data, device, 300, SEEDS)
        assert statistics.median(score.spearman for score in ours) >= 0.96  # asked
        assert statistics.median(score.spearman for score in ours) > statistics.median(s.spearman for s in plain)


def test_the_compared_ridge_is_one():
    ops = np.random.default_rng(0).integers(0, 3, (60, 4))
    codes = one_hot_pairs(ops)
    assert codes.shape == (60, 4 * 3 + 6 * 9)
    weights = np.random.default_rng(1).normal(size=codes.shape[1])
    known, others = np.arange(50), np.arange(50, 60)
    predicted = ridge(codes, codes @ weights, known, others, 1e-9)
    centred = codes[known] - codes[known].mean(axis=0)
    primal = np.linalg.solve(centred.T @ centred + 1e-9 * np.eye(codes.shape[1]), centred.T @ (codes[known] @ weights))
    np.testing.assert_allclose(
        predicted, (codes[known] @ weights).mean() + (codes[others] - codes[known].mean(axis=0)) @ primal, atol=1e-3
    )


def test_rank_correlation():
    assert spearman(np.array([1.0, 5.0, 2.0]), np.array([10.0, 70.0, 30.0])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
