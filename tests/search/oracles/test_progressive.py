"""Progressive search: what it grows from what, in which order."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from core.errors import UsageError
from search.oracles.progressive import Progressive
from search.tabular import nasbench201
from tests.search.oracles.runs import assert_not_worse_on_nasbench201, axes, made, quiet, run


def score(values: dict[str, Any]) -> dict[str, float]:
    return {"score": float(sum(values.values()))}


def complexities(asked: list[dict[str, Any]], unset: int = 0) -> list[int]:
    return [sum(value != unset for value in values.values()) for values in asked]


def test_it_begins_with_nothing_set_and_grows_axis_by_axis():
    """Half of 80 trials in four levels of ten; but only twelve configurations have one axis set."""
    grown = complexities(run(made(Progressive, axes(4, 4), 80), score))[:41]
    assert grown[0] == 0
    assert grown == sorted(grown)
    assert Counter(grown) == {0: 1, 1: 10, 2: 10, 3: 10, 4: 10}


def test_each_trial_of_a_level_grew_from_one_of_the_level_before():
    asked = run(made(Progressive, axes(4, 4), 80), score)[:41]
    for parent_level in range(4):
        parents = [values for values in asked if complexities([values]) == [parent_level]]
        for child in (values for values in asked if complexities([values]) == [parent_level + 1]):
            assert any(sum(child[name] != parent[name] for name in child) == 1 for parent in parents)


def test_only_the_best_of_a_level_are_grown():
    asked = run(made(Progressive, axes(4, 4), 80, beam_size=1), score)[:5]
    assert complexities(asked) == [0, 1, 2, 3, 4]
    for simple, grown in itertools.pairwise(asked):
        assert sum(simple[name] != grown[name] for name in simple) == 1


def test_the_surrogate_learns_which_values_to_set():
    """Values 0..3 add up: what it ranks first is better than what it draws."""
    levels = run(made(Progressive, axes(6, 4), 120), score)
    last = [sum(values.values()) for values in levels if complexities([values]) == [6]][:10]
    assert np.mean(last) > 6 * 2 + 2  # random values of set axes are 2 in the mean, with a deviation of 2 for six axes


def test_another_value_can_stand_for_unset():
    oracle = made(Progressive, axes(3, 3), 60, unset={"edge0": 2, "edge1": 2, "edge2": 2})
    asked = run(oracle, score)
    assert asked[0] == {"edge0": 2, "edge1": 2, "edge2": 2}
    assert complexities(asked[:7], unset=2) == [0, *[1] * 6]
    assert len(asked) == 27, "the whole space in the end"


def test_an_unset_value_that_does_not_exist_is_named():
    oracle = made(Progressive, axes(3, 3), 60, unset={"edge0": 9})
    with pytest.raises(UsageError, match="hyperparameter edge0: 9 is not legal; expected one of 0, 1, 2"):
        oracle.create_trial("tuner")


def test_a_small_budget_sets_several_axes_at_once():
    """Twenty axes in thirty trials: three levels, the last one complete."""
    grown = complexities(run(made(Progressive, axes(20, 3), 30), score))
    assert sorted(set(grown[:16])) == [0, 7, 14, 20]


def test_what_a_growth_step_activates_is_unset():
    parameters = keras_tuner.HyperParameters()
    parameters.Choice("depth", [1, 2, 3], ordered=True)
    with parameters.conditional_scope("depth", [2, 3]):
        parameters.Choice("second", ["none", "conv", "pool"])
    oracle = Progressive(keras_tuner.Objective("score", "max"), 40, parameters, seed=0)
    asked = run(oracle, lambda values: {"score": float(values["depth"])})
    assert asked[0] == {"depth": 1}
    assert sorted(map(str, asked[1:3])) == sorted(
        map(str, ({"depth": 2, "second": "none"}, {"depth": 3, "second": "none"}))
    )
    assert len(asked) == 7


def test_it_grows_past_levels_without_anything_feasible():
    """Only configurations with at least three axes set may be tried."""

    class Complex:
        def feasible(self, values: dict[str, Any]) -> bool:
            return complexities([values])[0] >= 3

    asked = run(made(Progressive, axes(4, 3), 60, cost_model=Complex()), score)
    assert set(complexities(asked)) == {3, 4}
    assert len(asked) == 4 * 2**3 + 2**4


def test_after_the_last_level_nothing_is_suggested_that_is_the_same():
    """Half of 40 trials are in levels; the order of the values does not matter, which leaves 126 of 1024 points."""

    def identity(values: dict[str, Any]) -> tuple[int, ...]:
        return tuple(sorted(values.values()))

    asked = run(made(Progressive, axes(5, 4), 40, identity=identity), score)
    assert len(asked) == len({identity(values) for values in asked}) == 40


def test_it_grows_although_everything_fails():
    asked = run(made(Progressive, axes(4, 4), 80), lambda values: None)
    assert max(complexities(asked)) == 4
    assert len(asked) == 80


def test_levels_go_on_while_results_are_outstanding():
    """A worker never waits: with nothing finished yet the whole budget is suggested."""
    oracle = quiet(made(Progressive, axes(4, 4), 60))
    statuses = [oracle.create_trial(f"tuner-{number}").status for number in range(60)]
    assert statuses == ["RUNNING"] * 60


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="Progressive: beam_size: 0"):
        made(Progressive, axes(2, 2), 4, beam_size=0)


@pytest.mark.slow
def test_it_is_not_worse_than_random_search_on_nasbench201(shared: Path):
    assert_not_worse_on_nasbench201(Progressive, nasbench201.read(shared / "nasbench201_cifar10.npz"))
