"""The LSTM controller as an oracle: it learns, batch by batch, and never runs out of suggestions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from search.oracles.reinforce import ReinforceController
from search.tabular import nasbench201
from tests.search.oracles.runs import assert_not_worse_on_nasbench201, axes, made, quiet, run


def reward(values: dict[str, int]) -> dict[str, float]:
    return {"score": float(sum(value == 2 for value in values.values()))}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_its_suggestions_become_better(batch_size):
    """Of ten axes a random configuration has 2.5 with the rewarded value; standard deviation of a mean of 30: 0.25."""
    asked = run(made(ReinforceController, axes(10, 4), 150, batch_size=batch_size), reward)
    scores = [reward(values)["score"] for values in asked]
    assert np.mean(scores[:30]) < 3.5
    assert np.mean(scores[-30:]) > 5


def test_it_learns_when_a_batch_is_full_in_whatever_order():
    oracle = quiet(made(ReinforceController, axes(3, 3), 20, batch_size=3))
    trials = [oracle.create_trial(f"tuner-{number}") for number in range(4)]
    before = oracle._policy.parameters.copy()
    for count, trial in enumerate([trials[2], trials[0], trials[3]], start=1):
        oracle.update_trial(trial.trial_id, {"score": float(count)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        assert (oracle._policy.parameters == before).all() == (count < 3)


def test_a_failed_trial_is_rewarded_as_the_worst_one():
    """Failing where others score 0, or below: the same search."""
    failing = made(ReinforceController, axes(6, 4), 40)
    scoring = made(ReinforceController, axes(6, 4), 40)

    def score(values: dict[str, int]) -> float:
        return float(max(0, sum(value == 2 for value in values.values()) - 1))

    first = {"edge0": 0, "edge1": 0, "edge2": 0, "edge3": 0, "edge4": 0, "edge5": 0}  # the worst, before any fails
    for oracle in (failing, scoring):
        oracle._first_values.append(first)

    def fails(values: dict[str, int]) -> dict[str, float] | None:
        return {"score": score(values)} if score(values) > 0 or values == first else None

    assert run(failing, fails) == run(scoring, lambda values: {"score": score(values)})
    assert any(trial.score is None for trial in failing.finished)


def test_a_policy_that_repeats_itself_still_suggests_something_new():
    oracle = made(ReinforceController, axes(3, 4), 64, learning_rate=1.0, entropy_weight=0.0)
    assert len(run(oracle, reward)) == 64


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="ReinforceController: batch_size: 0"):
        made(ReinforceController, axes(2, 2), 4, batch_size=0)


@pytest.mark.slow
def test_it_is_not_worse_than_random_search_on_nasbench201(shared: Path):
    assert_not_worse_on_nasbench201(ReinforceController, nasbench201.read(shared / "nasbench201_cifar10.npz"))
