"""What earlier searches and zero-cost proxies are worth at small budgets.

    python -m benchmarks.transfer [--seeds=50] [--budget=50] [--csv=FILE]
    python -m benchmarks.transfer --real [--seeds=50] [--out=out/transfer]

On NAS-Bench-201 (in benchmarks.search_cases.DATA) the search chooses by the 12-epoch validation accuracy and is scored
by the test accuracy after 200 epochs. Its past is a log of 150 random trials of another task: the validation column
with noise (standard normal scores plus half as much noise), in random order, or negated. The warm start's pool is 500
random cells. Shown are the mean over seeds, and the mean gain over SurrogateBayes without a past, paired by seed, with
its t. About 3 minutes of one idle core.
Measured after 20, 30 and 50 evaluations (alone: 93.30, 93.60, 94.10): from a noisy past +0.60, +0.50, +0.17 ("prior")
and +0.65, +0.55, +0.24 ("ensemble"), t above 3; from a permuted one -0.02, +0.06, +0.06 and -0.02, +0.02, +0.02; from
a negated one the same suggestions as without; warm start by logsynflow +0.43, +0.27, +0.06, by naswot -0.08, 0, -0.01.

With --real the table is of 64 networks that are trained here, on mnist_5k and on fashion_mnist (see
benchmarks.transfer_real): the past is a log of 20 random trials on mnist_5k, and searches on fashion_mnist of 12
evaluations begin from it or from nothing. Measured: regret after 8 evaluations 0.17 instead of 0.33 points of
validation accuracy, after 12 0.04 instead of 0.13 (t 2.6 to 3.0). Needs the Debian package dataset-fashion-mnist.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.search_cases import DATA
from benchmarks.transfer_real import PAST, PRESENT, trained_table
from core.errors import EXIT_DONE, EXIT_USAGE, LitesmithError, one_line
from core.progress import Reporter
from search.oracles.axes import as_hyperparameters
from search.oracles.past import PastLog, from_table
from search.oracles.proxy_start import best_first
from search.oracles.surrogate import SurrogateBayes, normal_scores
from search.oracles.transfer import METHODS, TransferBayes
from search.tabular import nasbench201
from search.tabular.table import Table

VALIDATION, TEST = "c10_val_12ep", "c10_test_200ep"
TASKS = ("noisy", "permuted", "negated")
PROXIES = ("naswot", "logsynflow")
PAST_TRIALS, POOL, WARM_START = 150, 500, 5
REAL_PAST, REAL_BUDGET = 20, 12  # trials of the log and of the search on real trainings
PAST_SEED = 10_000  # apart from the searches' own seeds

_SEEDS = flags.DEFINE_integer("seeds", 50, "searches of each kind", lower_bound=2)
_BUDGET = flags.DEFINE_integer("budget", 50, "evaluations of each search on the table", lower_bound=20)
_CSV = flags.DEFINE_string("csv", None, "file for the results of every seed")
_REAL = flags.DEFINE_bool("real", False, "a table of real trainings: from mnist_5k to fashion_mnist")
_OUT = flags.DEFINE_string("out", "out/transfer", "folder for real trainings")

Search = Callable[[Table, int, int], list[int]]


def past_of(table: Table, task: str, seed: int) -> PastLog:
    """Random trials of another task."""
    random = np.random.default_rng(PAST_SEED + seed)
    column = table.column(VALIDATION)
    made = {
        "noisy": lambda: normal_scores(column.tolist()) + 0.5 * random.standard_normal(len(column)),
        "permuted": lambda: random.permutation(column),
        "negated": lambda: -column,
    }
    other = dataclasses.replace(table, columns={task: made[task]()})
    return from_table(other, task, random.choice(len(column), PAST_TRIALS, replace=False).tolist())


def run(table: Table, oracle: Any, seen: str = VALIDATION) -> list[int]:
    """The rows of the table in the order in which the oracle asks for them; it is told the column `seen`."""
    oracle.verbose = 0
    oracle.save = oracle._save_trial = lambda *_: None
    asked: list[int] = []
    while (trial := oracle.create_trial(f"tuner-{len(asked)}")).status == "RUNNING":
        asked.append(table.row(table.space.genotype(trial.hyperparameters.values)))
        oracle.update_trial(trial.trial_id, {"score": float(table.column(seen)[asked[-1]])})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return asked


def search(table: Table, seed: int, budget: int, cls: type = SurrogateBayes, **settings: Any) -> list[int]:
    """The rows that a surrogate strategy evaluates."""
    oracle = cls(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=budget,
        hyperparameters=as_hyperparameters(table.space),
        seed=seed,
        encode=nasbench201.path_encoding,
        **settings,
    )
    return run(table, oracle)


def chosen(table: Table, asked: Sequence[int]) -> float:
    """The test accuracy of the one with the best validation accuracy."""
    return float(table.column(TEST)[asked[int(np.argmax(table.column(VALIDATION)[asked]))]])


def kinds() -> dict[str, Search]:
    """Every kind of search by name, the one without help first."""
    found: dict[str, Search] = {"alone": search}
    for method in METHODS:
        for task in TASKS:
            found[f"{method}, {task} past"] = lambda table, seed, budget, method=method, task=task: search(  # type: ignore[misc]
                table, seed, budget, TransferBayes, past=[past_of(table, task, seed)], method=method
            )
        found[f"{method}, all three"] = lambda table, seed, budget, method=method: search(  # type: ignore[misc]
            table, seed, budget, TransferBayes, past=[past_of(table, task, seed) for task in TASKS], method=method
        )
    for proxy in PROXIES:
        found[f"warm start by {proxy}"] = lambda table, seed, budget, proxy=proxy: search(  # type: ignore[misc]
            table, seed, budget, first_values=warm_start(table, proxy, seed)
        )
    return found


def warm_start(table: Table, proxy: str, seed: int) -> list[dict[str, Any]]:
    """The best of a random pool by a zero-cost column."""
    return best_first(table.space, table.cost(f"c10_zc_{proxy}"), WARM_START, pool=POOL, seed=PAST_SEED + seed)


def paired_t(gain: np.ndarray) -> float:
    """Student's t of paired differences; 0 if there are none."""
    spread = float(gain.std(ddof=1))
    return float(gain.mean()) / (spread / np.sqrt(len(gain))) if spread > 0 else 0.0


