"""Everything a report or a release tells, gathered from the stages' results. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.results import figure
from android_bench.settings import target_stem
from core.errors import LitesmithError
from core.spec_io import from_plain, to_plain
from core.values import Artifact, Measurement
from core.workspace import AppendLog, read_json
from pipeline.config import Config
from pipeline.node import read_node
from pipeline.plan_artifacts import FOUND, ArtifactPlan
from pipeline.report_releases import PreviousRelease, read_previous
from pipeline.supernet_record import INHERITED, Inherited, SupernetReport, read_record, trained_epochs
from search.trials import Trial


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """One .tflite and what was found of it. Accuracies, errors and sparsity are fractions of 1.

    Attributes:
      plan: which winner, recipe, passes and scheme; `plan.recipe` is "" for a model made only to show a pass.
      file: its name in the release.
      source: the .tflite in the stages folder.
      val_accuracy: of the .tflite on the validation images.
      validation: deploy.validate.Validation as JSON types.
      measurements: one per target that has a figure of its own.
      fall_back: deploy.mixed_precision.MixedReport as JSON types, of the scheme "mixed".
      predicted_us: of a network pruned for a latency table's target (pipeline.node.NodeRecord).
      encoding: deploy.sparse.Encoding without the content, where kernels could be stored sparse.
    """

    plan: ArtifactPlan
    file: str
    source: str
    arch: str
    macs: int
    params: int
    artifact: Artifact
    zipped_bytes: int
    val_accuracy: float
    validation: dict[str, Any]
    measurements: tuple[Measurement, ...]
    fall_back: dict[str, Any] | None = None
    encoding: dict[str, Any] | None = None
    predicted_us: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that could not be made, or not be measured: the stage where that failed, and why."""

    artifact: str
    recipe: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that the best model takes for another class.

    Attributes:
      image: its place among the test images.
      actual, predicted: class numbers.
      confidence, of_label: the probabilities that the model gives to the class it names and to the right one.
      png: the image, small, as a PNG file in base64.
    """

    image: int
    actual: int
    predicted: int
    confidence: float
    of_label: float
    png: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run.

    Attributes:
      data: what the data stage found (name, class_names, counts, resolution, ...).
      teacher: its network or file and its validation accuracy, or None.
      trials, winners: of the search, none where the model is the user's; winners are trial indices, best first.
      artifacts: by winner and recipe, the float32 parent first.
      seconds: wall time of each finished stage.
      supernet: the shared weights that judged the trials, or None.
      previous: the release that this one is compared with, or None.
      command: the command line that makes the release again; "" if unknown.
      mistakes: of the best model, the most confident first.
      unmeasured: models that a target ran without giving a figure of its own, and why (an emulator, say).
    """

    release: str
    config: dict[str, Any]
    data: dict[str, Any]
    teacher: dict[str, Any] | None
    trials: tuple[Trial, ...]
    winners: tuple[int, ...]
    artifacts: tuple[ArtifactReport, ...]
    failures: tuple[Failure, ...]
    seconds: dict[str, float]
    supernet: SupernetReport | None = None
    previous: PreviousRelease | None = None
    command: str = ""
    mistakes: tuple[Mistake, ...] = ()
    unmeasured: tuple[Failure, ...] = ()

    def float_parent(self, artifact: ArtifactReport) -> ArtifactReport:
        """The float32 artifact of the same winner, before any pass."""
        for other in self.artifacts:
            if other.plan.winner == artifact.plan.winner and other.plan.scheme == "float32" and not other.plan.steps:
                return other
        raise LitesmithError(f"{artifact.plan.name}: its float32 parent could not be made")

    def chain(self, artifact: ArtifactReport) -> tuple[ArtifactReport, ...]:
        """The float parent, the model after each pass, and `artifact` itself at the end."""
        parent = self.float_parent(artifact)
        between = [
            other
            for other in self.artifacts
            if other.plan.winner == artifact.plan.winner
            and other.plan.scheme == "float32"
            and 0 < len(other.plan.steps) <= len(artifact.plan.steps)
            and artifact.plan.steps[: len(other.plan.steps)] == other.plan.steps
        ]
        steps = [parent, *sorted(between, key=lambda other: len(other.plan.steps))]
        return (*(step for step in steps if step is not artifact), artifact)

    @property
    def released(self) -> tuple[ArtifactReport, ...]:
        """The artifacts that a release holds."""
        return tuple(artifact for artifact in self.artifacts if artifact.plan.recipe)


