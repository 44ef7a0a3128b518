"""Strategies on tables of real results: what the issue asks of them, over a few seeds (all 50: slow)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from search.oracles.axes import as_hyperparameters
from search.oracles.evolution import RegularizedEvolution
from search.oracles.local_search import LocalSearch
from search.oracles.surrogate import SurrogateBayes
from search.tabular import nasbench201, nasbench_macro
from search.tabular.table import Table
from tests.search.oracles.runs import chosen, random_rows, table_rows

VALIDATION, TEST = "c10_val_12ep", "c10_test_200ep"
STRATEGIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "regularized_evolution": (RegularizedEvolution, {"population_size": 50, "sample_size": 12}),
    "local_search": (LocalSearch, {}),
    "surrogate_bayes": (SurrogateBayes, {"encode": nasbench201.path_encoding}),
}


def search(name: str, table: Table, column: str, trials: int, seed: int, **changes: Any) -> list[int]:
    cls, settings = STRATEGIES[name]
    made = cls(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=trials,
        hyperparameters=as_hyperparameters(table.space),
        seed=seed,
        **(settings | changes),
    )
    return table_rows(made, table, column)


@pytest.fixture(scope="module")
def table201(shared: Path) -> Table:
    return nasbench201.read(shared / "nasbench201_cifar10.npz")


@pytest.fixture(scope="module")
def macro(shared: Path) -> Table:
    return nasbench_macro.read(shared / "nasbench_macro_cifar10.npz")


@cache
def random_results(path: Path, seeds: int) -> np.ndarray:
    """Keras Tuner's own random search, 150 trials."""
    table = nasbench201.read(path)
    asked = [random_rows(table, 150, seed) for seed in range(seeds)]
    return np.array([chosen(table, run, VALIDATION, TEST) for run in asked])


def paired_t(first: np.ndarray, second: np.ndarray) -> float:
    """Student's t of the differences."""
    differences = first - second
    return float(differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences))))


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_beats_random_search(name, shared, table201):
    """Ten seeds: for p < 0.01, one-sided, with nine degrees of freedom, t must be above 2.82."""
    found = np.array(
        [chosen(table201, search(name, table201, VALIDATION, 150, seed), VALIDATION, TEST) for seed in range(10)]
    )
    assert paired_t(found, random_results(shared / "nasbench201_cifar10.npz", 10)) > 2.82


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_it_beats_random_search_over_50_seeds(name, shared, table201):
    """For p < 0.01, two-sided, with 49 degrees of freedom: t above 2.68."""
    found = np.array(
        [chosen(table201, search(name, table201, VALIDATION, 150, seed), VALIDATION, TEST) for seed in range(50)]
    )
    assert paired_t(found, random_results(shared / "nasbench201_cifar10.npz", 50)) > 2.68


@pytest.mark.slow
def test_surrogate_bayes_reaches_what_it_must_on_nasbench201(table201):
    """The bounds are the issue's, over 50 seeds."""
    runs = [search("surrogate_bayes", table201, VALIDATION, 150, seed) for seed in range(50)]
    assert np.mean([chosen(table201, run[:100], VALIDATION, TEST) for run in runs]) >= 94.20
    assert np.mean([chosen(table201, run, VALIDATION, TEST) for run in runs]) >= 94.30


@pytest.mark.parametrize("seeds", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_surrogate_bayes_reaches_what_it_must_on_nasbench_macro(macro, seeds):
    """One-hot alone; the issue's bound. Over seeds the deviation is 0.024: five seeds do as well."""
    runs = [search("surrogate_bayes", macro, "mean_acc", 100, seed, encode=None) for seed in range(seeds)]
    assert np.mean([chosen(macro, run, "mean_acc", "mean_acc") for run in runs]) >= 93.05


@pytest.mark.parametrize("seeds", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_under_a_latency_limit_nothing_slower_is_evaluated(table201, seeds):
    """The limit is the median on Pixel 3; by validation one would choose 93.50, and 0.1 points are allowed."""
    limit = table201.latency_budget("pixel3", 10_720)
    runs = [search("surrogate_bayes", table201, VALIDATION, 150, seed, cost_model=limit) for seed in range(seeds)]
    assert all((table201.column("latency_us_pixel3")[run] <= 10_720).all() for run in runs)
    assert np.mean([chosen(table201, run, VALIDATION, TEST) for run in runs]) >= 93.40


def test_evolution_forgets_the_oldest(table201):
    made = RegularizedEvolution(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=30,
        hyperparameters=as_hyperparameters(table201.space),
        seed=0,
        population_size=8,
        sample_size=3,
    )
    table_rows(made, table201, VALIDATION)
    assert [genotype for _, genotype in made._population] == [trial.genotype for trial in made.finished[-8:]]


def test_local_search_asks_for_neighbours_of_the_best_of_its_start(table201):
    asked = search("local_search", table201, VALIDATION, 20, seed=0, initial_points=10)
    best = table201.genotype(max(asked[:10], key=lambda row: table201.column(VALIDATION)[row]))
    assert table201.genotype(asked[10]) in table201.space.neighbours(best)
