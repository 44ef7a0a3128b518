"""What the plot of accuracy against cost shows of a run: trials, their front, released models and earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.manifest import ReleaseModel
from deploy.schemes import SCHEMES
from pipeline import report_trials, report_units, report_view
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_history import predecessor
from pipeline.report_plots import EARLIER, SCHEME_MARKS, Dot, Pane, Point, Series, pareto_svg
from pipeline.report_svg import BLUE, VERMILLION
from search.settings import PROXY_SCORE
from search.trials import OK, Trial


@dataclass(frozen=True, slots=True)
class _Axis:
    """A cost: its label with the unit, and how a trial, a model and an earlier release's model tell it (None: not)."""

    label: str
    trial: Callable[[Trial], float | None]
    artifact: Callable[[ArtifactReport], float | None]
    earlier: Callable[[ReleaseModel], float | None]
    budget: float | None = None


def pareto(report: RunReport, name: str, width: float, height: float) -> str:
    """The SVG of all finished trials, the released models and those of the release before; inches.

    One pane for the cost that the search weighed, and one for size.
    """
    finished = [trial for trial in report.trials if trial.status == OK]
    panes = [_pane(report, finished, axis) for axis in (_search_axis(report), _size_axis())]
    panes = [pane for pane in panes if pane.dots]
    before = f", and {len(report.previous.manifest.artifacts)} of the previous release" if report.previous else ""
    alt = f"Validation accuracy in percent against {' and '.join(pane.cost_label for pane in panes)}: {len(finished)} "
    alt += f"finished trials and {len(report.released)} released models{before}. The tables below hold the numbers."
    return pareto_svg(panes, name, alt, width, height)


def earlier_models(report: RunReport) -> tuple[ReleaseModel, ...]:
    """The previous release's models whose validation accuracy is known."""
    models = report.previous.manifest.artifacts if report.previous else ()
    return tuple(model for model in models if model.val_accuracy)


def _search_axis(report: RunReport) -> _Axis:
    """The cost that the search weighed."""
    search = report.config["search"]
    has_budget = bool(report.trials) and not report_trials.is_pareto(report)
    if search["cost"] == "macs":
        return _Axis(
            "Multiply-accumulates, millions",
            lambda trial: trial.metrics["macs"] / 1e6,
            lambda artifact: artifact.macs / 1e6,
            lambda model: model.macs / 1e6,
            search["target_macs"] / 1e6 if has_budget else None,
        )
    return _Axis(
        f"Median latency on {search['target']}, µs",
        lambda trial: trial.metrics["latency_us"],
        lambda artifact: report_view.median_on(artifact, search["target"]),
        lambda model: next((item.median_us for item in model.latency if item.target == search["target"]), None),
        search["target_latency_us"] if has_budget else None,
    )


def _size_axis() -> _Axis:
    def of_trial(trial: Trial) -> float | None:
        size = trial.metrics.get("size_bytes")
        return None if size is None else size / 1e3

    return _Axis(
        "Size of the .tflite, kB",
        of_trial,
        lambda artifact: artifact.artifact.size_bytes / 1e3,
        lambda model: model.size_bytes / 1e3,
    )


def _pane(report: RunReport, finished: Sequence[Trial], axis: _Axis) -> Pane:
    costs = {trial.index: cost for trial in finished if (cost := axis.trial(trial)) is not None}
    front = report_trials.front([trial for trial in finished if trial.index in costs], lambda t: costs[t.index])
    return Pane(
        cost_label=axis.label,
        series=(
            *_trial_series(report, finished, costs),
            *_earlier_series(report, axis),
            *_artifact_series(report, axis),
        ),
        front=tuple((costs[trial.index], _accuracy(trial)) for trial in front),
        budget=axis.budget,
        moves=_moves(report, axis),
    )


def _accuracy(trial: Trial) -> float:
    return 100 * report_trials.quality(trial)


