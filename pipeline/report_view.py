"""What a report says about a run, as plain values: comparisons, rows and groups. No HTML and no TensorFlow here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from android_bench.settings import target_stem
from core.errors import LitesmithError
from core.spec_io import to_plain
from core.values import Measurement
from deploy.schemes import FLOAT32, FULL_INTEGER
from pipeline.config import Config
from pipeline.report_data import ArtifactReport, RunReport, is_found
from search import pareto
from search.front import hypervolume_share
from search.objective import PARETO
from search.settings import PROXY_SCORE
from search.trials import OK, Trial

MAX_TRIAL_ROWS = 500  # a table of more would make the page slow and is in report.json anyway

STAGE_KINDS = {
    "data": "data",
    "supernet": "training of the supernet",
    "search": "search",
    "teacher": "teacher",
    "own_model": "import of the model",
    "float": "training of the winners",
    "pass": "compression passes",
    "convert": "conversion",
    "validate": "validation",
    "bench": "benchmark",
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Two medians on one target in microseconds: the float32 parent's and the artifact's."""

    target: str
    parent_us: float
    own_us: float
    trusted: bool

    @property
    def times(self) -> float:
        """How many times faster than the parent."""
        return self.parent_us / self.own_us


@dataclass(frozen=True, slots=True)
class Gain:
    """An artifact against its float32 parent. Size ratios compare like with like (file with file, .zip with .zip);
    `points_lost` is the parent's test accuracy minus the artifact's, as a fraction of 1."""

    parent: ArtifactReport
    smaller: float
    zipped_smaller: float
    points_lost: float
    speeds: tuple[Speed, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """`count` images of class `actual`, `share` (0..1) of its test images, were taken for `predicted`."""

    actual: str
    predicted: str
    count: int
    share: float


def gain(report: RunReport, artifact: ArtifactReport) -> Gain | None:
    """What compression gained; None for a float32 parent itself, and if the parent could not be made."""
    parent = parent_of(report, artifact)
    if parent is None or parent is artifact:
        return None
    before = {m.target.name: m for m in parent.measurements}
    return Gain(
        parent=parent,
        smaller=parent.artifact.size_bytes / artifact.artifact.size_bytes,
        zipped_smaller=parent.zipped_bytes / artifact.zipped_bytes,
        points_lost=test_accuracy(parent) - test_accuracy(artifact),
        speeds=tuple(_speed(before[m.target.name], m) for m in artifact.measurements if m.target.name in before),
    )


def parent_of(report: RunReport, artifact: ArtifactReport) -> ArtifactReport | None:
    """The float32 parent, or None if it could not be made."""
    try:
        return report.float_parent(artifact)
    except LitesmithError:
        return None


def test_accuracy(artifact: ArtifactReport) -> float:
    """Of the .tflite, as a fraction of 1."""
    return float(artifact.validation["tflite_accuracy"])


def _speed(before: Measurement, after: Measurement) -> Speed:
    trusted = before.verdict == after.verdict == "ok"
    return Speed(after.target.name, before.latency.median_us, after.latency.median_us, trusted)


def best(report: RunReport) -> ArtifactReport | None:
    """The full-integer artifact of the highest validation accuracy, of equals the smallest when zipped; else None.

    Judged on validation images: choosing by test accuracy would flatter it.
    """
    return _best(artifact for artifact in report.released if artifact.plan.scheme == FULL_INTEGER)


def headline_artifact(report: RunReport) -> ArtifactReport | None:
    """`best`, or without a full-integer artifact the best of what is not float32, or the best of all."""
    others = (artifact for artifact in report.released if artifact.plan.scheme != FLOAT32)
    return best(report) or _best(others) or _best(report.released)


def _best(artifacts: Iterator[ArtifactReport] | Sequence[ArtifactReport]) -> ArtifactReport | None:
    return min(artifacts, key=lambda a: (-a.val_accuracy, a.zipped_bytes), default=None)


def label(report: RunReport, artifact: ArtifactReport) -> str:
    """A short name: the recipe; where there are several winners with the winner's number, as in the file's name."""
    recipe = artifact.plan.recipe or "+".join(artifact.plan.steps)
    recipe = f"{recipe} (found)" if is_found(artifact.plan) else recipe
    return f"w{artifact.plan.winner} {recipe}" if len(report.winners) > 1 else recipe


def steps(report: RunReport, artifact: ArtifactReport) -> tuple[tuple[str, ArtifactReport], ...]:
    """What each step towards the artifact is called, with the model after it; the float32 parent first."""
    if parent_of(report, artifact) is None:
        return ((artifact.plan.scheme, artifact),)
    named, done = [], 0
    for step in report.chain(artifact):
        new = step.plan.steps[done:]
        done = len(step.plan.steps)
        # A model without a pass of its own is one more conversion of the network before it.
        named.append((" + ".join(map(step_words, new)) if new else step.plan.scheme.replace("_", " "), step))
    return tuple(named)


def step_words(step: str) -> str:
    """A step's name in words: "prune0.5" is "prune 50 %", "cluster16" is "cluster 16", "qat" is "QAT int8"."""
    match = re.fullmatch(r"(prune|sparse|structured|cluster|low_rank)([\d.]+|\d+of\d+)", step)
    if match is None:
        return "QAT int8" if step == "qat" else step
    word, number = match[1].replace("_", " "), match[2]
    if word in ("prune", "sparse", "structured") and "of" not in number:
        return f"{word} {100 * float(number):g} %"
    return f"{word} {number.replace('of', ' of ')}"


def quality(trial: Trial) -> float:
    """The validation accuracy of a trial: of its .tflite if it was compressed by a recipe, else of the Keras network;
    of one that was not trained the proxy's place between 0 and 1."""
    if trial.recipe:
        return trial.metrics["int8_val_accuracy"]
    return trial.metrics[PROXY_SCORE] if PROXY_SCORE in trial.metrics else trial.metrics["val_accuracy"]


def front(trials: Sequence[Trial], cost: str) -> tuple[Trial, ...]:
    """The trials that no other beats in both validation accuracy (or proxy) and cost, by rising cost."""
    finished = [trial for trial in trials if trial.status == OK]
    found: list[Trial] = []
    for trial in sorted(finished, key=lambda t: (t.metrics[cost], -quality(t), t.index)):
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


def targets(report: RunReport) -> tuple[str, ...]:
    """The names of the targets that the run measures on."""
    return tuple(target_stem(name) for name in report.config["bench"]["targets"])


def measured_cost(report: RunReport, artifact: ArtifactReport) -> float | None:
    """The artifact's cost in the unit of the search: MACs, or median microseconds on the search's target."""
    search = report.config["search"]
    if search["cost"] == "macs":
        return float(artifact.macs)
    medians = {m.target.name: m.latency.median_us for m in artifact.measurements}
    return medians.get(search["target"])


def confused(matrix: Sequence[Sequence[int]], names: Sequence[str], count: int) -> tuple[Confusion, ...]:
    """The `count` most frequent confusions of a matrix (rows actual, columns predicted) that happened at all."""
    found = [
        Confusion(names[i], names[j], images, images / sum(row))
        for i, row in enumerate(matrix)
        for j, images in enumerate(row)
        if i != j and images
    ]
    return tuple(sorted(found, key=lambda item: (-item.count, -item.share))[:count])


def recalls(matrix: Sequence[Sequence[int]]) -> tuple[float | None, ...]:
    """For each class the share of its images that were recognized; None for a class without test images."""
    return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(matrix))


