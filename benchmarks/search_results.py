"""Figures of benchmarks.search_strategies: statistics over seeds, tables, CSV, picture, docs/search.md."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.marks import put_between
from benchmarks.search_cases import CASES, HYPERBAND, RANDOM, Case
from core.workspace import atomic_write_bytes

EXACT_UP_TO = 14  # pairs: all signs are tried; of more pairs, so many draws:
DRAWS = 100_000
SIGNIFICANT = 0.01
BEGIN, END = "<!-- figures of benchmarks.search_strategies: begin -->", "<!-- figures: end -->"
POINTS = 60  # of a curve in the picture
LEAST_REGRET = 3e-3  # that it shows
NO_FIGURE = "–"

Array = NDArray[np.float64]
Runs = Sequence[Mapping[str, Any]]
"""Lines that benchmarks.search_runs wrote."""
Records = Mapping[tuple[str, str], Runs]
"""The finished searches of each (case, strategy)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One strategy with one budget on one case.

    Attributes:
      mean, deviation: of the score over seeds (deviation of a sample).
      difference, p: to random search over the seeds that both have, and whether it may be chance; None for random.
      hours: of simulated training, mean; None if the table does not know.
      suggest_ms: CPU milliseconds of a suggestion, median.
      violations: evaluations beyond the limit, of all seeds.
    """

    case: str
    strategy: str
    budget: int
    seeds: int
    mean: float
    deviation: float
    difference: float | None
    p: float | None
    hours: float | None
    suggest_ms: float
    violations: int

    def cell(self, seeds: int) -> str:
        """Mean and deviation, with "*" where it is better than random search and "!" where it is worse (p < 0.01); and
        how many seeds it has if these are not `seeds`."""
        mark = ""
        if self.p is not None and self.difference is not None and self.p < SIGNIFICANT:
            mark = " *" if self.difference > 0 else " !"
        fewer = "" if self.seeds == seeds else f" (n={self.seeds})"
        return f"{self.mean:.2f} ± {self.deviation:.2f}{mark}{fewer}"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table to print: text alone."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def paired_p(first: Array, second: Array) -> float:
    """Two-sided p of a paired randomization test (Fisher-Pitman): how often random signs of the differences give a mean
    at least as far from 0. It assumes no distribution."""
    differences = first - second
    count = len(differences)
    if count <= EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        extra = 0
    else:
        signs = np.random.default_rng(0).choice(np.array([-1, 1]), (DRAWS, count))
        extra = 1  # the observed signs are one more draw: p is never 0
    # A hair below, so that rounding does not part equal sums.
    reached = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    return float((reached.sum() + extra) / (len(signs) + extra))


def summarize(records: Records) -> list[Summary]:
    """Each case, strategy and budget that has results."""
    scores = {key: _scores(CASES[key[0]], found) for key, found in records.items()}
    result = []
    for (case, strategy), found in records.items():
        for budget in sorted({record["budget"] for record in found}):
            runs = [record for record in found if record["budget"] == budget]
            own, base = scores[case, strategy][budget], scores.get((case, RANDOM), {}).get(budget, {})
            result.append(_summary(CASES[case], strategy, budget, runs, own, base))
    return result


def _scores(case: Case, found: Runs) -> dict[int, dict[int, float]]:
    """Budget -> seed -> score."""
    scores: dict[int, dict[int, float]] = {}
    for record in found:
        scores.setdefault(record["budget"], {})[record["seed"]] = case.score(record["rows"], record["epochs"])
    return scores


def _summary(
    case: Case,
    strategy: str,
    budget: int,
    runs: Runs,
    own: Mapping[int, float],
    base: Mapping[int, float],
) -> Summary:
    common = sorted(own.keys() & base.keys()) if strategy != RANDOM else []
    pair = np.array([[own[seed], base[seed]] for seed in common]).reshape(-1, 2)
    seconds = [case.seconds_of(run["rows"], run["trained"]) for run in runs]
    known = [value for value in seconds if value is not None]
    return Summary(
        case.name,
        strategy,
        budget,
        len(own),
        statistics.fmean(own.values()),
        statistics.stdev(own.values()) if len(own) > 1 else 0.0,
        float(pair[:, 0].mean() - pair[:, 1].mean()) if common else None,
        paired_p(pair[:, 0], pair[:, 1]) if common else None,
        statistics.fmean(known) / 3600 if known else None,
        1000 * statistics.median(run["suggest_s"] for run in runs),
        sum(case.violations(run["rows"]) for run in runs),
    )


def case_table(case: Case, summaries: Sequence[Summary], judged: int) -> Rows:
    """The table of a case: one row for each strategy; differences, p and costs are those of the budget `judged`."""
    own = [summary for summary in summaries if summary.case == case.name]
    budgets = sorted({summary.budget for summary in own})
    judged = judged if judged in budgets else max(budgets)
    most = max(summary.seeds for summary in own)
    rows = []
    for strategy in sorted({summary.strategy for summary in own}, key=case.strategies.index):
        by_budget = {summary.budget: summary for summary in own if summary.strategy == strategy}
        cells = (by_budget[budget].cell(most) if budget in by_budget else NO_FIGURE for budget in budgets)
        rows.append((strategy, *cells, *_judged(by_budget.get(judged), case)))
    headings = ["strategy", *map(str, budgets), f"− random at {judged}", "p", "training, h", "ms a suggestion"]
    if case.limit_us is not None:
        headings.append("beyond the limit")
    return Rows(f"{case.title} (best possible {case.best:.2f}; {most} seeds)", tuple(headings), tuple(rows))


def _judged(summary: Summary | None, case: Case) -> tuple[str, ...]:
    if summary is None:
        return (NO_FIGURE,) * (4 + (case.limit_us is not None))
    difference = NO_FIGURE if summary.difference is None else f"{summary.difference:+.2f}"
    p = NO_FIGURE if summary.p is None else "< 0.0001" if summary.p < 1e-4 else f"{summary.p:.4f}"
    hours = NO_FIGURE if summary.hours is None else f"{summary.hours:.1f}"
    limit = () if case.limit_us is None else (str(summary.violations),)
    return (difference, p, hours, f"{summary.suggest_ms:.1f}", *limit)


def overhead_table(overheads: Mapping[str, Mapping[str, float]]) -> Rows:
    """What the strategies themselves cost."""
    rows = tuple(
        (strategy, f"{1000 * found['suggest_s']:.1f}", f"{found['bytes_per_trial'] / 1000:.1f}")
        for strategy, found in overheads.items()
    )
    title = "Cost of the strategy itself at 1,000 finished trials (CPU time, one thread; NAS-Bench-201)"
    return Rows(title, ("strategy", "suggestion, ms", "kB a trial"), rows)


def as_csv(summaries: Iterable[Summary], overheads: Mapping[str, Mapping[str, float]]) -> str:
    """All figures, unrounded; what a strategy itself costs is repeated in its lines."""
    fields = list(Summary.__slots__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*fields, "suggest_ms_at_1000", "bytes_per_trial"])
    for summary in summaries:
        found = overheads.get(summary.strategy)
        own = [1000 * found["suggest_s"], found["bytes_per_trial"]] if found else ["", ""]
        values = (getattr(summary, name) for name in fields)
        writer.writerow(["" if value is None else value for value in (*values, *own)])
    return text.getvalue()


def as_markdown(tables: Iterable[Rows]) -> str:
    """The tables as Markdown."""
    blocks = []
    for table in tables:
        lines = [" | ".join(table.headings), " | ".join(["---", *["---:"] * (len(table.headings) - 1)])]
        lines += [" | ".join(row) for row in table.rows]
        blocks.append(f"**{table.title}**\n\n" + "\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(blocks)


def write_docs(path: Path, tables: Iterable[Rows]) -> None:
    """Puts the tables between the markers. Raises UsageError if these are not there."""
    put_between(path, BEGIN, END, f"\n\n{as_markdown(tables)}\n\n")


def draw(path: Path, records: Records) -> None:
    """Draws the regret (best possible minus what would be chosen) against the evaluations: mean and 95 % interval.

    A panel for each case; the searches are those of the largest budget that all the case's strategies have in common.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = [case for case in CASES.values() if (case.name, RANDOM) in records]
    if not cases:
        return
    across = 2 if len(cases) > 1 else 1
    figure, axes = plt.subplots(-(-len(cases) // across), across, figsize=(6.5 * across, 9 * len(cases) / 6 + 2.5))
    panels = np.atleast_1d(axes).ravel()
    colours = {strategy: f"C{number}" for number, strategy in enumerate(_strategies(records))}
    for panel, case in zip(panels, cases, strict=False):
        _panel(panel, case, {s: found for (name, s), found in records.items() if name == case.name}, colours)
    for panel in panels[len(cases) :]:
        panel.axis("off")
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    buffer = io.BytesIO()
    # Without date and version equal figures are equal files.
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    atomic_write_bytes(path, buffer.getvalue())


def _strategies(records: Records) -> list[str]:
    """In a fixed order, so that a strategy has one colour in all pictures."""
    known = dict.fromkeys(strategy for case in CASES.values() for strategy in case.strategies)
    return [strategy for strategy in known if any(name == strategy for _, name in records)]


def _panel(
    panel: Any, case: Case, found: Mapping[str, Sequence[Mapping[str, Any]]], colours: Mapping[str, str]
) -> None:
    budgets = [{record["budget"] for record in runs} for strategy, runs in found.items() if len(runs) > 1]
    common = set.intersection(*budgets) if budgets else set()
    if not common:
        return
    budget = max(common)
    for strategy in case.strategies:
        runs = [record for record in found.get(strategy, ()) if record["budget"] == budget]
        if len(runs) > 1:
            evaluations, regrets = _regrets(case, runs, budget)
            mean = regrets.mean(axis=0)
            half = 1.96 * regrets.std(axis=0, ddof=1) / np.sqrt(len(runs))
            style = "--" if strategy in (RANDOM, HYPERBAND, "bayesian") else "-"
            seeds = "" if strategy != "bayesian" else f" ({len(runs)} seeds)"
            panel.plot(evaluations, mean, style, color=colours[strategy], label=strategy + seeds, linewidth=1.4)
            panel.fill_between(
                evaluations, np.maximum(mean - half, 1e-3), mean + half, color=colours[strategy], alpha=0.12
            )
    panel.set(yscale="log", title=case.title, xlabel=f"evaluations (of {budget})", ylabel="regret, points")
    panel.title.set_fontsize(9)
    lowest = min((value for line in panel.get_lines() for value in line.get_ydata() if value > LEAST_REGRET), default=1)
    panel.set_ylim(bottom=max(LEAST_REGRET, lowest / 2))  # 0 has no place on a logarithmic axis
    panel.grid(alpha=0.3)


def _regrets(case: Case, runs: Runs, budget: int) -> tuple[Array, Array]:
    """Evaluations (whole trainings), and the regret of each run after as many."""
    evaluations = np.unique(np.linspace(budget / POINTS, budget, POINTS).round())
    whole = max(max(run["epochs"]) for run in runs)
    rows = []
    for run in runs:
        ends = np.searchsorted(np.cumsum(run["trained"]), evaluations * whole, side="right")
        scores = [case.score(run["rows"][:end], run["epochs"][:end]) if end else np.nan for end in ends]
        rows.append([case.best - score for score in scores])
    return evaluations, np.array(rows)
