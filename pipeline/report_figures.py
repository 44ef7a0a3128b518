"""From a run to its figures: what the plots of a report show, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.values import Measurement
from deploy.schemes import SCHEMES
from pipeline import report_units, report_view
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_plots import BLUE, SCHEME_MARKS, VERMILLION, Bar, Dot, Pareto, Series, bars_svg, pareto_svg
from search.settings import PROXY_SCORE
from search.trials import OK, Trial


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the small plots of a recipe: its heading and its SVG."""

    heading: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """The cost that the search weighed: the metric's name, what to divide it by, and its unit in words."""

    metric: str
    divisor: float
    label: str


def pareto(report: RunReport, name: str, width: float, height: float) -> str:
    """The SVG of all finished trials and the released models; inches."""
    search = report.config["search"]
    axis = _cost_axis(report)
    finished = [trial for trial in report.trials if trial.status == OK]
    front = report_view.front(finished, axis.metric)
    view = Pareto(
        series=(*_trial_series(report, finished, axis), *_artifact_series(report, axis)),
        front=tuple((trial.metrics[axis.metric] / axis.divisor, _accuracy(trial)) for trial in front),
        budget=None
        if report_view.is_pareto(report) or not report.trials
        else search[f"target_{axis.metric}"] / axis.divisor,
        cost_label=axis.label,
        alt=f"Validation accuracy in percent against {axis.label}: {len(finished)} finished trials, of which "
        f"{len(front)} on the front, and {len(report.released)} released models. The tables below hold the numbers.",
    )
    return pareto_svg(view, name, width, height)


def panels(report: RunReport, artifact: ArtifactReport) -> tuple[Panel, ...]:
    """Accuracy, size, zipped size and latency (one panel a target) along the steps towards an artifact."""
    steps = report_view.steps(report, artifact)
    name = "steps-" + artifact.plan.name.replace(".", "-")
    images = int(artifact.validation["images"])
    accuracy = [
        Bar(words, 100 * report_view.test_accuracy(step), report_units.percent(report_view.test_accuracy(step), images))
        for words, step in steps
    ]
    sizes = [Bar(words, step.artifact.size_bytes, report_units.size(step.artifact.size_bytes)) for words, step in steps]
    zipped = [Bar(words, step.zipped_bytes, report_units.size(step.zipped_bytes)) for words, step in steps]
    found = [
        _panel("Test accuracy", f"{name}-accuracy", accuracy, zero_based=False),
        _panel("Size of the .tflite", f"{name}-size", sizes),
        _panel("Size when zipped", f"{name}-zipped", zipped),
    ]
    for target in report_view.targets(report):
        bars = [_latency_bar(words, m) for words, step in steps for m in step.measurements if m.target.name == target]
        found += [_panel(f"Latency on {target}", f"{name}-{target}", bars)] if bars else []
    return tuple(found)


def _cost_axis(report: RunReport) -> _Axis:
    search = report.config["search"]
    if search["cost"] == "macs":
        return _Axis("macs", 1e6, "Multiply-accumulates, millions")
    return _Axis("latency_us", 1.0, f"Median latency on {search['target']}, µs")


def _accuracy(trial: Trial) -> float:
    return 100 * report_view.quality(trial)


def _trial_series(report: RunReport, finished: Sequence[Trial], axis: _Axis) -> tuple[Series, ...]:
    # The score of a proxy is no accuracy, and must not stand beside those of the released models.
    finished = [trial for trial in finished if PROXY_SCORE not in trial.metrics]
    others = [trial for trial in finished if trial.index not in report.winners]
    winners = [trial for trial in finished if trial.index in report.winners]
    linked = len(report.trials) <= report_view.MAX_TRIAL_ROWS
    labels = tuple(f"trial {trial.index + 1}" for trial in winners)
    found = (
        Series("trial", "o", BLUE, 50, tuple(_trial_dot(trial, axis) for trial in others), linked=linked),
        Series("winner of the search", "*", VERMILLION, 210, tuple(_trial_dot(t, axis) for t in winners), labels),
    )
    return tuple(series for series in found if series.dots)


def _trial_dot(trial: Trial, axis: _Axis) -> Dot:
    cost = trial.metrics[axis.metric] / axis.divisor
    lines = (
        f"trial {trial.index + 1}, {trial.epochs} epochs",
        f"{_accuracy(trial):.2f} %; {axis.label}: {report_units.number(cost)}",
        trial.arch,
    )
    return Dot(cost, _accuracy(trial), "\n".join(lines), f"trial-{trial.index + 1}")


def _artifact_series(report: RunReport, axis: _Axis) -> list[Series]:
    found = []
    for scheme in SCHEMES:
        artifacts = [a for a in report.released if a.plan.scheme == scheme]
        costs = [(a, cost) for a in artifacts if (cost := report_view.measured_cost(report, a)) is not None]
        if costs:
            dots = tuple(_artifact_dot(artifact, cost / axis.divisor, axis) for artifact, cost in costs)
            labels = tuple(report_view.label(report, artifact) for artifact, _ in costs)
            marker, color = SCHEME_MARKS[scheme]
            found.append(Series(f"released, {scheme.replace('_', ' ')}", marker, color, 66, dots, labels))
    return found


def _artifact_dot(artifact: ArtifactReport, cost: float, axis: _Axis) -> Dot:
    accuracy = 100 * artifact.val_accuracy
    text = f"{artifact.file}\n{accuracy:.2f} %; {axis.label}: {report_units.number(cost)}"
    return Dot(cost, accuracy, text, f"model-{artifact.plan.name}")


def _latency_bar(words: str, measurement: Measurement) -> Bar:
    latency = measurement.latency
    medians = latency.process_medians_us
    repeats = (min(medians), max(medians)) if medians else None
    return Bar(words, latency.median_us, report_units.latency(latency.median_us), repeats, measurement.verdict != "ok")


def _panel(heading: str, name: str, bars: Sequence[Bar], *, zero_based: bool = True) -> Panel:
    alt = f"{heading}: " + ", ".join(f"{bar.name} {bar.text}{' (noisy)' if bar.noisy else ''}" for bar in bars)
    return Panel(heading, bars_svg(bars, name, alt, zero_based=zero_based))