def doubts(report: RunReport) -> tuple[tuple[str, Measurement], ...]:
    """The measurements that say of themselves that they should not be relied on, each with its model's label."""
    return tuple(
        (label(report, artifact), measurement)
        for artifact in report.artifacts
        for measurement in artifact.measurements
        if measurement.verdict != "ok"
    )


def conditions(report: RunReport) -> tuple[dict[str, str], tuple[str, ...]]:
    """The conditions that all measurements share, and the names of those that differ."""
    every = [measurement.conditions for artifact in report.artifacts for measurement in artifact.measurements]
    keys = sorted({key for item in every for key in item})
    shared = {key: every[0][key] for key in keys if all(item.get(key) == every[0].get(key) for item in every)}
    return shared, tuple(key for key in keys if key not in shared)


def stage_seconds(report: RunReport) -> tuple[tuple[str, int, float], ...]:
    """(kind of stage, how many, their wall time in seconds), in the order of the pipeline."""
    groups: dict[str, list[float]] = {}
    own_model = report.config["model"]["file"] is not None
    for name, seconds in report.seconds.items():
        kind = _kind(name)
        groups.setdefault("own_model" if kind == "float" and own_model else kind, []).append(seconds)
    return tuple((words, len(groups[kind]), sum(groups[kind])) for kind, words in STAGE_KINDS.items() if kind in groups)


