"""What a candidate is worth: train it, compress it, convert it to int8, measure it on the target."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from core.keras_env import keras, reset

from android_bench.connections import Connections
from android_bench.protocol import search_latency_us
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.model_cost import ModelCost, model_cost
from compress.recipe import CompressConfig, parse_recipe
from compress.run import apply_pass
from compress.settings import is_sparse_step
from core.errors import CandidateError, LitesmithError
from core.progress import Reporter, SilentReporter
from core.spec_io import content_id
from core.tracking import Tracker
from core.workspace import atomic_write_bytes
from deploy.calibration import representative_images
from deploy.conversion import convert_any
from deploy.interpreter import accuracy as tflite_accuracy
from deploy.release import zipped_bytes
from deploy.schemes import FULL_INTEGER
from pipeline.data import load
from search.build import build
from search.dataset import ImageData
from search.evaluate import Alone, Candidate, Evaluation, computed_metrics, timed
from search.latency.configured import table_latency
from search.settings import SearchConfig, TrainConfig
from search.train import Span, accuracy, fit, labels_supervision

# Enough to find the activation ranges of a network that is only ranked; a released model uses more.
SEARCH_CALIBRATION_IMAGES = 100
MIXED_IMAGES = 300  # on which the layers that stay in float32 are chosen
# A measuring process may be killed for what other programs do; if it fails twice, the model is at fault.
MEASURING_ATTEMPTS = 2


@dataclass(frozen=True)
class TrainEvaluatorFactory:
    """A search.evaluate.EvaluatorFactory: what a worker process needs to make its TrainEvaluator.

    `data` is the folder that pipeline.data.prepare has filled; the images stay in its files, which all workers map.
    """

    config: SearchConfig
    bench: BenchConfig
    data: Path
    scratch: Path
    compress: CompressConfig = field(default_factory=CompressConfig)
    connections: Connections = field(default_factory=Connections)
    tracker: Tracker = field(default_factory=Tracker)

    def __call__(self, alone: Alone) -> TrainEvaluator:
        """The evaluator of one worker."""
        return TrainEvaluator(
            self.config,
            self.bench,
            load(self.data),
            self.scratch,
            alone=alone,
            compress=self.compress,
            connections=self.connections,
            tracker=self.tracker,
        )


@dataclass
class MeasuringEvaluator:
    """What evaluators share that convert a candidate to a .tflite and measure it.

    `seconds` has the phases of the latest evaluation, of a failed one too.
    `scratch` is where the .tflite is while it is measured.
    `alone` keeps the search's other workers off the host while its latency is measured; no other target minds them.
    `compress` has the settings of the passes that a candidate's recipe names.
    `tracker` is the search's; a candidate's trainings are tracked by its part of the name `arch_id`.
    """

    config: SearchConfig
    bench: BenchConfig
    data: ImageData
    scratch: Path
    reporter: Reporter = field(default_factory=SilentReporter)
    seconds: dict[str, float] = field(default_factory=dict)
    alone: Alone = nullcontext
    compress: CompressConfig = field(default_factory=CompressConfig)
    connections: Connections = field(default_factory=Connections)
    tracker: Tracker = field(default_factory=Tracker)

    def _measured(self, model: keras.Model, candidate: Candidate, scheme: str, data: ImageData) -> dict[str, float]:
        """Metrics int8_val_accuracy, size_bytes, zipped_bytes and latency_us of the model as a .tflite; `data` are
        images of its resolution. Raises CandidateError if it cannot be converted or measured."""
        with timed(self.seconds, "convert"):
            sparse = any(is_sparse_step(part) for part in candidate.recipe.split("+"))
            content = self._converted(model, scheme, sparse, data)
            path = self.scratch / f"{candidate.arch_id}.tflite"
            atomic_write_bytes(path, content)
        with timed(self.seconds, "evaluate_int8"):
            int8_accuracy = tflite_accuracy(content, data.val)
        with timed(self.seconds, "measure"):
            latency = self._latency_us(path)
        path.unlink()
        return {
            "int8_val_accuracy": int8_accuracy,
            "size_bytes": float(len(content)),
            "zipped_bytes": float(zipped_bytes(content)),
            "latency_us": latency,
        }

    def _converted(self, model: keras.Model, scheme: str, sparse: bool, data: ImageData) -> bytes:
        calibration = representative_images(data.train, SEARCH_CALIBRATION_IMAGES)
        val, max_loss = data.val.first(MIXED_IMAGES), self.compress.mixed_max_loss
        return convert_any(model, scheme, calibration, val, max_loss, sparse=sparse).content

    def _latency_us(self, path: Path) -> float:
        target = resolve_target(self.config.target, self.bench, "config.search.target")
        reason = ""
        for _ in range(MEASURING_ATTEMPTS):
            try:
                with self.alone() if target.kind == "host" else nullcontext():
                    return search_latency_us(path, self.bench, target, connections=self.connections)
            except LitesmithError as error:
                reason = str(error)
        raise CandidateError(f"cannot be measured: {reason}")


@dataclass
class TrainEvaluator(MeasuringEvaluator):
    """Trains each candidate on the first `config.train_images` training images and judges it on the validation images.

    With `config.cost` "latency_us" the candidate is converted to a full-integer .tflite and measured; with "macs", or
    with a latency table, its cost is computed, and nothing but the training takes time. A candidate with a recipe is
    compressed by it before, and converted to the recipe's scheme; networks that differ in their recipes alone are
    trained once.

    `scratch` also holds a checkpoint per network. Hyperband's promotions and other recipes go on from it; other
    searches drop it when the trial is done.
    """

    def __post_init__(self) -> None:
        self._predicted_us = table_latency(self.config)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Metrics val_accuracy (0..1), macs, params, peak_memory_bytes, and with a measured cost also those of the
        .tflite: int8_val_accuracy, size_bytes, zipped_bytes, latency_us. Raises CandidateError as search.evaluate says.

        MACs and parameters are those of the network after its recipe, the other two of the network before.
        """
        self.seconds = {}
        computed = computed_metrics(candidate.arch)
        with timed(self.seconds, "build"):
            reset(candidate.seed)
            model = build(candidate.arch)
        checkpoint = self.scratch / f"{content_id(candidate.arch)}.npz"
        with timed(self.seconds, "train"):
            fit(
                model,
                self.data.train.first(self.config.train_images),
                self._training(),
                labels_supervision(self.data.num_classes),
                seed=candidate.seed,
                augment=self.data.augment,
                span=Span(last_epoch=epochs, schedule_epochs=self.config.epochs),
                checkpoint=checkpoint,
                reporter=self.reporter,
                label="  training",
                tracker=self.tracker.of(candidate.arch_id),
            )
        with timed(self.seconds, "evaluate"):
            metrics = {"val_accuracy": accuracy(model, self.data.val), **computed}
        scheme = FULL_INTEGER
        if candidate.recipe:
            with timed(self.seconds, "compress"):
                model, scheme, after = self._compressed(model, candidate)
            metrics |= {"macs": float(after.macs), "params": float(after.params)}
        if self._predicted_us is not None:
            metrics["latency_us"] = self._predicted_us(candidate.arch)
        elif self.config.measured:
            metrics |= self._measured(model, candidate, scheme, self.data)
        if self.config.oracle != "hyperband" and not candidate.recipe:
            checkpoint.unlink(missing_ok=True)
        return Evaluation(metrics, dict(self.seconds))

    def _training(self) -> TrainConfig:
        config = self.config
        return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate)

    def _compressed(self, model: keras.Model, candidate: Candidate) -> tuple[keras.Model, str, ModelCost]:
        """The network after each pass of the candidate's recipe, the scheme to convert it to, and what it costs."""
        recipe = parse_recipe(candidate.recipe, self.compress)
        training = dataclasses.replace(self.compress.train_config(), epochs=self.config.recipe_epochs)
        fine_tune = FineTune(
            train=self.data.train.first(self.config.train_images),
            supervision=labels_supervision(self.data.num_classes),
            config=training,
            augment=self.data.augment,
            seed=candidate.seed,
            reporter=self.reporter,
        )
        promised, after = Invariants(), model_cost(model)
        for number, spec in enumerate(recipe.passes, 1):
            tracker = self.tracker.of(candidate.arch_id).of(f"{number}-{spec.name}")
            own = dataclasses.replace(fine_tune, tracker=tracker)
            result = apply_pass(spec, model, promised, own, self.data.val)
            model, promised, after = result.model, result.invariants, result.cost
        return model, recipe.scheme, after
