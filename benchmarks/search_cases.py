"""What benchmarks.search_strategies asks of a strategy: tables, what a search may see of them, what it is scored by.

The planted learning curves are synthetic: NAS-Bench-201's table as stored here has no curves. See `planted_curves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from search.oracles import ORACLES, SEVERAL_OBJECTIVES
from search.oracles.cost_model import CostModel
from search.pareto import hypervolume, non_dominated
from search.settings import TRANSFER_ORACLES
from search.tabular import nasbench201, nasbench_macro
from search.tabular.table import LATENCY, Table

Array = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TARGET = "pixel3"
LIMIT_US = 10_720.0  # the median latency of NAS-Bench-201 on Pixel 3
WORST_ERROR = 15.0  # percent: the reference point of the hypervolumes, with
LATENCY_PERCENTILE = 95  # of all latencies
EPOCHS = 12  # of the proxy training behind c10_val_12ep
CURVE_SEED = 201
RANDOM, HYPERBAND = "random", "hyperband"
PATHS = "+paths"  # with search.tabular.nasbench201.path_encoding in place of one-hot alone
WITH_PATHS = ("surrogate_bayes", "progressive")


@dataclass(frozen=True)
class Case:
    """A table and a question.

    Attributes:
      name, title: for files and for people.
      table_name: "nasbench201" or "nasbench_macro".
      seen: the column (percent) that a search sees and chooses by; of planted curves one figure for each epoch.
      scored: the column that its choice is scored by.
      limit_us: a limit on Pixel 3 latency; the cost model knows the table.
      is_front: two objectives, the error by `seen` and the latency on Pixel 3; the score is the hypervolume of error by
        `scored` and latency of the networks that are not dominated by what was seen, in percent of the true front's.
      strategies: their names, Keras Tuner's and ours.
    """

    name: str
    title: str
    table_name: str
    seen: str
    scored: str
    strategies: tuple[str, ...]
    limit_us: float | None = None
    is_front: bool = False

    @cached_property
    def table(self) -> Table:
        """The table; of a case with planted curves with these. Raises UsageError if the file is not there."""
        return _table(self.table_name)

    @property
    def has_curves(self) -> bool:
        """Whether what a search sees depends on the epochs trained."""
        return self.table.column(self.seen).ndim == 2

    @property
    def cost_model(self) -> CostModel | None:
        """What refuses candidates beyond the limit."""
        return None if self.limit_us is None else self.table.latency_budget(TARGET, self.limit_us)

    @cached_property
    def latency_us(self) -> Array:
        """Latency of each row on Pixel 3, NaN where unknown. Raises UsageError if the table has none."""
        return self.table.column(LATENCY + TARGET)

    @cached_property
    def best(self) -> float:
        """The best possible score."""
        if self.is_front:
            return 100.0
        scores = self.table.column(self.scored)
        return float(scores.max() if self.limit_us is None else scores[self.latency_us <= self.limit_us].max())

    def seen_of(self, row: int, epochs: int) -> float:
        """What a search sees of a row (percent)."""
        column = self.table.column(self.seen)
        return float(column[row] if column.ndim == 1 else column[row, epochs - 1])

    def seconds_of(self, rows: Sequence[int], epochs: Sequence[int]) -> float | None:
        """What the trainings would have taken; None if the table does not know."""
        column = self.table.columns.get("c10_train_s_per_epoch")
        return None if column is None else float(column[list(rows)] @ np.array(epochs, dtype=float))

    def violations(self, rows: Sequence[int]) -> int:
        """How many of the rows break the limit."""
        return 0 if self.limit_us is None else int((~(self.latency_us[list(rows)] <= self.limit_us)).sum())

    def score(self, rows: Sequence[int], epochs: Sequence[int]) -> float:
        """The score of what a search would choose after it has evaluated `rows`, each after `epochs`."""
        if self.is_front:
            return self._front_score(np.array(rows))
        seen = [self.seen_of(row, trained) for row, trained in zip(rows, epochs, strict=True)]
        return float(self.table.column(self.scored)[rows[int(np.argmax(seen))]])

    def _front_score(self, rows: NDArray[np.int64]) -> float:
        rows = rows[np.isfinite(self.latency_us[rows])]
        if not len(rows):
            return 0.0
        kept = rows[non_dominated(self._points(self.seen, rows))]
        return 100 * hypervolume(self._points(self.scored, kept), self._reference) / self._whole

    def _points(self, column: str, rows: NDArray[np.int64]) -> Array:
        return np.column_stack([100 - self.table.column(column)[rows], self.latency_us[rows]])

    @cached_property
    def _reference(self) -> Array:
        known = self.latency_us[np.isfinite(self.latency_us)]
        return np.array([WORST_ERROR, np.percentile(known, LATENCY_PERCENTILE)])

    @cached_property
    def _whole(self) -> float:
        return hypervolume(self._points(self.scored, np.flatnonzero(np.isfinite(self.latency_us))), self._reference)


def planted_curves(table: Table, seed: int = CURVE_SEED) -> Array:
    """Synthetic learning curves [rows, 12], in percent, that end at c10_val_12ep exactly.

    A network starts at 10 % (chance) and approaches its end like 1 - exp(-k epoch / 12). k, how fast it learns, is
    log-normal around 4 with a deviation of 0.5 (drawn with `seed`, independently of how good the network is), so curves
    cross. Each epoch but the last has independent noise of 1 point. The rank correlation with the end is 0.47 after 2
    epochs and 0.62 after 4, where Hyperband looks first.
    """
    random = np.random.default_rng(seed)
    end = table.column("c10_val_12ep")[:, None]
    speed = np.exp(np.log(4) + 0.5 * random.standard_normal((len(end), 1)))
    epochs = np.arange(1, EPOCHS + 1)
    learned = np.expm1(-speed * epochs / EPOCHS) / np.expm1(-speed)
    noise = random.standard_normal((len(end), EPOCHS)) * (epochs < EPOCHS)
    curves = 10 + (end - 10) * learned + noise
    curves[:, -1:] = end  # without rounding
    return curves


@cache
def _table(name: str) -> Table:
    if name == "nasbench_macro":
        return nasbench_macro.read(DATA / "nasbench_macro_cifar10.npz")
    table = nasbench201.read(DATA / "nasbench201_cifar10.npz")
    return Table(table.name, table.space, table.rows, {**table.columns, "planted_val": planted_curves(table)})


def _cases() -> dict[str, Case]:
    single = tuple(name for name in ORACLES if name not in (HYPERBAND, *TRANSFER_ORACLES))
    with_paths = (*single, *(name + PATHS for name in WITH_PATHS if name in single))
    several = (RANDOM, *SEVERAL_OBJECTIVES)
    val, test = "c10_val_12ep", "c10_test_200ep"
    cases = (
        Case("nasbench201", "NAS-Bench-201: test accuracy, %", "nasbench201", val, test, with_paths),
        Case(
            "nasbench201_pixel3",
            "NAS-Bench-201 within 10.72 ms on Pixel 3: test accuracy, %",
            "nasbench201",
            val,
            test,
            with_paths,
            limit_us=LIMIT_US,
        ),
        Case("nasbench_macro", "NAS-Bench-Macro: accuracy, %", "nasbench_macro", "mean_acc", "mean_acc", single),
        Case(
            "front",
            "NAS-Bench-201, test error and Pixel 3 latency: hypervolume, % of the true front's",
            "nasbench201",
            test,
            test,
            several,
            is_front=True,
        ),
        Case(
            "front_by_validation",
            "The same front, found by the validation error alone: hypervolume, %",
            "nasbench201",
            val,
            test,
            several,
            is_front=True,
        ),
        Case(
            "curves",
            "NAS-Bench-201 with planted learning curves: test accuracy, %",
            "nasbench201",
            "planted_val",
            test,
            (RANDOM, HYPERBAND),
        ),
    )
    return {case.name: case for case in cases}


CASES = _cases()


def check_data() -> None:
    """Raises UsageError if the tables are not there."""
    missing = [name for name in ("nasbench201_cifar10.npz", "nasbench_macro_cifar10.npz") if not (DATA / name).exists()]
    if missing:
        raise UsageError(f"{DATA}: no {', '.join(missing)}; expected the tables of the shared data")
