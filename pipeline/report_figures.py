"""What the waterfalls of a recipe's steps and the plots over releases show of a run, in words and numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.values import Measurement
from pipeline import report_history, report_units, report_view
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_lines import lines_svg
from pipeline.report_releases import PastRelease
from pipeline.report_waterfall import Step, waterfall_svg


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the small plots of a recipe: its heading and its SVG."""

    heading: str
    svg: str


def panels(report: RunReport, artifact: ArtifactReport) -> tuple[Panel, ...]:
    """Waterfalls of accuracy, size, zipped size and latency (one a target) along the steps towards an artifact."""
    steps = report_view.steps(report, artifact)
    name = "steps-" + artifact.plan.name.replace(".", "-")
    result = report_view.label(report, artifact)
    images = int(artifact.validation["images"])
    found = [
        _panel("Test accuracy", f"{name}-accuracy", _accuracy_steps(steps, images), result, zero_based=False),
        _panel(
            "Size of the .tflite", f"{name}-size", _size_steps(steps, lambda step: step.artifact.size_bytes), result
        ),
        _panel("Size when zipped", f"{name}-zipped", _size_steps(steps, lambda step: step.zipped_bytes), result),
    ]
    for target in report_view.targets(report):
        measured = [(words, m) for words, step in steps for m in step.measurements if m.target.name == target]
        if measured:
            found.append(_panel(f"Latency on {target}", f"{name}-{target}", _latency_steps(measured), result))
    return tuple(found)


def history(report: RunReport, releases: Sequence[PastRelease], name: str, width: float) -> str:
    """The SVG of all releases' figures; inches."""
    plots = report_history.history_plots(report, releases)
    shown = releases[-report_history.MAX_RELEASES :]
    names = report_history.short_names(shown)
    alt = f"{', '.join(plot.label for plot in plots)} of each recipe over {len(shown)} releases. "
    return lines_svg(plots, names, name, alt + "The table below holds the numbers.", width)


def _accuracy_steps(steps: Sequence[tuple[str, ArtifactReport]], images: int) -> list[Step]:
    values = [(words, report_view.test_accuracy(step)) for words, step in steps]
    return _steps(
        [(words, 100 * value, report_units.percent(value, images)) for words, value in values],
        lambda change: report_units.points(change / 100, images),
        better=1,
    )


def _size_steps(steps: Sequence[tuple[str, ArtifactReport]], size_of: Callable[[ArtifactReport], int]) -> list[Step]:
    values = [(words, float(size_of(step)), report_units.size(size_of(step))) for words, step in steps]
    return _steps(values, lambda change: report_units.signed(change, report_units.size), better=-1)


def _latency_steps(measured: Sequence[tuple[str, Measurement]]) -> list[Step]:
    values = [(words, m.latency.median_us, report_units.latency(m.latency.median_us)) for words, m in measured]
    found = _steps(values, lambda change: report_units.signed(change, report_units.latency), better=-1)
    ends = [report_view.interval(m) for _, m in measured]
    noisy = [m.verdict != "ok" for _, m in measured]
    return [replace(step, interval=e, noisy=n) for step, e, n in zip(found, ends, noisy, strict=True)]


def _steps(values: Sequence[tuple[str, float, str]], write: Callable[[float], str], better: int) -> list[Step]:
    """`better` is 1 where more is better, else -1."""
    (name, value, text), *_ = values
    found = [Step(name, value, text)]
    for (_, before, _), (name, value, text) in itertools.pairwise(values):
        change = value - before
        gain = better * ((change > 0) - (change < 0))
        found.append(Step(name, value, text, write(change), gain))
    return found


def _panel(heading: str, name: str, steps: Sequence[Step], result: str, *, zero_based: bool = True) -> Panel:
    noisy = {True: " (noisy)", False: ""}
    words = [f"{step.name} {step.text}{noisy[step.noisy]}" for step in steps]
    return Panel(heading, waterfall_svg(steps, result, name, f"{heading}: {', '.join(words)}", zero_based=zero_based))