def on_the_table(console: Console) -> None:
    """Runs every kind over all seeds and prints a row for each."""
    table = nasbench201.read(DATA / "nasbench201_cifar10.npz")
    budgets = sorted({20, 30, 50, _BUDGET.value} & set(range(_BUDGET.value + 1)))
    grid = Grid("search", *(f"after {budget}" for budget in budgets), title=f"NAS-Bench-201, {_SEEDS.value} seeds")
    lines, alone = ["search,seed,evaluations,test_percent"], np.zeros(0)
    for name, kind in kinds().items():
        runs = [kind(table, seed, _BUDGET.value) for seed in range(_SEEDS.value)]
        found = np.array([[chosen(table, asked[:budget]) for budget in budgets] for asked in runs])
        alone = found if not alone.size else alone
        gains = [(column.mean(), paired_t(column)) for column in (found - alone).T]
        cells = [f"{mean:.3f} ({gain:+.3f}, t {t:+.1f})" for mean, (gain, t) in zip(found.mean(0), gains, strict=True)]
        grid.add_row(name, *cells)
        console.print(f"{name}: {'; '.join(cells)}")
        lines += [f'"{name}",{s},{b},{found[s, i]:.3f}' for s in range(len(runs)) for i, b in enumerate(budgets)]
    console.print(grid)
    if _CSV.value:
        Path(_CSV.value).write_text("\n".join(lines) + "\n")


def real(console: Console) -> None:
    """Searches on the table of real trainings: mean regret (points of validation accuracy) after some evaluations."""
    folder = Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    table = trained_table(folder, Reporter())
    past, present = table.column(PAST), table.column(PRESENT)
    agreement = np.corrcoef(past.argsort().argsort(), present.argsort().argsort())[0, 1]
    console.print(f"{len(past)} networks; rank correlation of the two data sets {agreement:.2f}", highlight=False)
    budgets = (4, 6, 8, REAL_BUDGET)
    grid = Grid("search", *(f"after {budget}" for budget in budgets), title=f"regret, points; {_SEEDS.value} seeds")
    alone = np.zeros(0)
    for name, settings in _real_kinds(table).items():
        runs = [_real_search(table, seed, settings(seed)) for seed in range(_SEEDS.value)]
        found = np.array([[present.max() - present[asked[:budget]].max() for budget in budgets] for asked in runs])
        alone = found if not alone.size else alone
        gains = [(column.mean(), paired_t(column)) for column in (alone - found).T]
        means = zip(found.mean(0), gains, strict=True)
        grid.add_row(name, *(f"{mean:.2f} ({gain:+.2f}, t {t:+.1f})" for mean, (gain, t) in means))
    console.print(grid)


def _real_kinds(table: Table) -> dict[str, Callable[[int], dict[str, Any]]]:
    """The settings of each kind of search, by seed."""

    def past(seed: int) -> PastLog:
        random = np.random.default_rng(PAST_SEED + seed)
        return from_table(table, PAST, random.choice(len(table.rows), REAL_PAST, replace=False).tolist())

    return {
        "alone": lambda seed: {},
        **{
            f"{method}, from {PAST}": lambda seed, method=method: {"past": [past(seed)], "method": method}  # type: ignore[misc]
            for method in METHODS
        },
    }


def _real_search(table: Table, seed: int, settings: dict[str, Any]) -> list[int]:
    oracle = (TransferBayes if settings else SurrogateBayes)(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=REAL_BUDGET,
        hyperparameters=as_hyperparameters(table.space),
        seed=seed,
        **settings,
    )
    return run(table, oracle, PRESENT)


def main(argv: list[str]) -> int:
    """Runs one of the two benchmarks; 2, with one line on stderr, if its data is not there."""
    del argv
    console = Console(width=140)
    try:
        (real if _REAL.value else on_the_table)(console)
    except LitesmithError as error:
        print(one_line(error), file=sys.stderr)
        return EXIT_USAGE
    return EXIT_DONE


if __name__ == "__main__":
    app.run(main)
