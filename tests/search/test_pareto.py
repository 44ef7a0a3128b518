"""Non-dominated sets and hypervolumes against brute force, and what a trial log says about its front."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import UsageError
from search.pareto import (
    costs,
    crowding_distance,
    domination,
    front,
    front_hypervolume,
    hypervolume,
    non_dominated,
    non_dominated_sort,
)
from search.trials import FAILED, OK, Trial

SIDE = 5  # coordinates 0..SIDE-1: ties and equal points are common
OBJECTIVES = (("val_accuracy", "max"), ("latency_us", "min"))


def clouds(objectives: st.SearchStrategy[int], most: int = 12) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(0, most), objectives)
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=st.integers(0, SIDE - 1).map(float)))


def beats(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(clouds(st.integers(1, 4)))
def test_the_non_dominated_are_those_that_nothing_beats(points):
    expected = [not any(beats(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@given(clouds(st.integers(1, 3)), st.data())
def test_domination_puts_violations_before_objectives(points, data):
    violations = data.draw(st.lists(st.integers(0, 2), min_size=len(points), max_size=len(points)))
    found = domination(points, violations)
    for (i, one), (j, other) in itertools.product(enumerate(points), repeat=2):
        if violations[i] == violations[j]:
            assert found[i, j] == beats(one, other)
        else:
            assert found[i, j] == (violations[i] < violations[j])


@given(clouds(st.integers(1, 3)), st.data())
def test_each_front_is_what_is_left_undominated_by_the_ones_before(points, data):
    violations = np.array(data.draw(st.lists(st.sampled_from([0, 0, 1.5]), min_size=len(points), max_size=len(points))))
    ranks = non_dominated_sort(points, violations)
    rest = np.arange(len(points))
    for rank in range(len(points) + 1):
        dominated = domination(points[rest], violations[rest]).any(axis=0)
        assert set(rest[~dominated]) == set(np.flatnonzero(ranks == rank))
        rest = rest[dominated]
    assert not len(rest)


def test_crowding_is_the_size_of_the_box_between_the_neighbours():
    points = [(0, 10), (1, 6), (4, 2), (10, 0)]
    distance = crowding_distance(points)
    assert distance[[0, 3]].tolist() == [np.inf, np.inf]
    assert distance[1:3] == pytest.approx([4 / 10 + 8 / 10, 9 / 10 + 6 / 10])


def test_crowding_of_equal_points_is_finite_but_for_the_ends():
    assert not np.isnan(crowding_distance(np.ones((5, 2)))).any()


@given(clouds(st.integers(1, 4), most=8))
def test_the_hypervolume_is_the_number_of_dominated_unit_cells(points):
    dimensions = points.shape[1]
    cells = itertools.product(range(SIDE), repeat=dimensions)
    expected = sum(any((point <= cell).all() for point in points) for cell in cells)
    assert hypervolume(points, [SIDE] * dimensions) == expected  # sums of products of small integers are exact


@given(clouds(st.integers(2, 4)))
def test_the_order_of_points_and_objectives_does_not_matter(points):
    reference = np.arange(points.shape[1]) + 3.0
    expected = hypervolume(points, reference)
    assert hypervolume(points[::-1, ::-1], reference[::-1]) == expected


def test_points_on_the_reference_or_beyond_add_nothing():
    assert hypervolume([(1, 1), (0, 3), (4, -5)], (3, 3)) == 4.0
    assert hypervolume([(3, 3)], (3, 3)) == 0.0
    assert hypervolume([], (3, 3)) == 0.0


def test_a_front_of_a_hundred_in_three_objectives_has_a_plausible_volume():
    """Points on an eighth of the unit sphere: the volume that they leave undominated is the ball's eighth and more."""
    random = np.random.default_rng(0)
    points = np.abs(random.standard_normal((100, 3)))
    points = 1 - points / np.linalg.norm(points, axis=1, keepdims=True)
    draws = random.random((20_000, 3))
    share = np.mean([(points <= draw).all(axis=1).any() for draw in draws])
    # A share of 0.4 or so from 20,000 draws has a standard deviation of 0.0035; this is four of them.
    assert hypervolume(points, (1, 1, 1)) == pytest.approx(share, abs=0.014)


def test_a_reference_of_another_dimension_is_refused():
    with pytest.raises(UsageError, match=r"hypervolume: reference: .* expected 2 numbers"):
        hypervolume([(1, 2)], (3, 3, 3))


def test_costs_turn_the_sign_of_what_is_maximized():
    assert costs([{"val_accuracy": 0.9, "latency_us": 50.0}], OBJECTIVES).tolist() == [[-0.9, 50.0]]
    assert costs([], OBJECTIVES).shape == (0, 2)


def test_an_unknown_metric_or_direction_is_named():
    with pytest.raises(UsageError, match=r"objective: 'size' is not legal; expected one of latency_us"):
        costs([{"latency_us": 1.0}], [("size", "min")])
    with pytest.raises(UsageError, match="objective direction: 'up'"):
        costs([], [("size", "up")])


def trial(index: int, accuracy: float, latency_us: float, **changes: object) -> Trial:
    given = {
        "oracle_id": str(index),
        "genotype": (index,),
        "arch": "",
        "arch_id": f"net{index}",
        "epochs": 1,
        "seed": 0,
        "status": OK,
        "score": accuracy,
        "metrics": {"val_accuracy": accuracy, "latency_us": latency_us},
    }
    return Trial(index=index, **(given | changes))


def test_the_front_of_a_log_has_each_network_once_by_its_longest_training():
    log = [
        trial(0, 0.8, 100),
        trial(1, 0.9, 300),
        trial(2, 0.7, 200),  # beaten by the first
        trial(3, 0.95, 50, arch_id="net0", epochs=1),  # the first again, not longer: the first result counts
        trial(4, 0.85, 250),
        trial(5, 0.99, 250, arch_id="net4", epochs=3),  # longer: counts in place of trial 4
        trial(6, 1.0, 1, status=FAILED, metrics={}),
        trial(7, 0.99, 10, status=OK, arch_id="net8"),
        trial(8, 0.0, 0, status=FAILED, metrics={}, arch_id="net8", epochs=3),  # failed when trained longer
    ]
    assert [one.index for one in front(log, OBJECTIVES)] == [5, 0]


def test_the_front_of_nothing_is_empty():
    assert front([], OBJECTIVES) == ()
    assert front_hypervolume([], OBJECTIVES, {"val_accuracy": 0, "latency_us": 1}) == 0.0


def test_the_hypervolume_of_a_log_grows_with_it():
    log = [trial(0, 0.5, 100), trial(1, 0.4, 150), trial(2, 0.75, 200), trial(3, 0.25, 50)]
    reference = {"val_accuracy": 0.25, "latency_us": 300.0}
    course = [front_hypervolume(log[:count], OBJECTIVES, reference) for count in range(5)]
    assert course == [0.0, 50.0, 50.0, 75.0, 75.0]  # 0.25 x 200; 0.5 x 100 and 0.25 x 100 more
