"""Runs strategies for benchmarks.search_strategies, in a process of its own.

    python -m benchmarks.search_runs CASE STRATEGY BUDGET,BUDGET FIRST_SEED END_SEED FILE PARENT_PID

Keras Tuner keeps every oracle alive for ever in module dictionaries (its locks and threads), so a process runs a
limited number of searches. Each finished search is a line of FILE; those that are there already are not run again. The
case "overhead" times a strategy with 1,000 finished trials instead.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import sys
import time
import tracemalloc
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import HyperbandOracle

from benchmarks.search_cases import CASES, EPOCHS, HYPERBAND, PATHS, Case
from core.process import die_with_parent
from core.registry import load
from core.workspace import AppendLog
from search.objective import FAILED_SCORE, PARETO
from search.oracles import ORACLES, SEVERAL_OBJECTIVES
from search.oracles.axes import as_hyperparameters
from search.oracles.base import GenotypeOracle
from search.oracles.progressive import Progressive
from search.oracles.surrogate import SurrogateBayes
from search.settings import KERAS_TUNER_ORACLES, SearchConfig
from search.tabular import nasbench201

OVERHEAD = "overhead"
FINISHED = 1000  # trials before the timed suggestions
MEASURED_FROM = 200  # finished trials before memory is compared with that after FINISHED
TIMED = 21  # suggestions; of Keras Tuner's Bayesian oracle, which takes seconds for each:
TIMED_BAYESIAN = 3
ENDLESS = 1_000_000
# Keras Tuner draws each hyperparameter with the next whole number as its seed: searches with seeds nearby would draw
# almost the same candidates. More than one search draws.
SEED_STEP = 1_000_000
OBJECTIVES = ("val_accuracy max", "latency_us min")
WITH_PATHS = {"surrogate_bayes": SurrogateBayes, "progressive": Progressive}


@dataclass(slots=True)
class Run:
    """What a strategy asked for: the rows of the table, epochs told, epochs trained, CPU seconds of each suggestion."""

    rows: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    suggest_s: list[float] = field(default_factory=list)


class Search:
    """One oracle on one case."""

    def __init__(self, case: Case, strategy: str, budget: int, seed: int) -> None:
        self.case, self.run = case, Run()
        self.is_pareto = case.is_front and strategy in SEVERAL_OBJECTIVES
        self.oracle = make(case, strategy, budget, seed, self.is_pareto)
        self.oracle.verbose = 0
        self.oracle.save = self.oracle._save_trial = _nothing
        self._left = budget * EPOCHS
        self._cost_model = case.cost_model
        if isinstance(self.oracle, GenotypeOracle):
            self.oracle.cost_model = self._cost_model
        elif self._cost_model is not None:
            self.oracle.max_trials = ENDLESS  # it would count what is refused
        self._tuners = 0

    def step(self) -> bool:
        """Suggests, looks up and reports one candidate; whether there was one within the budget."""
        started = time.process_time()
        trial = self._feasible_trial()
        seconds = time.process_time() - started
        if trial.status != "RUNNING":
            return False
        values = trial.hyperparameters.values
        row = self.case.table.row(self.case.table.space.genotype(values))
        epochs = int(values.get("tuner/epochs", EPOCHS))
        trained = epochs - int(values.get("tuner/initial_epoch", 0))
        self._left -= trained
        if self._left < 0:
            return False
        run = self.run
        for figures, figure in ((run.rows, row), (run.epochs, epochs), (run.trained, trained)):
            figures.append(figure)
        run.suggest_s.append(seconds)
        self._report(trial, self._metrics(row, epochs))
        return True

    def finish(self) -> Run:
        """Runs to the end of the budget."""
        while self.step():
            pass
        return self.run

    def _feasible_trial(self) -> Trial:
        """Keras Tuner's oracles know no limits: what they suggest beyond them has failed, and they are asked again."""
        while True:
            self._tuners += 1
            trial = self.oracle.create_trial(f"tuner-{self._tuners}")
            if trial.status != "RUNNING" or self._cost_model is None:
                return trial
            if self._cost_model.feasible(trial.hyperparameters.values):
                return trial
            assert not isinstance(self.oracle, GenotypeOracle), "it knows the limit"
            self._report(trial, {"score": FAILED_SCORE})

    def _metrics(self, row: int, epochs: int) -> dict[str, float] | None:
        accuracy = self.case.seen_of(row, epochs) / 100
        if not self.case.is_front:
            return {"score": accuracy}
        latency = float(self.case.latency_us[row])
        if latency != latency:  # not known
            return None if self.is_pareto else {"score": FAILED_SCORE}
        return {"val_accuracy": accuracy, "latency_us": latency} if self.is_pareto else {"score": accuracy}

    def _report(self, trial: Trial, metrics: dict[str, float] | None) -> None:
        trial.status = "FAILED" if metrics is None else "COMPLETED"
        if metrics is not None:
            self.oracle.update_trial(trial.trial_id, metrics)
        self.oracle.end_trial(trial)


