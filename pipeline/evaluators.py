"""What a candidate is worth: train it, convert it to int8, measure it on the target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from core.keras_env import reset

import numpy as np

from android_bench.protocol import search_latency_us
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.errors import CandidateError, LitesmithError
from core.progress import Reporter, SilentReporter
from core.workspace import atomic_write_bytes
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.interpreter import predict
from pipeline.data import load
from search.build import build
from search.cost import cost
from search.dataset import ImageData
from search.evaluate import Alone, Candidate, Evaluation
from search.settings import SearchConfig, TrainConfig
from search.train import Span, accuracy, fit, labels_supervision

# Enough to find the activation ranges of a network that is only ranked; a released model uses more.
SEARCH_CALIBRATION_IMAGES = 100
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

    def __call__(self, alone: Alone) -> TrainEvaluator:
        """The evaluator of one worker."""
        return TrainEvaluator(self.config, self.bench, load(self.data), self.scratch, alone=alone)


@dataclass
class TrainEvaluator:
    """Trains each candidate on the first `config.train_images` training images and judges it on the validation images.

    With `config.cost` "latency_us" the candidate is converted to a full-integer .tflite and measured; with "macs" its
    cost is computed, and nothing but the training takes time.

    `seconds` has the phases of the latest evaluation, of a failed one too.
    `scratch` holds a checkpoint per network. Hyperband's promotions go on from it; other searches drop it when the
    trial is done.
    `alone` keeps the search's other workers off the host while its latency is measured; no other target minds them.
    """

    config: SearchConfig
    bench: BenchConfig
    data: ImageData
    scratch: Path
    reporter: Reporter = field(default_factory=SilentReporter)
    seconds: dict[str, float] = field(default_factory=dict)
    alone: Alone = nullcontext

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Metrics val_accuracy (0..1), macs, params, peak_memory_bytes, and with a measured cost also
        int8_val_accuracy, size_bytes, latency_us. Raises CandidateError as search.evaluate says."""
        self.seconds = {}
        computed = cost(candidate.arch)
        with self._phase("build"):
            reset(candidate.seed)
            model = build(candidate.arch)
        checkpoint = self.scratch / f"{candidate.arch_id}.npz"
        with self._phase("train"):
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
            )
        with self._phase("evaluate"):
            metrics = {"val_accuracy": accuracy(model, self.data.val)}
        metrics |= {
            "macs": float(computed.macs),
            "params": float(computed.params),
            "peak_memory_bytes": float(computed.peak_memory_bytes),
        }
        if self.config.cost == "latency_us":
            metrics |= self._measured(model, candidate)
        if self.config.oracle != "hyperband":
            checkpoint.unlink(missing_ok=True)
        return Evaluation(metrics, dict(self.seconds))

    def _training(self) -> TrainConfig:
        config = self.config
        return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate)

    def _measured(self, model: object, candidate: Candidate) -> dict[str, float]:
        with self._phase("convert"):
            calibration = representative_images(self.data.train, SEARCH_CALIBRATION_IMAGES)
            content = convert(model, "full_integer", calibration).content
            path = self.scratch / f"{candidate.arch_id}.tflite"
            atomic_write_bytes(path, content)
        with self._phase("evaluate_int8"):
            scores = predict(content, self.data.val.rgb())
            int8_accuracy = float(np.mean(scores.argmax(axis=1) == self.data.val.labels))
        with self._phase("measure"):
            latency = self._latency_us(path)
        path.unlink()
        return {"int8_val_accuracy": int8_accuracy, "size_bytes": float(len(content)), "latency_us": latency}

    def _latency_us(self, path: Path) -> float:
        target = resolve_target(self.config.target, self.bench, "config.search.target")
        reason = ""
        for _ in range(MEASURING_ATTEMPTS):
            try:
                with self.alone() if target.kind == "host" else nullcontext():
                    return search_latency_us(path, self.bench, target)
            except LitesmithError as error:
                reason = str(error)
        raise CandidateError(f"cannot be measured: {reason}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
