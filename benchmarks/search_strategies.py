"""Every search strategy on tables of real results: how good is what it finds, and what does it cost?

    python -m benchmarks.search_strategies [--seeds=50] [--budgets=50,100,150,300] [--cases=CASE,...]
        [--only=STRATEGY,...] [--bayesian_seeds=5] [--out=out/search_strategies] [--write_docs]

A strategy searches a table as it would search with trainings: it sees validation figures, and is scored by the test
figure of what would be chosen by them (mean and deviation over seeds). A budget of N evaluations is a search that is
told so: it is configured for N, not cut off. The cases:

- nasbench201: CIFAR-10, chosen by 12 epochs' validation accuracy, scored by 200 epochs' test accuracy;
- nasbench201_pixel3: the same with a limit on Pixel 3 latency;
- nasbench_macro: its mean accuracy, which is all there is;
- front: hypervolume of test error against Pixel 3 latency, a search being told the test error (as multi-objective
  benchmarks do); front_by_validation: being told the validation error;
- curves: Hyperband on planted learning curves (synthetic, see benchmarks.search_cases.planted_curves), with as many
  epochs as N whole trainings have.

"*" and "!" mark what is better or worse than random search with p < 0.01 in a paired randomization test over the seeds
(two-sided; see paired_p). Simulated training hours are those of the table. Suggestions are timed in CPU time of one
thread, so a busy machine does not matter. Keras Tuner's Bayesian oracle takes about a second for each suggestion, so it
has fewer seeds; the tables say how many.

Runs in 2 processes. Finished searches are kept in --out; after a kill the same command goes on. It also
writes figures.csv and regret.png there; --write_docs puts the tables in docs/search.md and the picture beside it.
All of it takes about an hour of 2 cores. Needs the tables of ../shared/data.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.search_cases import CASES, HYPERBAND, check_data
from benchmarks.search_results import Rows, as_csv, case_table, draw, overhead_table, summarize, write_docs
from core.checks import in_choices, in_range
from core.errors import LitesmithError, UsageError, one_line
from core.workspace import AppendLog, atomic_write_bytes, locked
from search.settings import TRANSFER_ORACLES

ROOT = Path(__file__).resolve().parents[1]
OVERHEAD = "overhead"
BAYESIAN = "bayesian"
PROCESSES = 2
TRIALS_PER_PROCESS = 15_000  # 15 kB each that Keras Tuner never frees
WIDTH = 150  # columns where no terminal tells its own
JUDGED = 150  # the budget whose differences, p and costs are in the tables


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process runs: some seeds of a strategy on a case."""

    case: str
    strategy: str
    budgets: tuple[int, ...]
    first_seed: int
    end_seed: int
    path: Path

    def command(self) -> list[str]:
        """The process's arguments."""
        budgets = ",".join(map(str, self.budgets))
        seeds = (str(self.first_seed), str(self.end_seed))
        words = (self.case, self.strategy, budgets, *seeds, str(self.path), str(os.getpid()))
        return [sys.executable, "-m", "benchmarks.search_runs", *words]


def log_path(out: Path, case: str, strategy: str) -> Path:
    """Where the finished searches of a strategy on a case are."""
    return out / f"{case}.{strategy}.jsonl"


