"""Runs an oracle to its end on computed answers, one trial at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import numpy as np

from search.oracles.axes import as_hyperparameters
from search.oracles.base import GenotypeOracle
from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.random_search import make
from search.oracles.strategy import oracle_seed
from search.settings import SearchConfig
from search.tabular.table import Table

Answer = Callable[[dict[str, Any]], Mapping[str, float] | None]


def run(oracle: Any, answer: Answer) -> list[dict[str, Any]]:
    """The configurations in the order in which the oracle asks for them; an answer of None is a failed trial."""
    quiet(oracle)
    asked: list[dict[str, Any]] = []
    while (trial := oracle.create_trial(f"tuner-{len(asked)}")).status == "RUNNING":
        asked.append(dict(trial.hyperparameters.values))
        metrics = answer(asked[-1])
        if metrics is not None:
            oracle.update_trial(trial.trial_id, dict(metrics))
        trial.status = "FAILED" if metrics is None else "COMPLETED"
        oracle.end_trial(trial)
    return asked


def quiet(oracle: Any) -> Any:
    """The oracle, which now writes neither to files nor to the screen."""
    oracle.verbose = 0
    oracle.save = oracle._save_trial = lambda *_: None
    return oracle


def made(cls: type[GenotypeOracle], space: ChoiceSpace, trials: int, seed: int = 0, **settings: Any) -> Any:
    """An oracle for a space without conditions; it maximizes "score" unless `settings` say otherwise."""
    objective = settings.pop("objective", keras_tuner.Objective("score", "max"))
    return cls(objective, trials, as_hyperparameters(space), seed=seed, **settings)


def axes(count: int, values: int) -> ChoiceSpace:
    """Like a cell of so many edges with as many operations."""
    return ChoiceSpace(tuple(Axis(f"edge{number}", tuple(range(values))) for number in range(count)))


def random_rows(table: Table, trials: int, seed: int) -> list[int]:
    """The table's rows that Keras Tuner's own random search asks for."""
    config = SearchConfig(oracle="random", max_trials=trials, cost="macs")
    asked = run(make(config, as_hyperparameters(table.space), oracle_seed(seed)), lambda values: {"score": 0.0})
    return rows(table, asked)


def rows(table: Table, asked: list[dict[str, Any]]) -> list[int]:
    """Their rows."""
    return [table.row(table.space.genotype(values)) for values in asked]


def table_rows(oracle: Any, table: Table, column: str) -> list[int]:
    """The table's rows in the order in which the oracle asks for them; it is told their figures in `column`."""
    figures = table.column(column)

    def answer(values: Mapping[str, Any]) -> dict[str, float]:
        return {"score": float(figures[table.row(table.space.genotype(values))])}

    return rows(table, run(oracle, answer))


def chosen(table: Table, asked: list[int], by: str, scored_by: str) -> float:
    """The figure in `scored_by` of the row with the best one in `by`."""
    return float(table.column(scored_by)[asked[int(np.argmax(table.column(by)[asked]))]])


def assert_not_worse_on_nasbench201(cls: type[GenotypeOracle], table: Table) -> None:
    """The issue's protocol: 50 seeds, 150 evaluations, chosen by 12 epochs' validation, scored by 200 epochs' test."""
    by, scored_by = "c10_val_12ep", "c10_test_200ep"
    found = [table_rows(made(cls, table.space, 150, seed), table, by) for seed in range(50)]
    random = [random_rows(table, 150, seed) for seed in range(50)]
    first, second = (np.array([chosen(table, asked, by, scored_by) for asked in runs]) for runs in (found, random))
    assert not_worse(first, second)


def not_worse(found: np.ndarray, other: np.ndarray) -> bool:
    """Whether a paired t-test over the seeds does not find `found` worse at p < 0.01 (one-sided, 49 degrees: 2.40)."""
    differences = found - other
    return bool(differences.mean() > -2.40 * differences.std(ddof=1) / np.sqrt(len(differences)))
