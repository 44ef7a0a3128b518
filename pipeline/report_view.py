"""What a report says about a run, as plain values: comparisons, rows and groups. No HTML and no TensorFlow here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from android_bench.settings import LEGACY_DELEGATES, target_stem
from android_bench.tables import OpTable, op_table
from core.errors import LitesmithError
from core.values import Measurement, Target
from deploy.schemes import FLOAT32, FULL_INTEGER, PERSONALIZE
from pipeline.report_data import ArtifactReport, Failure, RunReport, is_found
from search.trials import OK, Trial

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
    """`best`, or without a full-integer artifact the best of what is not float32, or the best of all, but for a model
    that is made to be trained on the device."""
    plain = [artifact for artifact in report.released if artifact.plan.scheme != PERSONALIZE]
    others = (artifact for artifact in plain if artifact.plan.scheme != FLOAT32)
    return best(report) or _best(others) or _best(plain)


def compressed(report: RunReport) -> tuple[ArtifactReport, ...]:
    """The released models that a recipe made smaller or faster: not the parents, nor what trains on the device."""
    return tuple(
        artifact
        for artifact in report.released
        if artifact.plan.scheme != PERSONALIZE and (artifact.plan.scheme != FLOAT32 or artifact.plan.steps)
    )


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


def targets(report: RunReport) -> tuple[str, ...]:
    """The names of the targets that the run measures on."""
    return tuple(target_stem(name) for name in report.config["bench"]["targets"])


def median_on(artifact: ArtifactReport, target: str) -> float | None:
    """The artifact's median latency on a target in microseconds, None without a measurement there."""
    return next((m.latency.median_us for m in artifact.measurements if m.target.name == target), None)


def measured_on(report: RunReport, target: str) -> tuple[tuple[ArtifactReport, Measurement], ...]:
    """Every model that could be measured on a target, in the report's order."""
    return tuple((a, m) for a in report.artifacts for m in a.measurements if m.target.name == target)


def unmeasured_on(report: RunReport, target: str) -> tuple[tuple[str, str], ...]:
    """The labels of the models without a figure on a target, with the reasons."""
    by_name = {artifact.plan.name: artifact for artifact in report.artifacts}
    lacking = (*report.unmeasured, *not_measured(report))
    found = [lack for lack in lacking if lack.stage.endswith(f".bench.{target}")]
    return tuple((label(report, by_name[lack.artifact]), lack.reason) for lack in found if lack.artifact in by_name)


def not_made(report: RunReport) -> tuple[Failure, ...]:
    """The failures for which a release lacks a model."""
    made = {artifact.plan.name for artifact in report.artifacts}
    return tuple(failure for failure in report.failures if failure.artifact not in made)


def not_measured(report: RunReport) -> tuple[Failure, ...]:
    """The failures of models that were made all the same: a target could not measure them."""
    lacking = not_made(report)
    return tuple(failure for failure in report.failures if failure not in lacking)


def tools_on(report: RunReport, target: str) -> tuple[str, ...]:
    """The programs that measured on a target, once each."""
    return tuple(dict.fromkeys(m.tool for _, m in measured_on(report, target)))


def target_words(target: Target) -> str:
    """What a target is and how it runs a model: "android, Pixel 3, arm64-v8a, 1 thread on the big cores, XNNPACK"."""
    cores = f" on the {target.cores} cores" if target.cores else ""
    if target.cpu_mask:
        cores = f" on core{'s' if len(target.cpu_mask) > 1 else ''} {', '.join(map(str, target.cpu_mask))}"
    threads = f"{target.num_threads} thread{'s' if target.num_threads != 1 else ''}{cores}"
    legacy = f" ({LEGACY_DELEGATES[target.delegate]})" if target.delegate in LEGACY_DELEGATES else ""
    delegate = f"delegate {target.delegate}{legacy}" if target.delegate != "cpu" else "no delegate"
    return ", ".join(word for word in (target.kind, target.device, target.abi, threads, delegate) if word)


def has_intervals(report: RunReport, target: str) -> bool:
    """Whether the medians on a target have their bootstrap intervals; else `interval` is the processes' range."""
    return all(m.latency.high_us for _, m in measured_on(report, target))


def with_intervals(report: RunReport) -> tuple[str, ...]:
    """The targets whose medians have bootstrap intervals."""
    return tuple(name for name in targets(report) if has_intervals(report, name))


def speed_on(report: RunReport, artifact: ArtifactReport, target: str) -> Speed | None:
    """The artifact against its float32 parent on a target; None for the parent itself, and if either has no figure."""
    gained = gain(report, artifact)
    return next((speed for speed in gained.speeds if speed.target == target), None) if gained else None


def profiles(report: RunReport, artifact: ArtifactReport) -> tuple[tuple[Measurement, OpTable], ...]:
    """The artifact's operator profiles, in the order of the targets; none if there are none."""
    found = {m.target.name: m for m in artifact.measurements if m.ops}
    return tuple((found[name], op_table(found[name])) for name in targets(report) if name in found)


def wrong_images(artifact: ArtifactReport) -> int:
    """How many test images the .tflite takes for another class."""
    matrix = artifact.validation["confusion"]
    return sum(sum(row) - row[number] for number, row in enumerate(matrix))


def interval(measurement: Measurement) -> tuple[float, float] | None:
    """The 95 % interval of a median latency in microseconds; where there is none, the range of the process medians."""
    latency = measurement.latency
    if latency.high_us:
        return latency.low_us, latency.high_us
    medians = latency.process_medians_us
    return (min(medians), max(medians)) if medians else None


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


def trial_val_images(report: RunReport) -> int:
    """How many validation images a trial's accuracy is of."""
    return int(report.data["counts"]["val"]) if report.supernet is None else report.supernet.record.val_images


def winning_trials(report: RunReport) -> tuple[Trial, ...]:
    """The trials of the winners, best first."""
    by_index = {trial.index: trial for trial in report.trials}
    return tuple(by_index[index] for index in report.winners)


def tool_versions(report: RunReport) -> dict[str, str]:
    """The versions of all tools that made or measured an artifact."""
    found: dict[str, str] = {}
    for artifact in report.artifacts:
        found |= artifact.artifact.tool_versions or {}
        for measurement in artifact.measurements:
            found |= {"benchmark": measurement.tool}
            found |= {k: v for k, v in measurement.conditions.items() if k == "python"}
    return dict(sorted(found.items()))
