"""Comparisons of results as values: two releases, two devices, a leaderboard, the operators of a model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from android_bench.bootstrap import permutation_p, ratio_interval
from android_bench.results import BenchEntry
from core.values import LatencyStats, Measurement, OpTime

MAX_P = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model before and after on one target (or, by `compare_targets`, on two).

    `ratio` is the median after by the median before, `low` to `high` its 95 % bootstrap interval, and `p` that of the
    permutation test on the session medians. `cautions` say what the two figures differ in besides, or why one of them
    should not be trusted.
    """

    model: str
    target: str
    before_us: float
    after_us: float
    ratio: float
    low: float
    high: float
    p: float
    cautions: tuple[str, ...] = ()

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 1 and chance alone hardly explains the difference (p at most 0.05)."""
        return self.p <= MAX_P and not self.low <= 1 <= self.high

    @property
    def outcome(self) -> str:
        """ "faster", "slower" or "no significant difference"."""
        if not self.significant:
            return "no significant difference"
        return "faster" if self.ratio < 1 else "slower"


@dataclass(frozen=True, slots=True)
class Cell:
    """A model on a target in the leaderboard: `rank` from 1 among the models measured there, with `latency` None where
    there is no figure and `verdict` says why."""

    target: str
    latency: LatencyStats | None
    rank: int | None
    verdict: str


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """A model over all targets. `score` is the geometric mean of its latency by that of the fastest model on each
    target (1: the fastest everywhere); None if a target has no figure of it."""

    model: str
    score: float | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class OpRow:
    """All operators of one type and delegate in a model; `delegate` is "" for LiteRT's own kernels."""

    node_type: str
    delegate: str
    count: int
    total_us: float
    share: float


@dataclass(frozen=True, slots=True)
class OpTable:
    """What takes the time. `rows` are by type, `slowest` single operators, each the slowest first; `not_delegated` are
    those that the target's delegate did not take (none for a target without one), `delegated_share` is of the time."""

    rows: tuple[OpRow, ...]
    slowest: tuple[OpTime, ...]
    not_delegated: tuple[OpTime, ...]
    delegated_share: float


def compare(before: Iterable[BenchEntry], after: Iterable[BenchEntry]) -> tuple[Comparison, ...]:
    """Pairs of entries with the same model and target names and a figure on both sides, in the order of `after`."""
    old = {(entry.model, entry.target.name): entry for entry in before}
    pairs = ((old.get((entry.model, entry.target.name)), entry) for entry in after)
    return tuple(
        _comparison(first, second, first.latency, second.latency)
        for first, second in pairs
        if first and first.latency and second.latency
    )


def not_compared(before: Iterable[BenchEntry], after: Iterable[BenchEntry]) -> tuple[tuple[str, str, str], ...]:
    """(model, target, reason) of every pair that `compare` leaves out."""
    sides = [{(entry.model, entry.target.name): entry for entry in entries} for entries in (before, after)]
    result = []
    for key in dict.fromkeys([*sides[1], *sides[0]]):
        for words, side in zip(("before", "after"), sides, strict=True):
            entry = side.get(key)
            if entry is None or entry.latency is None:
                result.append((*key, f"{words}: {entry.verdict if entry else 'not measured'}"))
    return tuple(result)


def compare_targets(entries: Iterable[BenchEntry], before: str, after: str) -> tuple[Comparison, ...]:
    """`compare` for two targets, by name, and the models that have a figure on both."""
    words = f"{before} -> {after}"
    sides: dict[str, list[BenchEntry]] = {before: [], after: []}
    for entry in entries:
        if entry.target.name in sides:
            sides[entry.target.name].append(replace(entry, target=replace(entry.target, name=words)))
    return compare(sides[before], sides[after])


def leaderboard(entries: Sequence[BenchEntry]) -> tuple[LeaderboardRow, ...]:
    """Models over targets, the best score first; models without a score last, in their order."""
    models = list(dict.fromkeys(entry.model for entry in entries))
    targets = list(dict.fromkeys(entry.target.name for entry in entries))
    found = {(entry.model, entry.target.name): entry for entry in entries}
    medians: dict[str, list[float]] = {target: [] for target in targets}
    for (_, target), entry in found.items():
        if entry.latency:
            medians[target].append(entry.latency.median_us)
    rows = [
        _row(model, [(target, found.get((model, target)), medians[target]) for target in targets]) for model in models
    ]
    return tuple(sorted(rows, key=lambda row: math.inf if row.score is None else row.score))


def op_table(measurement: Measurement, slowest: int = 10) -> OpTable:
    """The operator profile of a measurement, with its `slowest` single operators; empty if there is no profile."""
    groups: dict[tuple[str, str], list[OpTime]] = {}
    for op in measurement.ops:
        groups.setdefault((op.node_type, op.delegate), []).append(op)
    rows = [
        OpRow(kind, delegate, len(ops), sum(op.avg_us for op in ops), sum(op.share for op in ops))
        for (kind, delegate), ops in groups.items()
    ]
    own = () if measurement.target.delegate == "cpu" else tuple(op for op in measurement.ops if not op.delegate)
    by_time = sorted(measurement.ops, key=lambda op: -op.avg_us)
    return OpTable(
        rows=tuple(sorted(rows, key=lambda row: -row.total_us)),
        slowest=tuple(by_time[:slowest]),
        not_delegated=tuple(sorted(own, key=lambda op: -op.avg_us)),
        delegated_share=sum(op.share for op in measurement.ops if op.delegate),
    )


def _comparison(first: BenchEntry, second: BenchEntry, before: LatencyStats, after: LatencyStats) -> Comparison:
    low, high = ratio_interval(before.process_medians_us, after.process_medians_us)
    return Comparison(
        model=second.model,
        target=second.target.name,
        before_us=before.median_us,
        after_us=after.median_us,
        ratio=after.median_us / before.median_us,
        low=low,
        high=high,
        p=permutation_p(before.process_medians_us, after.process_medians_us),
        cautions=tuple(_cautions(first, second, before, after)),
    )


def _cautions(first: BenchEntry, second: BenchEntry, before: LatencyStats, after: LatencyStats) -> Iterable[str]:
    for words, entry in (("before", first), ("after", second)):
        if entry.verdict != "ok":
            yield f"{words}: {entry.verdict}"
    if before.center != after.center:
        yield f"a {before.center} is compared with a {after.center}"
    tools = [entry.measurement.tool if entry.measurement else "" for entry in (first, second)]
    if tools[0] != tools[1]:
        yield f"different tools: {tools[0]} and {tools[1]}"
    differing = [
        key
        for key in ("num_threads", "delegate", "cores", "cpu_mask")
        if getattr(first.target, key) != getattr(second.target, key)
    ]
    if differing:
        yield "different " + " and ".join(
            f"{key} ({getattr(first.target, key)} and {getattr(second.target, key)})" for key in differing
        )


def _row(model: str, columns: Sequence[tuple[str, BenchEntry | None, Sequence[float]]]) -> LeaderboardRow:
    cells, relative = [], []
    for target, entry, medians in columns:
        latency = entry.latency if entry else None
        rank = None
        if latency:
            rank = 1 + sum(median < latency.median_us for median in medians)
            relative.append(latency.median_us / min(medians))
        cells.append(Cell(target, latency, rank, entry.verdict if entry else "not measured"))
    score = statistics.geometric_mean(relative) if relative and len(relative) == len(columns) else None
    return LeaderboardRow(model, score, tuple(cells))