def _kind(stage: str) -> str:
    parts = stage.split(".")
    for kind in ("convert", "validate", "bench"):
        if kind in parts[1:]:
            return kind
    return parts[-1] if parts[-1] in STAGE_KINDS else "pass"


def config_file(report: RunReport) -> str:
    """The text of a configuration file that repeats the run: every key that differs from today's default."""
    changed = list(_differences(to_plain(Config()), report.config, "config"))
    lines = [f"    {key} = {_literal(value)}" for key, value in changed]
    start = ["from pipeline.config import default_config", "", "", "def get_config():", "    config = default_config()"]
    return "\n".join([*start, *lines, "    return config", ""])


def _literal(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def _differences(default: dict[str, Any], own: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for key, value in own.items():
        if isinstance(value, dict):
            yield from _differences(default.get(key, {}), value, f"{where}.{key}")
        elif key not in default or default[key] != value:
            yield f"{where}.{key}", value


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


@dataclass(frozen=True, slots=True)
class InheritedRow:
    """A winner of a search by shared weights: accuracies on all validation images, as fractions of 1."""

    trial: Trial
    before: float
    after: float
    epochs: int


def inherited_rows(report: RunReport) -> tuple[InheritedRow, ...]:
    """The winners that began with shared weights and could be trained further."""
    found = report.supernet.winners if report.supernet is not None else ()
    pairs = zip(winning_trials(report), found, strict=False)
    return tuple(InheritedRow(trial, own.before, own.after, own.epochs) for trial, own in pairs if own is not None)


def judged_trials(report: RunReport) -> tuple[int, float]:
    """How many networks were evaluated, and the seconds that one took on average (0 if none was)."""
    own = [sum(trial.seconds.values()) for trial in report.trials if trial.status == OK and trial.seconds]
    return len(own), sum(own) / len(own) if own else 0.0


def winning_trials(report: RunReport) -> tuple[Trial, ...]:
    """The trials of the winners, best first."""
    by_index = {trial.index: trial for trial in report.trials}
    return tuple(by_index[index] for index in report.winners)


def listed_trials(report: RunReport) -> tuple[Trial, ...]:
    """The winners, the front of a Pareto search, and the trials of the highest scores, at most MAX_TRIAL_ROWS, in the
    order of the search."""
    first = {*report.winners, *(trial.index for trial in pareto_front(report))}
    ranked = sorted(report.trials, key=lambda trial: (trial.index not in first, -trial.score, trial.index))
    return tuple(sorted(ranked[:MAX_TRIAL_ROWS], key=lambda trial: trial.index))


def tool_versions(report: RunReport) -> dict[str, str]:
    """The versions of all tools that made or measured an artifact."""
    found: dict[str, str] = {}
    for artifact in report.artifacts:
        found |= artifact.artifact.tool_versions or {}
        for measurement in artifact.measurements:
            found |= {"benchmark": measurement.tool}
            found |= {k: v for k, v in measurement.conditions.items() if k == "python"}
    return dict(sorted(found.items()))
