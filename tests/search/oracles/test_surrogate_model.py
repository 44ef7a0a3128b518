"""The parts of SurrogateBayes: encoding, Gaussian process, ranks, acquisition."""

from __future__ import annotations

import numpy as np
import pytest

from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.encoding import Encoder
from search.oracles.gaussian_process import MAX_POINTS, GaussianProcess, _loss, _Parameters, _subset
from search.oracles.surrogate import expected_improvement, normal_scores

SPACE = ChoiceSpace(
    (
        Axis("op", ("conv", "skip", "pool")),
        Axis("width", (8, 16, 24, 32, 40), ordered=True),
        Axis("rate", tuple(range(50)), ordered=True),
        Axis("se", (0, 1), conditions=(lambda values: values["op"] == "conv",)),
    )
)


def block_distances(encoder: Encoder, first: tuple[int, ...], second: tuple[int, ...]) -> list[float]:
    rows = encoder.features([first, second])
    return np.bincount(encoder.blocks, weights=(rows[0] - rows[1]) ** 2).tolist()


def test_distances_are_those_documented():
    encoder = Encoder(SPACE)
    assert block_distances(encoder, (0, 0, 0, 0), (1, 0, 0, 0)) == pytest.approx([1, 0, 0, 0.5])
    assert block_distances(encoder, (0, 0, 0, 0), (0, 4, 0, 0)) == pytest.approx([0, 1, 0, 0])
    assert block_distances(encoder, (0, 0, 0, 0), (0, 1, 49, 1)) == pytest.approx([0, 0.5 + 0.5 / 16, 1, 1])


def test_a_users_encoding_is_one_more_block():
    encoder = Encoder(SPACE, lambda values: [values["width"] / 40, 1.0])
    assert list(encoder.blocks[-2:]) == [4, 4]
    assert encoder.features([(0, 4, 0, 0)])[0, -2:].tolist() == [1.0, 1.0]


def problem(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve axes of which two matter."""
    space = ChoiceSpace(tuple(Axis(str(number), ("a", "b", "c")) for number in range(12)))
    random = np.random.default_rng(0)
    genotypes = [space.random(random) for _ in range(count)]
    encoder = Encoder(space)
    targets = np.array([(g[0] == 1) * 2.0 + (g[5] == 2) * 1.0 for g in genotypes])
    return encoder.features(genotypes), (targets - targets.mean()) / targets.std(), encoder.blocks


def test_it_learns_what_matters():
    features, targets, blocks = problem(120)
    model = GaussianProcess(blocks)
    model.fit(features[:80], targets[:80])
    mean, deviation = model.predict(features[80:])
    # Of targets with variance 1; knowing nothing would leave an error of about 1.
    assert np.sqrt(np.mean((mean - targets[80:]) ** 2)) < 0.1
    assert (deviation > 0).all()
    assert set(np.argsort(-model.importance)[:2]) == {0, 5}


def test_it_is_sure_where_it_has_been():
    features, targets, blocks = problem(60)
    model = GaussianProcess(blocks)
    model.fit(features[:50], targets[:50])
    _, known = model.predict(features[:50])
    _, unknown = model.predict(np.ones((1, features.shape[1])) * 3)
    assert known.max() < unknown[0] / 2


def test_the_gradient_is_the_slope_of_the_loss():
    features, targets, blocks = problem(30)
    start = _Parameters.prior(12).vector() + np.linspace(-0.5, 0.5, 13)
    _, gradient = _loss(_Parameters.of(start), features, targets, blocks)
    step = 1e-5
    for index in range(13):
        moved = [start + sign * step * np.eye(13)[index] for sign in (1, -1)]
        up, down = (_loss(_Parameters.of(vector), features, targets, blocks)[0] for vector in moved)
        # A central difference of 1e-5 is exact to about 1e-9 of the third derivative, and to 1e-10 / 1e-5 by rounding.
        assert gradient[index] == pytest.approx((up - down) / (2 * step), abs=1e-4)


def test_many_points_are_thinned_but_not_the_best():
    targets = np.random.default_rng(0).standard_normal(3 * MAX_POINTS)
    chosen = _subset(targets, MAX_POINTS)
    assert len(set(chosen)) == MAX_POINTS
    assert set(np.argsort(-targets)[: MAX_POINTS // 2]) <= set(chosen)
    assert targets.argmin() in chosen


def test_ranks_become_normal_scores():
    scores = normal_scores([0.9, None, 0.5, 0.5, -7.0])
    assert np.argsort(scores, kind="stable").tolist() == [1, 4, 2, 3, 0]
    assert scores[2] == scores[3]
    assert np.allclose(normal_scores([1, 2, 3, 4]), -normal_scores([4, 3, 2, 1]))
    assert normal_scores([5.0, 5.0]).tolist() == [0, 0]


def test_expected_improvement_is_the_mean_of_what_is_above():
    mean, deviation, best = np.array([0.0, -1.0, 2.0]), np.array([1.0, 0.5, 0.1]), 0.3
    draws = mean + deviation * np.random.default_rng(0).standard_normal((400_000, 3))
    sampled = np.maximum(draws - best, 0).mean(axis=0)
    # Standard error of a mean of 400,000 draws with a deviation below 1: 0.0016; four of them.
    assert np.allclose(expected_improvement(mean, deviation, best), sampled, atol=0.0064)
