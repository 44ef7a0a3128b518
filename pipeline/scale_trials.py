"""The trainings of a compound-scaling grid search: the finished are logged; data are kept for each resolution."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.keras_env import reset

from android_bench.connections import Connections
from android_bench.protocol import search_latency_us
from android_bench.targets import resolve_target
from core.errors import CandidateError, UsageError
from core.progress import Reporter
from core.spec_io import content_id, to_plain
from core.tracking import TENSORBOARD, EventTracker
from core.workspace import (
    atomic_write_bytes,
    atomic_write_json,
    committed_directory,
    locked,
    read_json,
    remove_temporaries,
)
from deploy.calibration import representative_images
from deploy.convert import convert
from pipeline.config import Config
from pipeline.data import MAX_RESOLUTION, MIN_RESOLUTION, fingerprint, load, prepare
from pipeline.evaluators import SEARCH_CALIBRATION_IMAGES, TrainEvaluator
from pipeline.workdir import SCALE
from search.arch import ArchSpec
from search.build import build
from search.dataset import ImageData
from search.evaluate import Candidate, attempt
from search.grammar import to_text
from search.loop import training_seed
from search.lowering import layers_of
from search.objective import FAILED_SCORE
from search.trials import FAILED, OK, Trial, TrialLog, track_trial

# What of the configuration a training's result depends on; another value needs another folder.
_PINNED = ("epochs", "batch_size", "learning_rate", "train_images")


@dataclass
class ScaleTrials:
    """Accuracies and latencies of scaled networks. `data` are the images as the configuration has them."""

    config: Config
    folder: Path
    reporter: Reporter
    connections: Connections | None = None
    data: ImageData = field(init=False)

    def __post_init__(self) -> None:
        self._log = TrialLog(self.folder / "trials.jsonl")
        self.data = self._data(self.config.data.resolution)

    def accuracy(self, arch: ArchSpec) -> float:
        """The validation accuracy (0..1) after `config.search.epochs`. Raises CandidateError if that failed, now or
        earlier."""
        _check_resolution(arch)
        name = content_id(arch)
        trial = self._log.finished(name, self.config.search.epochs) or self._train(arch, name)
        if trial.status != OK:
            raise CandidateError(trial.reason)
        return trial.score

    def latency_us(self, arch: ArchSpec) -> float:
        """The latency of the untrained network as a full-integer .tflite on the target of the search.

        Raises CandidateError, before data are prepared for it, if the network cannot be built.
        """
        _check_resolution(arch)
        layers_of(arch)
        search, bench = self.config.search, self.config.bench
        data = self._data(arch.resolution)
        reset(self.config.seed)
        calibration = representative_images(data.train, SEARCH_CALIBRATION_IMAGES)
        path = self.folder / f"{content_id(arch)}.tflite"
        atomic_write_bytes(path, convert(build(arch), "full_integer", calibration).content)
        try:
            target = resolve_target(search.target, bench, "config.search.target")
            return search_latency_us(path, bench, target, connections=self.connections)
        finally:
            path.unlink()

    def _train(self, arch: ArchSpec, name: str) -> Trial:
        search = dataclasses.replace(self.config.search, cost="macs", oracle="random")
        seed = training_seed(self.config.seed, name)
        tracker = EventTracker(self.folder / TENSORBOARD)
        data = self._data(arch.resolution)
        evaluator = TrainEvaluator(search, self.config.bench, data, self.folder, self.reporter, tracker=tracker)
        trial = Trial(
            index=len(self._log.trials),
            oracle_id="",
            genotype=(),
            arch=to_text(arch),
            arch_id=name,
            epochs=search.epochs,
            seed=seed,
            status=FAILED,
            score=FAILED_SCORE,
        )
        result = attempt(evaluator, Candidate(arch, name, (), seed), search.epochs)
        trial = dataclasses.replace(trial, reason=result.reason, seconds=result.seconds)
        if result.evaluation is not None:
            metrics = result.evaluation.metrics
            trial = dataclasses.replace(trial, status=OK, score=metrics["val_accuracy"], metrics=metrics)
        track_trial(tracker, {"network": trial.arch, "resolution": arch.resolution}, trial)
        self._log.append(trial)
        words = f"val {100 * trial.score:.1f} %" if trial.status == OK else f"failed: {trial.reason}"
        self.reporter.line(f"  network {trial.index + 1}: {words}, {trial.arch}")
        return trial

    def _data(self, resolution: int | None) -> ImageData:
        """The data set at a resolution, decoded once."""
        config = dataclasses.replace(self.config.data, resolution=resolution)
        folder = self.folder / f"data-{resolution or 'as-is'}"
        if not folder.exists():
            with committed_directory(folder) as temporary:
                prepare(config, self.config.seed, temporary, self.reporter)
        return load(folder)


def _check_resolution(arch: ArchSpec) -> None:
    """Raises CandidateError where images cannot be resized to the network's: that is not the configuration's fault."""
    if not MIN_RESOLUTION <= arch.resolution <= MAX_RESOLUTION:
        legal = f"a number from {MIN_RESOLUTION} to {MAX_RESOLUTION} for the images of a data set"
        raise CandidateError(f"resolution: {arch.resolution} is not legal; expected {legal}")


@contextlib.contextmanager
def opened_trials(
    config: Config, workdir: Path, reporter: Reporter, connections: Connections | None = None
) -> Iterator[ScaleTrials]:
    """Holds WORKDIR/scale for this process, where earlier trainings are.

    Raises UsageError if it is in use, or if they were made with other data or settings.
    """
    folder = workdir / SCALE
    pin = {
        "seed": config.seed,
        "data": to_plain(config.data),
        "images": fingerprint(config.data),
        "search": {name: getattr(config.search, name) for name in _PINNED},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--workdir: {workdir} is not writable ({error.strerror})") from error
    with locked(folder):
        path = folder / "settings.json"
        if path.exists() and read_json(path) != pin:
            raise UsageError(f"--workdir: {folder} holds trainings with other data or settings; use a new --workdir")
        remove_temporaries(folder)
        atomic_write_json(path, pin)
        yield ScaleTrials(config, folder, reporter, connections)
