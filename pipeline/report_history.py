"""What a report says of earlier releases, as plain values: changes since the last one, and figures over all of them."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deploy.changes import ACCURACY, BETTER, LATENCY, MODEL, NOT_COMPARED, REGRESSION, SIZE, Change
from deploy.manifest import ReleaseLatency, ReleaseModel, latency_of
from deploy.store.index_file import IndexModel
from pipeline import report_units
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_lines import Line, LinePlot
from pipeline.report_releases import PastRelease
from pipeline.report_view import label, targets

MAX_RELEASES = 30  # in the plots; the table has all
MAX_LINES = 10  # recipes in one plot
MAX_LATENCY_PLOTS = 2
THIS_RUN = "this run"


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A gate's finding in words; `target` is "" but for latencies, "–" stands for what there is not.

    `order` sorts by the change: a number, or "" without one.
    """

    model: str
    figure: str
    target: str
    before: str
    after: str
    change: str
    interval: str
    limit: str
    verdict: str
    reason: str
    order: str


def change_rows(report: RunReport) -> tuple[ChangeRow, ...]:
    """Every change since the previous release, regressions first, otherwise in the gates' order."""
    if report.previous is None:
        return ()
    found = sorted(report.previous.changes, key=lambda change: change.verdict != REGRESSION)
    images = report.data["counts"]["test"]
    return tuple(_change_row(change, images) for change in found)


def change_headline(report: RunReport) -> str:
    """How many figures are better, within their limits, regressions, or could not be compared."""
    if report.previous is None:
        return ""
    counts = Counter(change.verdict for change in report.previous.changes)
    parts = [f"{counts[REGRESSION]} regression{'s' if counts[REGRESSION] != 1 else ''}" if counts[REGRESSION] else ""]
    parts += [f"{counts[BETTER]} better" if counts[BETTER] else ""]
    parts += [f"{counts['ok']} within the limits" if counts["ok"] else ""]
    parts += [f"{counts[NOT_COMPARED]} not compared" if counts[NOT_COMPARED] else ""]
    figures = sum(counts.values())
    return f"Of {figures} figure{'s' if figures != 1 else ''}: {', '.join(part for part in parts if part)}."


def predecessor(report: RunReport, artifact: ArtifactReport) -> ReleaseModel | None:
    """The model of the previous release that has the artifact's winner and recipe."""
    models = report.previous.manifest.artifacts if report.previous else ()
    own = (artifact.plan.winner, artifact.plan.recipe)
    return next((model for model in models if (model.winner, model.recipe) == own), None)


def added(report: RunReport) -> tuple[str, ...]:
    """The labels of the released models that the previous release did not have."""
    return tuple(label(report, artifact) for artifact in report.released if predecessor(report, artifact) is None)


def regressed(report: RunReport) -> tuple[ChangeRow, ...]:
    """The changes that speak against publishing."""
    return tuple(row for row in change_rows(report) if row.verdict == REGRESSION)


def _change_row(change: Change, images: int) -> ChangeRow:
    write, differ, limit = (_accuracy_words if change.what == ACCURACY else _growth_words)(change.what, images)
    interval = report_units.MISSING
    if change.low is not None and change.high is not None and change.what != SIZE:
        interval = f"{differ(change.low).split(report_units.NBSP)[0]} to {differ(change.high)}"
    return ChangeRow(
        model=change.model,
        figure={ACCURACY: "test accuracy", MODEL: "the model itself"}.get(change.what, change.what),
        target=change.target,
        before=report_units.MISSING if change.before is None else write(change.before),
        after=report_units.MISSING if change.after is None else write(change.after),
        change=report_units.MISSING if change.change is None else differ(change.change),
        interval=interval,
        limit=report_units.MISSING if change.what == MODEL else limit(change.limit),
        verdict=change.verdict,
        reason=change.reason,
        order="" if change.change is None else f"{change.change:.6f}",
    )


Writers = tuple[Callable[[float], str], Callable[[float], str], Callable[[float], str]]


def _accuracy_words(_: str, images: int) -> Writers:
    """How to print an accuracy, a change of it, and its limit."""
    return (
        lambda value: report_units.percent(value, images),
        lambda value: f"{report_units.points(value, images)}{report_units.NBSP}points",
        lambda value: f"−{100 * value:g}{report_units.NBSP}points",
    )


