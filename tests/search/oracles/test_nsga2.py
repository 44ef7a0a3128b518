"""NSGA-II as an oracle: fronts, constraints, directions, children."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from core.errors import UsageError
from search.oracles.nsga2 import Nsga2, make
from search.oracles.random_search import make as make_random
from search.pareto import costs, hypervolume, non_dominated
from search.settings import SearchConfig
from search.tabular import nasbench201
from tests.search.oracles.runs import axes, made, rows, run

TWO = [keras_tuner.Objective("error", "min"), keras_tuner.Objective("latency", "min")]
SPACE = axes(8, 4)
REFERENCE = (36.0, 50.0)


def answer(values: dict[str, int]) -> dict[str, float]:
    """Larger values cost latency; each axis has its own gain, with less and less return."""
    indices = np.array(list(values.values()), dtype=float)
    return {
        "error": float((np.arange(1, 9) * 0.5**indices).sum()),
        "latency": float((np.arange(1, 9)[::-1] ** 0.5 * indices).sum()),
    }


def volume(asked: list[dict[str, int]]) -> float:
    return hypervolume([tuple(answer(values).values()) for values in asked], REFERENCE)


def test_it_spreads_along_the_front_where_random_search_does_not():
    config = SearchConfig(oracle="random", max_trials=150, cost="macs")
    points = [tuple(answer(SPACE.values(SPACE.at(number))).values()) for number in range(SPACE.size)]
    best = hypervolume(points, REFERENCE)
    gains = []
    for seed in range(5):
        found = volume(run(made(Nsga2, SPACE, 150, seed, objective=TWO), answer))
        parameters = made(Nsga2, SPACE, 1).hyperparameters
        other = volume(run(make_random(config, parameters, seed + 1), lambda values: {"score": 0.0}))
        gains.append((found - other) / best)
    # It finds 0.92 of the true front's hypervolume, random search 0.83; the difference deviates by 0.04 over the seeds,
    # its mean over five of them by 0.018.
    assert np.mean(gains) > 0.04


def test_the_population_is_the_best_by_front_and_crowding():
    oracle = made(Nsga2, SPACE, 60, objective=TWO, population_size=10)
    run(oracle, answer)
    assert len(oracle._population) == 10
    ours = np.array([member.costs for member in oracle._population])
    everything = costs([trial.metrics for trial in oracle.finished], oracle.objectives)
    front = everything[non_dominated(everything)]
    assert {tuple(row) for row in ours} <= {tuple(row) for row in front} or len(front) < 10
    for column in range(2):
        assert ours[:, column].min() == everything[:, column].min(), "the ends of the front are never given up"


def test_directions_are_obeyed():
    flipped = [keras_tuner.Objective("gain", "max"), keras_tuner.Objective("latency", "min")]

    def gain(values: dict[str, int]) -> dict[str, float]:
        found = answer(values)
        return {"gain": -found["error"], "latency": found["latency"]}

    first = run(made(Nsga2, SPACE, 60, objective=TWO), answer)
    assert run(made(Nsga2, SPACE, 60, objective=flipped), gain) == first


def test_constraints_come_before_objectives():
    """Over the limit every second or so at random; at the end nearly none of what it suggests."""
    oracle = made(Nsga2, SPACE, 120, objective=TWO, constraints={"latency": 20.0})
    asked = run(oracle, answer)
    over = [answer(values)["latency"] > 20 for values in asked]
    assert sum(over[:20]) > 8
    assert sum(over[-30:]) < 8
    assert all(member.violation == 0 for member in oracle._population)


def test_among_violations_the_smaller_one_survives():
    oracle = made(Nsga2, SPACE, 60, objective=TWO, constraints={"latency": -1.0}, population_size=5)
    run(oracle, answer)
    kept = sorted(member.costs[1] for member in oracle._population)
    assert kept == sorted(trial.metrics["latency"] for trial in oracle.finished)[:5]


def test_a_constraint_on_what_is_not_reported_is_named():
    oracle = made(Nsga2, SPACE, 60, objective=TWO, constraints={"size": 1.0})
    with pytest.raises(UsageError, match=r"Nsga2: constraint: 'size' is not legal; expected one of error, latency"):
        run(oracle, answer)


def test_failed_trials_are_no_parents():
    def sometimes(values: dict[str, int]) -> dict[str, float] | None:
        return None if values["edge0"] == 3 else answer(values)

    oracle = made(Nsga2, SPACE, 80, objective=TWO)
    run(oracle, sometimes)
    assert any(trial.score is None for trial in oracle.finished)
    assert all(member.genotype[0] != 3 for member in oracle._population)


def test_children_take_each_axis_from_a_parent_that_has_it():
    parameters = keras_tuner.HyperParameters()
    parameters.Choice("kind", ["plain", "wide"])
    with parameters.conditional_scope("kind", ["wide"]):
        parameters.Choice("width", [1, 2, 3])
    parameters.Choice("kernel", [3, 5])
    oracle = Nsga2(keras_tuner.Objective("score", "max"), 20, parameters, seed=0)
    oracle.populate_space("0")
    children = {oracle._cross((0, 0, 0), (1, 2, 1)) for _ in range(100)}
    assert children == {(0, 0, 0), (0, 0, 1), (1, 2, 0), (1, 2, 1)}


def test_mutation_rates():
    never, always = (made(Nsga2, SPACE, 20, mutation_rate=rate) for rate in (0.0, 1.0))
    for oracle in (never, always):
        oracle.populate_space("0")
    genotype = (0,) * 8
    assert never._mutate(genotype) == genotype
    assert sum(index != 0 for index in always._mutate(genotype)) >= 2
    by_paper = made(Nsga2, SPACE, 20, mutation_rate=None)
    by_paper.populate_space("0")
    changed = [sum(index != 0 for index in by_paper._mutate(genotype)) for _ in range(500)]
    # One mutation of eight axes in the mean (less when one axis is hit twice); five standard errors of 0.045.
    assert 0.7 < np.mean(changed) < 1.25


def test_one_objective_is_a_genetic_algorithm():
    def score(values: dict[str, int]) -> dict[str, float]:
        return {"score": float(sum(values.values()))}

    asked = run(made(Nsga2, SPACE, 120), score)
    # Of 24; a random configuration has 12 with a deviation of 3.2, the best of 120 of them 20 or so.
    assert max(sum(values.values()) for values in asked) >= 22


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "Nsga2: population_size: 1"),
        ({"crossover_rate": 1.5}, "Nsga2: crossover_rate: 1.5"),
        ({"mutation_rate": -0.1}, "Nsga2: mutation_rate: -0.1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        made(Nsga2, SPACE, 20, **settings)


def test_in_a_pareto_search_a_large_cost_is_no_failure():
    """Keras Tuner's score of several objectives is minus their sum: far below the score of a failed trial."""
    config = SearchConfig(oracle="nsga2", objective="pareto", max_trials=3)
    oracle = make(config, made(Nsga2, SPACE, 1).hyperparameters, 1)
    assert oracle.objectives == (("val_accuracy", "max"), ("latency_us", "min"))
    run(oracle, lambda values: {"val_accuracy": 0.5, "latency_us": 1e6})
    assert all(trial.score is not None for trial in oracle.finished)


@pytest.mark.parametrize("seeds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_the_front_of_nasbench201_is_found(shared: Path, seeds: int):
    """The issue's figure: 300 evaluations, test error against latency on Pixel 3, 97 % of the true hypervolume."""
    table = nasbench201.read(shared / "nasbench201_cifar10.npz")
    points = np.stack([100 - table.column("c10_test_200ep"), table.column("latency_us_pixel3") / 1000], axis=1)
    known = ~np.isnan(points[:, 1])
    reference = (15.0, np.percentile(points[known, 1], 95))

    def metrics(values: dict[str, Any]) -> dict[str, float] | None:
        row = table.row(table.space.genotype(values))
        return dict(zip(("error", "latency"), points[row], strict=True)) if known[row] else None

    shares = []
    for seed in range(seeds):
        asked = rows(table, run(made(Nsga2, table.space, 300, seed, objective=TWO), metrics))
        shares.append(hypervolume(points[asked][known[asked]], reference) / hypervolume(points[known], reference))
    # Over 50 seeds the mean is 0.972, the deviation 0.0105: of three seeds the mean is above 0.972 - 3 x 0.006.
    assert np.mean(shares) >= (0.97 if seeds == 50 else 0.954)