def missing(options: argparse.Namespace) -> Iterator[Batch]:
    """The batches with a search that is not finished, in the order of the cases."""
    for case in options.cases:
        strategies = CASES[case].strategies if case != OVERHEAD else overhead_strategies()
        for strategy in strategies:
            if options.only and strategy not in options.only:
                continue
            path = log_path(options.out, case, strategy)
            done = AppendLog(path).read()
            if case == OVERHEAD:
                if not done:
                    yield Batch(case, strategy, (), 0, 0, path)
                continue
            seeds = min(options.seeds, options.bayesian_seeds) if strategy == BAYESIAN else options.seeds
            finished = {(record["budget"], record["seed"]) for record in done}
            step = max(1, TRIALS_PER_PROCESS // sum(options.budgets))
            for first in range(0, seeds, step):
                end = min(first + step, seeds)
                wanted = {(budget, seed) for budget in options.budgets for seed in range(first, end)}
                if not wanted <= finished:
                    yield Batch(case, strategy, options.budgets, first, end, path)


def overhead_strategies() -> list[str]:
    """All strategies but those that are others without earlier logs; with an encoding they cost about the same."""
    return [name for name in (*CASES["nasbench201"].strategies, HYPERBAND) if "+" not in name]


def run_all(batches: Sequence[Batch], console: Console) -> list[str]:
    """Runs the batches, two at a time; what went wrong. A strategy's batches are never at work at the same time."""
    waiting, running, errors = list(batches), dict[Batch, subprocess.Popen[str]](), list[str]()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.monotonic()
    try:
        while waiting or running:
            for batch, process in list(running.items()):
                if process.poll() is not None:
                    del running[batch]
                    label = f"{batch.case}, {batch.strategy}, seeds {batch.first_seed} to {batch.end_seed - 1}"
                    if process.returncode:
                        errors.append(f"{label}: {_last_line(process)}")
                    left = f"{len(waiting) + len(running)} to do, {time.monotonic() - started:.0f} s"
                    console.print(f"{'FAILED' if process.returncode else 'done'}: {label} ({left})", highlight=False)
            busy = {batch.path for batch in running}
            ready = next((batch for batch in waiting if batch.path not in busy), None)
            if ready is not None and len(running) < PROCESSES:
                waiting.remove(ready)
                running[ready] = subprocess.Popen(
                    ready.command(), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
                )
            else:
                time.sleep(0.2)
    finally:
        for process in running.values():
            process.kill()
    return errors


def _last_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    lines = process.stderr.read().strip().splitlines()
    return lines[-1] if lines else f"exit code {process.returncode}"


def read_records(out: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """All finished searches of `out`."""
    found = {
        (case.name, strategy): AppendLog(log_path(out, case.name, strategy)).read()
        for case in CASES.values()
        for strategy in case.strategies
    }
    return {key: records for key, records in found.items() if records}


def report(options: argparse.Namespace, console: Console) -> None:
    """Prints the tables of all that is finished; writes CSV and picture."""
    records = read_records(options.out)
    overheads = {name: AppendLog(log_path(options.out, OVERHEAD, name)).read() for name in overhead_strategies()}
    last = {name: found[-1] for name, found in overheads.items() if found}
    summaries = summarize(records)
    shown = [case for case in CASES.values() if any(summary.case == case.name for summary in summaries)]
    tables = [case_table(case, summaries, JUDGED) for case in shown]
    if last:
        tables.append(overhead_table(last))
    for table in tables:
        console.print(_rich(table))
    console.print(
        f"not run: {', '.join(TRANSFER_ORACLES)} (without earlier logs they are surrogate_bayes to the letter)"
    )
    versions = {record["code"] for found in (*records.values(), *overheads.values()) for record in found}
    if len(versions) > 1:
        console.print(
            f"note: the results are of {len(versions)} versions of search/oracles; remove {options.out} to redo"
        )
    atomic_write_bytes(options.out / "figures.csv", as_csv(summaries, last).encode())
    draw(options.out / "regret.png", records)
    if options.write_docs:
        write_docs(ROOT / "docs" / "search.md", tables)
        atomic_write_bytes(ROOT / "docs" / "search_regret.png", (options.out / "regret.png").read_bytes())


def _rich(table: Rows) -> Table:
    result = Table(title=table.title)
    for number, heading in enumerate(table.headings):
        result.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        result.add_row(*row)
    return result


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The checked options. Raises UsageError."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--bayesian_seeds", type=int, default=5, help="of Keras Tuner's Bayesian oracle")
    parser.add_argument("--budgets", default="50,100,150,300", help="evaluations of a search")
    parser.add_argument("--cases", default=",".join((*CASES, OVERHEAD)))
    parser.add_argument("--only", default="", help="strategies to run; the tables have all that is finished")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "search_strategies")
    parser.add_argument("--write_docs", action="store_true", help="also fill docs/search.md")
    options = parser.parse_args(words)
    try:
        options.budgets = tuple(sorted({int(word) for word in options.budgets.split(",")}))
    except ValueError:
        raise UsageError(f"--budgets: {options.budgets}; expected whole numbers with commas") from None
    options.cases = options.cases.split(",")
    options.only = [word for word in options.only.split(",") if word]
    in_range("--seeds", options.seeds, 1, 10_000)
    in_range("--bayesian_seeds", options.bayesian_seeds, 0, 10_000)
    for budget in options.budgets:
        in_range("--budgets", budget, 2, 10_000)
    for case in options.cases:
        in_choices("--cases", case, (*CASES, OVERHEAD))
    known = sorted({strategy for case in CASES.values() for strategy in case.strategies})
    for strategy in options.only:
        in_choices("--only", strategy, known)
    options.out = options.out.resolve()
    return options


def main() -> int:
    """Runs what is missing and reports; 1 if a search failed."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    try:
        options = arguments()
        check_data()
        options.out.mkdir(parents=True, exist_ok=True)
        with locked(options.out):
            errors = run_all(list(missing(options)), console)
            report(options, console)
    except LitesmithError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    for failure in errors:
        console.print(f"failed: {failure}", highlight=False)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