def _growth_words(what: str, _: int) -> Writers:
    """How to print a size or a latency, its relative change, and the limit."""
    write = report_units.latency if what == LATENCY else report_units.size
    return write, report_units.growth, lambda value: f"+{100 * value:g}{report_units.NBSP}%"


def releases(report: RunReport, created: str) -> tuple[PastRelease, ...]:
    """All releases of the store's history, oldest first, and this run as the last; none without a previous one."""
    if report.previous is None:
        return ()
    own = tuple(
        IndexModel(
            file=artifact.file,
            recipe=artifact.plan.recipe,
            scheme=artifact.plan.scheme,
            size_bytes=artifact.artifact.size_bytes,
            zipped_bytes=artifact.zipped_bytes,
            test_accuracy=float(artifact.validation["tflite_accuracy"]),
            latency=tuple(latency_of(measurement) for measurement in artifact.measurements),
            winner=artifact.plan.winner,
        )
        for artifact in report.released
    )
    return (*report.previous.history, PastRelease(THIS_RUN, created, own))


def short_names(found: Sequence[PastRelease]) -> tuple[str, ...]:
    """A label for each release: its day, or its time where two are of one day; the last is this run."""
    times = [datetime.datetime.fromisoformat(release.created) for release in found[:-1]]
    days = [f"{time.day} {time:%b}" for time in times]
    names = [f"{day}\n{time:%H:%M}" if days.count(day) > 1 else day for day, time in zip(days, times, strict=True)]
    return (*names, THIS_RUN)


def history_plots(report: RunReport, found: Sequence[PastRelease]) -> tuple[LinePlot, ...]:
    """Test accuracy, size, and the latency on the first targets, a line for each recipe of this run."""
    shown = tuple(found[-MAX_RELEASES:])
    recipes = list(dict.fromkeys(_recipe(model, found) for model in found[-1].models))[:MAX_LINES]
    plots = [
        replace(_plot("Test accuracy, %", shown, recipes, lambda model: 100 * model.test_accuracy), most=100.0),
        _plot("Size of the .tflite, kB", shown, recipes, lambda model: model.size_bytes / 1e3),
    ]
    for target in targets(report)[:MAX_LATENCY_PLOTS]:
        plots.append(_latency_plot(target, shown, recipes))
    return tuple(plot for plot in plots if plot.lines)


def _plot(
    label: str, found: Sequence[PastRelease], recipes: Sequence[str], value: Callable[[IndexModel], float | None]
) -> LinePlot:
    lines = []
    for recipe in recipes:
        models = [_model(release, recipe, found) for release in found]
        values = tuple(None if model is None else value(model) for model in models)
        lines += [Line(recipe, values)] if any(item is not None for item in values) else []
    return LinePlot(label, tuple(lines))


def _latency_plot(target: str, found: Sequence[PastRelease], recipes: Sequence[str]) -> LinePlot:
    def median(model: IndexModel) -> float | None:
        latency = latency_on(model, target)
        return None if latency is None else latency.median_us

    plain = _plot(f"Median latency on {target}, µs", found, recipes, median)
    return LinePlot(plain.label, tuple(_with_intervals(line, target, found) for line in plain.lines))


def _with_intervals(line: Line, target: str, found: Sequence[PastRelease]) -> Line:
    models = [_model(release, line.name, found) for release in found]
    figures = [None if model is None else latency_on(model, target) for model in models]
    ends = tuple((figure.low_us, figure.high_us) if figure and figure.high_us else None for figure in figures)
    return Line(line.name, line.values, ends)


def latency_on(model: IndexModel | ReleaseModel, target: str) -> ReleaseLatency | None:
    """The model's latency on a target, if it has a figure there."""
    return next((latency for latency in model.latency if latency.target == target), None)


def _model(release: PastRelease, recipe: str, found: Sequence[PastRelease]) -> IndexModel | None:
    return next((model for model in release.models if _recipe(model, found) == recipe), None)


def _recipe(model: IndexModel, found: Sequence[PastRelease]) -> str:
    """The recipe; with the winner's number where any release has several."""
    several = any(other.winner for release in found for other in release.models)
    return f"w{model.winner} {model.recipe}" if several else model.recipe
