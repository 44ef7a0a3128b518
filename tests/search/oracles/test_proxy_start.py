"""The warm start by a cheap score."""

from __future__ import annotations

import math

import keras_tuner
import pytest

from core.errors import CandidateError
from search.oracles.axes import as_hyperparameters
from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.cost_model import Budget
from search.oracles.evolution import RegularizedEvolution
from search.oracles.proxy_start import best_first

SPACE = ChoiceSpace((Axis("a", tuple(range(10)), ordered=True), Axis("b", tuple(range(10)), ordered=True)))


def total(values):
    return values["a"] + values["b"]


def test_the_best_of_the_pool_come_first_each_once():
    found = best_first(SPACE, total, 10, pool=100, seed=1)
    assert [total(values) for values in found] == sorted((total(values) for values in found), reverse=True)
    assert total(found[0]) == 18 and total(found[-1]) >= 15  # the pool is the whole space: 1 + 2 + 3 + 4 configurations
    assert len({tuple(values.values()) for values in found}) == 10
    assert found == best_first(SPACE, total, 10, pool=100, seed=1)
    assert found != best_first(SPACE, total, 10, pool=20, seed=1)


def test_unknown_scores_and_refused_candidates_are_passed_over():
    def score(values):
        if values["a"] == 9:
            raise CandidateError("cannot be built")
        return math.nan if values["b"] == 9 else total(values)

    limit = Budget(lambda values: values["a"], 5)
    assert total(best_first(SPACE, score, 1, pool=100, seed=1)[0]) == 16
    assert best_first(SPACE, score, 1, pool=60, seed=1, cost_model=limit)[0] == {"a": 5, "b": 8}


class Counted:
    """A cost model that notes what it was asked."""

    def __init__(self, limit):
        self.limit, self.asked = limit, []

    def feasible(self, values):
        self.asked.append((values["a"], values["b"]))
        return total(values) <= self.limit


def test_no_configuration_is_asked_for_its_cost_twice():
    limit = Counted(1)
    found = best_first(SPACE, total, 10, pool=100, seed=1, cost_model=limit)
    assert sorted(map(total, found)) == [0, 1, 1]
    assert len(limit.asked) == len(set(limit.asked)) == 100


def test_a_limit_that_nothing_keeps_ends_the_draws():
    large = ChoiceSpace(tuple(Axis(name, tuple(range(1000)), ordered=True) for name in ("a", "b", "c")))
    limit = Counted(-1)
    assert best_first(large, total, 5, pool=50, seed=1, cost_model=limit) == []
    assert len(limit.asked) <= 1000 + 10 * 50


@pytest.mark.parametrize("later", [False, True])
def test_an_oracle_begins_with_them(later):
    first = best_first(SPACE, total, 3, pool=100, seed=1)
    oracle = RegularizedEvolution(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=5,
        hyperparameters=as_hyperparameters(SPACE),
        seed=1,
        first_values=() if later else first,
    )
    oracle.save = oracle._save_trial = lambda *_: None
    if later:
        oracle.suggest_first(first)
    assert [oracle.create_trial(str(number)).hyperparameters.values for number in range(3)] == first