def make(case: Case, strategy: str, budget: int, seed: int, is_pareto: bool = False) -> keras_tuner.Oracle:
    """The oracle of the strategy's factory; with path encoding, or Hyperband without end, its class."""
    space = as_hyperparameters(case.table.space)
    objective = keras_tuner.Objective("score", "max")
    if strategy == HYPERBAND:
        # The factory's is one iteration, which is over before the budgets compared here.
        settings = {"max_epochs": EPOCHS, "factor": 3, "hyperband_iterations": ENDLESS}
        return HyperbandOracle(objective, hyperparameters=space, seed=SEED_STEP * seed + 1, **settings)
    name = strategy.removesuffix(PATHS)
    if name != strategy:
        kind: Any = WITH_PATHS[name]
        return kind(
            objective, budget, space, seed=seed + 1, failed_score=FAILED_SCORE, encode=nasbench201.path_encoding
        )
    config = SearchConfig(
        oracle=name,
        max_trials=budget,
        cost="latency_us" if is_pareto else "macs",
        objective=PARETO if is_pareto else "accuracy",
        objectives=OBJECTIVES,
    )
    # Keras Tuner takes a seed of 0 for "no seed".
    distinct = (SEED_STEP if name in KERAS_TUNER_ORACLES else 1) * seed + 1
    oracle: keras_tuner.Oracle = load(ORACLES, name, "strategy")(config, space, distinct)
    return oracle


def overhead(strategy: str) -> dict[str, float]:
    """CPU seconds of a suggestion with 1,000 finished trials (median) and bytes kept for a trial, on NAS-Bench-201.

    Two searches, because tracing memory takes time. Keras Tuner's Bayesian oracle is random for the first third of its
    trials: with a budget of 3,000 only the timed suggestions take the time of its model.
    """
    is_bayesian = strategy == "bayesian"
    budget, timed = (3 * FINISHED, TIMED_BAYESIAN) if is_bayesian else (FINISHED + TIMED, TIMED)
    case = CASES["curves" if strategy == HYPERBAND else "nasbench201"]
    first = Search(case, strategy, budget, seed=0)
    for _ in range(FINISHED + timed):
        first.step()
    tracemalloc.start()
    second = Search(case, strategy, budget, seed=1)
    kept = {}
    for number in range(1, FINISHED + 1):
        second.step()
        if number in (MEASURED_FROM, FINISHED):
            gc.collect()
            kept[number] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "suggest_s": statistics.median(first.run.suggest_s[FINISHED:]),
        "bytes_per_trial": (kept[FINISHED] - kept[MEASURED_FROM]) / (FINISHED - MEASURED_FROM),
    }


def code_version() -> str:
    """A digest of the strategies' sources: results of other code can be told apart."""
    folder = Path(__file__).resolve().parents[1] / "search" / "oracles"
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()[:12]


def main(arguments: list[str]) -> None:
    """Runs what is missing in the file."""
    case_name, strategy, budgets, first, end, path, parent = arguments
    die_with_parent(int(parent))
    warnings.simplefilter("ignore")  # scikit-learn's about length scales
    log = AppendLog(Path(path))
    if case_name == OVERHEAD:
        log.append({"strategy": strategy, "code": code_version(), **overhead(strategy)})
        return
    case, code = CASES[case_name], code_version()
    done = {(record["budget"], record["seed"]) for record in log.read()}
    for seed in range(int(first), int(end)):
        for budget in map(int, budgets.split(",")):
            if (budget, seed) in done:
                continue
            run = Search(case, strategy, budget, seed).finish()
            record = {"budget": budget, "seed": seed, "code": code, "rows": run.rows, "epochs": run.epochs}
            record |= {"trained": run.trained, "suggest_s": statistics.median(run.suggest_s)}
            log.append(record)


def _nothing(*arguments: object) -> None:
    """In place of the methods that write files."""


if __name__ == "__main__":
    main(sys.argv[1:])
