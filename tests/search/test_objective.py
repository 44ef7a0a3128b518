"""What a search maximizes: the formulas, in which direction they go, and that a failure scores below everything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.objective import FAILED_SCORE, OBJECTIVES, constraint, mnasnet_hard, mnasnet_soft, plain_accuracy, weighted

accuracies = st.floats(0, 1)
costs = st.floats(1e-6, 1e15)  # from a nanosecond to more multiply-accumulates than any network has
names = st.sampled_from(sorted(OBJECTIVES))


def test_formulas_by_hand():
    assert mnasnet_soft(0.8, 100, 100) == 0.8
    assert mnasnet_soft(0.8, 200, 100) == pytest.approx(0.8 * 2**-0.07)
    assert mnasnet_soft(0.8, 50, 100) == pytest.approx(0.8 * 2**0.07)
    # MnasNet chose the exponent so that doubling the latency is worth about 5 % of the accuracy (section 3).
    assert mnasnet_soft(1.0, 200, 100) == pytest.approx(0.95, abs=0.005)
    assert [mnasnet_hard(0.8, cost, 100) for cost in (1, 100, 200, 400)] == [0.8, 0.8, 0.4, 0.2]
    assert [constraint(0.8, cost, 100) for cost in (1, 100, 200, 400)] == [0.8, 0.8, -0.25, -0.375]
    assert [plain_accuracy(0.8, cost, 100) for cost in (1, 100, 200)] == [0.8, 0.8, 0.8]


def test_the_weighted_sum():
    assert [weighted(0.8, cost, 100, 0.1) for cost in (0.0, 100, 400)] == pytest.approx([0.8, 0.7, 0.4])
    assert weighted(0.8, 100, 100, 0.0) == 0.8
    # Below 0 a sum s becomes s / (1 - 2 s): -1 is -1/3. It joins the other half without a step.
    assert weighted(0.0, 1000, 100, 0.1) == pytest.approx(-1 / 3)
    assert weighted(0.5, 500.0001, 100, 0.1) == pytest.approx(0.0, abs=1e-6)


@given(accuracies, accuracies, costs, costs, st.floats(0, 1e6))
def test_the_weighted_score_has_the_order_of_the_sum(first, second, cost, other, weight):
    def total(accuracy, cost):
        return accuracy - weight * cost / 100

    low, high = sorted(((first, cost), (second, other)), key=lambda pair: total(*pair))
    assert -0.5 <= weighted(*low, 100, weight) <= weighted(*high, 100, weight) <= 1


@given(names, accuracies, costs, costs)
def test_a_failure_scores_below_everything(name, accuracy, cost, target):
    score = OBJECTIVES[name](accuracy, cost, target)
    assert math.isfinite(score)
    assert score >= -0.5 > FAILED_SCORE


@given(names, accuracies, accuracies, costs, costs)
def test_more_accuracy_is_never_worse(name, first, second, cost, target):
    low, high = sorted((first, second))
    assert OBJECTIVES[name](low, cost, target) <= OBJECTIVES[name](high, cost, target)


@given(names, accuracies, costs, costs, costs)
def test_more_cost_is_never_better(name, accuracy, first, second, target):
    low, high = sorted((first, second))
    assert OBJECTIVES[name](accuracy, high, target) <= OBJECTIVES[name](accuracy, low, target)


@given(accuracies, accuracies, st.floats(0.01, 1), st.floats(1.01, 1e6))
def test_the_constraint_comes_before_accuracy(first, second, within, beyond):
    """Any network within the target beats any beyond it."""
    assert constraint(first, 100 * within, 100) > constraint(second, 100 * beyond, 100)


@given(names, accuracies, costs, costs, st.sampled_from((0.25, 2.0, 1024.0)))
def test_the_unit_of_cost_does_not_matter(name, accuracy, cost, target, factor):
    """Powers of two scale exactly; only the power function may round once."""
    scaled = OBJECTIVES[name](accuracy, cost * factor, target * factor)
    assert scaled == pytest.approx(OBJECTIVES[name](accuracy, cost, target), rel=1e-15)
