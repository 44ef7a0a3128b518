"""What a report says of the trials of a search, as plain values: the front, the rows and columns of their table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.report_data import RunReport
from search import pareto
from search.front import hypervolume_share
from search.objective import PARETO
from search.settings import PROXY_SCORE
from search.trials import OK, Trial

MAX_TRIAL_ROWS = 500  # a table of more would make the page slow and is in report.json anyway


def quality(trial: Trial) -> float:
    """The validation accuracy of a trial: of its .tflite if it was compressed by a recipe, else of the Keras network;
    of one that was not trained the proxy's place between 0 and 1."""
    if trial.recipe:
        return trial.metrics["int8_val_accuracy"]
    return trial.metrics[PROXY_SCORE] if PROXY_SCORE in trial.metrics else trial.metrics["val_accuracy"]


def front(trials: Sequence[Trial], cost: Callable[[Trial], float]) -> tuple[Trial, ...]:
    """The trials that no other beats in both validation accuracy (or proxy) and cost, by rising cost."""
    finished = [trial for trial in trials if trial.status == OK]
    found: list[Trial] = []
    for trial in sorted(finished, key=lambda t: (cost(t), -quality(t), t.index)):
        if not found or quality(trial) > quality(found[-1]):
            found.append(trial)
    return tuple(found)


def is_pareto(report: RunReport) -> bool:
    """Whether the search looked for a front of several objectives, without a budget."""
    return bool(report.config["search"]["objective"] == PARETO)


def pareto_front(report: RunReport) -> tuple[Trial, ...]:
    """The non-dominated trials of a Pareto search by its own objectives, the best in the first one first."""
    return pareto.front(report.trials, _objectives(report)) if is_pareto(report) else ()


def pareto_hypervolume(report: RunReport) -> float:
    """Of `pareto_front`, as a share of the box that the finished trials span."""
    return hypervolume_share(report.trials, _objectives(report))


def search_limits(report: RunReport) -> tuple[str, ...]:
    """The limits beyond which no candidate was trained, in words."""
    search = report.config["search"]
    words = (
        ("max_macs", "multiply-accumulates"),
        ("max_params", "parameters"),
        ("max_peak_memory_bytes", "bytes of activations"),
    )
    return tuple(f"at most {search[key]:,.0f} {unit}" for key, unit in words if search[key] is not None)


def _objectives(report: RunReport) -> list[tuple[str, str]]:
    return [tuple(text.split(" ")) for text in report.config["search"]["objectives"]]


def listed_trials(report: RunReport) -> tuple[Trial, ...]:
    """The winners, the front of a Pareto search, and the trials of the highest scores, at most MAX_TRIAL_ROWS, in the
    order of the search."""
    first = {*report.winners, *(trial.index for trial in pareto_front(report))}
    ranked = sorted(report.trials, key=lambda trial: (trial.index not in first, -trial.score, trial.index))
    return tuple(sorted(ranked[:MAX_TRIAL_ROWS], key=lambda trial: trial.index))


@dataclass(frozen=True, slots=True)
class Column:
    """A numeric column of the trial table: its heading with the unit, and each trial's value in that unit."""

    heading: str
    value: Callable[[Trial], float | None]
    digits: int | None = None


# Metric: heading, divisor, digits after the point (None: three significant).
_METRICS: dict[str, tuple[str, float, int | None]] = {
    "val_accuracy": ("Validation accuracy, %", 0.01, 2),
    "int8_val_accuracy": (".tflite validation accuracy, %", 0.01, 2),
    "latency_us": ("Latency, µs", 1, None),
    "macs": ("MACs, millions", 1e6, None),
    "params": ("Parameters, thousands", 1e3, None),
    "size_bytes": (".tflite size, kB", 1e3, None),
    "zipped_bytes": ("Zipped, kB", 1e3, None),
    "peak_memory_bytes": ("Peak activations, kB", 1e3, None),
}


def trial_columns(trials: Sequence[Trial]) -> tuple[Column, ...]:
    """Score, every metric that any trial has (known ones first), epochs, and the seconds of each phase."""
    names = dict.fromkeys(name for trial in trials for name in trial.metrics)
    known = [name for name in _METRICS if name in names]
    phases = dict.fromkeys(phase for trial in trials for phase in trial.seconds)
    return (
        Column("Score", lambda trial: trial.score if trial.status == OK else None, 4),
        *(_metric_column(name) for name in [*known, *(name for name in names if name not in _METRICS)]),
        Column("Epochs", lambda trial: trial.epochs, 0),
        Column("Time, s", lambda trial: sum(trial.seconds.values()) if trial.seconds else None, 1),
        *(_phase_column(phase) for phase in phases if phase != "total"),
    )


def _metric_column(name: str) -> Column:
    heading, unit, digits = _METRICS.get(name, (name, 1, None))
    return Column(heading, lambda trial: trial.metrics[name] / unit if name in trial.metrics else None, digits)


def _phase_column(phase: str) -> Column:
    return Column(f"{phase.replace('_', ' ')}, s", lambda trial: trial.seconds.get(phase), 2)
