"""Local search: what counts as a start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search.oracles.local_search import LocalSearch
from tests.search.oracles.runs import axes, made, quiet, run

SPACE = axes(6, 4)
WARM = [SPACE.values(genotype) for genotype in ((0, 0, 1, 0, 0, 0), (3, 2, 2, 1, 0, 3), (0, 1, 0, 2, 0, 1))]


def score(values: dict[str, Any]) -> dict[str, float]:
    return {"score": float(sum(values.values()))}


def steps(first: dict[str, Any], second: dict[str, Any]) -> int:
    return sum(first[name] != second[name] for name in first)


def test_it_climbs_from_the_best_of_a_warm_start():
    asked = run(made(LocalSearch, SPACE, 4, initial_points=3, first_values=WARM), score)
    assert asked[:3] == WARM
    assert steps(asked[3], WARM[1]) == 1


def test_random_trials_fill_up_a_warm_start():
    """Only then it climbs from the best of all."""
    asked = run(made(LocalSearch, SPACE, 6, initial_points=5, first_values=WARM), score)
    best = max(asked[:5], key=lambda values: score(values)["score"])
    assert [steps(asked[5], values) for values in asked[:5]].count(1) >= 1
    assert steps(asked[5], best) == 1


@pytest.mark.parametrize("initial_points", [1, 3])
def test_a_warm_start_counts_while_it_is_outstanding(initial_points):
    """Three workers have it; a fourth is given a further start, and then all starts have results."""
    oracle = quiet(made(LocalSearch, SPACE, 9, initial_points=initial_points, first_values=WARM))
    trials = [oracle.create_trial(f"tuner-{number}") for number in range(4)]
    assert [trial.hyperparameters.values for trial in trials[:3]] == WARM
    for trial in trials:
        oracle.update_trial(trial.trial_id, score(trial.hyperparameters.values))
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    best = max((trial.hyperparameters.values for trial in trials), key=lambda values: score(values)["score"])
    assert steps(oracle.create_trial("tuner").hyperparameters.values, best) == 1


def test_a_resumed_search_climbs_from_the_best_so_far():
    """Told again after a reset, results are starts."""
    oracle, again = (made(LocalSearch, SPACE, 20, initial_points=3) for _ in range(2))
    oracle.max_trials = 12
    asked = run(oracle, score)
    quiet(again).trials = dict(oracle.trials)
    again.set_state(json.loads(json.dumps(oracle.get_state())))
    again.max_trials = 20
    best = max(asked, key=lambda values: score(values)["score"])
    assert steps(again.create_trial("tuner").hyperparameters.values, best) == 1
