"""The report of a run: one self-contained HTML page that loads nothing from anywhere, and a summary in Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from android_bench.protocol import SEARCH_PROCESSES
from pipeline import (
    report_again,
    report_figures,
    report_files,
    report_history,
    report_pareto,
    report_trials,
    report_units,
    report_view,
)
from pipeline.arch_words import network_words
from pipeline.pages import environment, lost, times
from pipeline.report_data import ArtifactReport, RunReport
from pipeline.report_releases import PastRelease
from search.trials import FAILED, OK

MAX_MATRIX_CLASSES = 20  # more do not fit on a screen: the most frequent confusions are listed instead
CONFUSIONS = 20

# Whose functions the templates call, by the names they have there.
_MODULES = {
    "view": report_view,
    "trials": report_trials,
    "releases": report_history,
    "again": report_again,
    "files": report_files,
    "units": report_units,
    "network_words": network_words,
}


def render(report: RunReport, created: str) -> str:
    """The whole page; `created` is an ISO 8601 time. The same arguments give the same text, byte for byte."""
    return environment().get_template("report.html.j2").render(_values(report, created))


def summary(report: RunReport, created: str) -> str:
    """The headline, the released models and the failures as Markdown."""
    return environment().get_template("summary.md.j2").render(_values(report, created))


def headline(report: RunReport) -> str:
    """One paragraph: what the best full-integer model gained and lost against its float32 parent."""
    artifact = report_view.headline_artifact(report)
    if artifact is None:
        return "No model was released: every recipe failed."
    kind = "best full-integer model" if report_view.best(report) else "best model (none is full-integer)"
    own = f"{artifact.file} is the {kind}, chosen by validation accuracy."
    gain = report_view.gain(report, artifact)
    correct = f"{report_units.percent(report_view.test_accuracy(artifact), _images(artifact))} of the "
    correct += f"{_images(artifact):,} test images right"
    if gain is None:
        return f"{own} It has {report_units.size(artifact.artifact.size_bytes)} and gets {correct}."
    before, after = gain.parent.artifact.size_bytes, artifact.artifact.size_bytes
    sizes = f"{report_units.size(after)} against {report_units.size(before)}"
    gains = [f"{times(gain.smaller, 'smaller', 'larger')} ({sizes})"]
    for speed in gain.speeds:
        medians = f"{report_units.latency(speed.own_us)} against {report_units.latency(speed.parent_us)}"
        noisy = "" if speed.trusted else ", noisy"
        gains.append(f"{times(speed.times, 'faster', 'slower')} on {speed.target} ({medians}{noisy})")
    points = lost(gain.points_lost, _images(artifact))
    return f"{own} Against its float32 parent it is {', '.join(gains)}, and gets {correct}: {points}."


def _values(report: RunReport, created: str) -> dict[str, Any]:
    """What the templates use."""
    chosen = report_view.headline_artifact(report)
    shared, differing = report_view.conditions(report)
    past = report_history.releases(report, created)
    return {
        **_MODULES,
        **_figures(report, past),
        "report": report,
        "created": created,
        "headline": headline(report),
        "chosen": chosen,
        "gain": report_view.gain(report, chosen) if chosen else None,
        "before": report_history.predecessor(report, chosen) if chosen else None,
        "past": past,
        "images": _images(report.artifacts[0]),
        "is_ok": lambda trial: trial.status == OK,
        "failed_trials": sum(trial.status == FAILED for trial in report.trials),
        "max_matrix_classes": MAX_MATRIX_CLASSES,
        "confusions": CONFUSIONS,
        "search_processes": min(report.config["bench"]["processes"], SEARCH_PROCESSES),
        "doubts": report_view.doubts(report),
        "shared_conditions": shared,
        "differing_conditions": differing,
        "config_json": json.dumps(report.config, indent=2, ensure_ascii=False),
        "shade": _shade,
        "missing": report_units.MISSING,
    }


def _figures(report: RunReport, past: Sequence[PastRelease]) -> dict[str, Any]:
    """The plots, which the templates ask for by name and size in inches."""
    return {
        "pareto": lambda name, width, height: Markup(report_pareto.pareto(report, name, width, height)),
        "earlier_points": bool(report_pareto.earlier_models(report)),
        "history": lambda name, width: Markup(report_figures.history(report, past, name, width)),
        "panels": lambda artifact: report_figures.panels(report, artifact),
        "markup": Markup,
    }


def _images(artifact: ArtifactReport) -> int:
    return int(artifact.validation["images"])


def _shade(share: float, diagonal: bool) -> str:
    """The style of a cell of the confusion matrix: blue for what is right, orange for errors, which are stretched
    by a square root because a few in a hundred matter."""
    red, green, blue = (0, 114, 178) if diagonal else (230, 140, 0)
    strength = share if diagonal else share**0.5
    mixed = [round(255 + (channel - 255) * strength) for channel in (red, green, blue)]
    text = "#fff" if diagonal and strength > 0.6 else "inherit"
    return f"background: rgb({mixed[0]} {mixed[1]} {mixed[2]}); color: {text}"