def _trial_series(report: RunReport, finished: Sequence[Trial], costs: dict[int, float]) -> tuple[Series, ...]:
    # The score of a proxy is no accuracy, and must not stand beside those of the released models.
    judged = [trial for trial in finished if PROXY_SCORE not in trial.metrics and trial.index in costs]
    others = [trial for trial in judged if trial.index not in report.winners]
    winners = [trial for trial in judged if trial.index in report.winners]
    linked = len(report.trials) <= report_trials.MAX_TRIAL_ROWS
    labels = tuple(f"trial {trial.index + 1}" for trial in winners)
    dots, best = (tuple(_trial_dot(trial, costs[trial.index]) for trial in group) for group in (others, winners))
    found = (
        Series("trial", "o", BLUE, 50, dots, linked=linked),
        Series("winner of the search", "*", VERMILLION, 210, best, labels),
    )
    return tuple(series for series in found if series.dots)


def _trial_dot(trial: Trial, cost: float) -> Dot:
    metrics = trial.metrics
    figures = [f"{_accuracy(trial):.2f} %", f"{report_units.count(metrics['macs'])} MACs"]
    figures += [report_units.latency(metrics["latency_us"])] if "latency_us" in metrics else []
    figures += [report_units.size(metrics["size_bytes"])] if "size_bytes" in metrics else []
    lines = (
        f"trial {trial.index + 1}, {trial.epochs} epochs",
        "; ".join(figures),
        trial.arch,
    )
    return Dot(cost, _accuracy(trial), "\n".join(lines), f"trial-{trial.index + 1}")


def _artifact_series(report: RunReport, axis: _Axis) -> list[Series]:
    found = []
    for scheme in SCHEMES:
        artifacts = [a for a in report.released if a.plan.scheme == scheme]
        costs = [(a, cost) for a in artifacts if (cost := axis.artifact(a)) is not None]
        if costs:
            dots = tuple(_artifact_dot(report, artifact, cost) for artifact, cost in costs)
            labels = tuple(report_view.label(report, artifact) for artifact, _ in costs)
            marker, color = SCHEME_MARKS[scheme]
            found.append(Series(f"released, {scheme.replace('_', ' ')}", marker, color, 66, dots, labels))
    return found


def _artifact_dot(report: RunReport, artifact: ArtifactReport, cost: float) -> Dot:
    figures = [f"{100 * artifact.val_accuracy:.2f} %", report_units.size(artifact.artifact.size_bytes)]
    for measurement in artifact.measurements:
        figures.append(f"{report_units.latency(measurement.latency.median_us)} on {measurement.target.name}")
    text = f"{artifact.file}\n{'; '.join(figures)}"
    return Dot(cost, 100 * artifact.val_accuracy, text, f"model-{artifact.plan.name}")


def _earlier_series(report: RunReport, axis: _Axis) -> list[Series]:
    """The previous release's models, hollow; those whose validation accuracy it does not tell are left out."""
    found = []
    for scheme in SCHEMES:
        models = [model for model in earlier_models(report) if model.scheme == scheme]
        dots = tuple(_earlier_dot(model, cost) for model in models if (cost := axis.earlier(model)) is not None)
        marker, color = SCHEME_MARKS[scheme]
        if dots:
            name = f"{EARLIER}, {scheme.replace('_', ' ')}"
            found.append(Series(name, marker, color, 46, dots, hollow=True))
    return found


def _earlier_dot(model: ReleaseModel, cost: float) -> Dot:
    figures = f"{100 * model.val_accuracy:.2f} %; {report_units.size(model.size_bytes)}"
    for latency in model.latency:
        figures += f"; {report_units.latency(latency.median_us)} on {latency.target}"
    text = f"previous release: {model.file}\n{figures}"
    return Dot(cost, 100 * model.val_accuracy, text, f"previous-{model.file}")


def _moves(report: RunReport, axis: _Axis) -> tuple[tuple[Point, Point], ...]:
    """From each model of the previous release to that of the same winner and recipe."""
    found = []
    for artifact in report.released:
        model = predecessor(report, artifact)
        if model is None or not model.val_accuracy:
            continue
        before, after = axis.earlier(model), axis.artifact(artifact)
        if before is not None and after is not None:
            found.append(((before, 100 * model.val_accuracy), (after, 100 * artifact.val_accuracy)))
    return tuple(found)