def gather(
    config: Config, plans: tuple[ArtifactPlan, ...], directories: dict[str, Path], command: str = ""
) -> RunReport:
    """Reads the results of a run; `directories` maps stage names to their committed folders.

    Where the release goes (store, key) is left out of its configuration: it is nobody's business who reads the report.

    Raises LitesmithError if no artifact at all could be made.
    """
    artifacts: list[ArtifactReport] = []
    failures: list[Failure] = []
    unmeasured: list[Failure] = []
    for plan in plans:
        failure = _failure(plan, directories, ("convert", "validate"))
        if failure is None:
            measured, without = read_measurements(config, plan, directories)
            artifacts.append(_artifact(config, plan, directories, measured))
            unmeasured += without
            found = (_failure(plan, directories, (f"bench.{target_stem(name)}",)) for name in config.bench.targets)
            failures += [each for each in found if each is not None]
        else:
            failures.append(failure)
    if not artifacts:
        raise LitesmithError(f"no artifact could be made; first reason: {failures[0].reason}")
    searched = "search" in directories  # not where the model is the user's
    records = AppendLog(directories["search"] / "trials.jsonl").read() if searched else []
    winners = read_json(directories["search"] / "winners.json") if searched else []
    teacher = directories.get("teacher")
    return RunReport(
        release=config.release.name,
        config=to_plain(dataclasses.replace(config, release=config.release.unpublished())),
        data=read_json(directories["data"] / "data.json"),
        teacher=read_json(teacher / "teacher.json") if teacher else None,
        trials=tuple(from_plain(Trial, record) for record in records),
        winners=tuple(trial["index"] for trial in winners),
        artifacts=tuple(artifacts),
        failures=tuple(failures),
        seconds={name: read_json(path / "stage.json")["seconds"] for name, path in directories.items()},
        supernet=_supernet(config, directories),
        previous=read_previous(directories["previous"]) if "previous" in directories else None,
        command=command,
        unmeasured=tuple(unmeasured),
    )


def _supernet(config: Config, directories: dict[str, Path]) -> SupernetReport | None:
    if "supernet" not in directories:
        return None
    files = (directories[f"w{winner}.float"] / INHERITED for winner in range(config.search.num_winners))
    winners = tuple(from_plain(Inherited, read_json(path)) if path.exists() else None for path in files)
    return SupernetReport(read_record(directories["supernet"]), trained_epochs(config.supernet), winners)


def _failure(plan: ArtifactPlan, directories: dict[str, Path], kinds: tuple[str, ...]) -> Failure | None:
    for kind in kinds:
        path = directories[f"{plan.name}.{kind}"] / "failure.json"
        if path.exists():
            record = read_json(path)
            return Failure(plan.name, plan.recipe, record["stage"], record["reason"])
    return None


def _artifact(
    config: Config, plan: ArtifactPlan, directories: dict[str, Path], measured: tuple[Measurement, ...]
) -> ArtifactReport:
    convert = directories[f"{plan.name}.convert"]
    node = read_node(directories[plan.node])
    record = read_json(convert / "artifact.json")
    if node.scheme:
        plan = dataclasses.replace(plan, recipe=node.recipe, scheme=node.scheme, steps=node.steps)
    return ArtifactReport(
        plan=plan,
        file=file_name(config, plan),
        source=str(convert / "model.tflite"),
        arch=node.arch,
        macs=node.macs,
        params=node.params,
        artifact=from_plain(Artifact, record["artifact"]),
        zipped_bytes=record["zipped_bytes"],
        val_accuracy=record["val_accuracy"],
        validation=read_json(directories[f"{plan.name}.validate"] / "validation.json"),
        measurements=measured,
        fall_back=_json_or_none(convert / "fall_back.json"),
        encoding=_json_or_none(convert / "encoding.json"),
        predicted_us=node.predicted_us,
    )


def read_measurements(
    config: Config, plan: ArtifactPlan, directories: dict[str, Path]
) -> tuple[tuple[Measurement, ...], tuple[Failure, ...]]:
    """The figures that targets have of a model, and why another target that ran it has none of its own.

    An emulator's latency and that of a CPU in a delegate's place are no figures (android_bench.results.figure).
    """
    measured: list[Measurement] = []
    without: list[Failure] = []
    for target in config.bench.targets:
        stage = f"{plan.name}.bench.{target_stem(target)}"
        folder = directories[stage]
        found = _json_or_none(folder / "measurement.json")
        measurement = from_plain(Measurement, found) if found else None
        if measurement is not None and figure(measurement) is not None:
            measured.append(measurement)
        elif not (folder / "failure.json").exists():
            reason = measurement.verdict if measurement else read_json(folder / "stage.json")["summary"]
            without.append(Failure(plan.name, plan.recipe, stage, reason))
    return tuple(measured), tuple(without)


def _json_or_none(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def is_found(plan: ArtifactPlan) -> bool:
    """Whether a joint search found the artifact's recipe."""
    return plan.node.endswith(f".{FOUND}")


def file_name(config: Config, plan: ArtifactPlan) -> str:
    """RELEASE[-wN]-RECIPE.tflite; the winner's number only where there are several."""
    recipe = (plan.recipe or "-".join(plan.steps)).replace("+", "_").replace(":", "")
    recipe = f"{FOUND}-{recipe}" if is_found(plan) else recipe
    winner = f"-w{plan.winner}" if config.search.num_winners > 1 else ""
    return f"{config.release.name}{winner}-{recipe}.tflite"
