"""A trained supernet as the search's evaluator: candidates are judged by their part of shared weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from core.keras_env import reset

from android_bench.connections import Connections
from android_bench.settings import BenchConfig
from deploy.schemes import FULL_INTEGER
from pipeline.data import load
from pipeline.evaluators import MeasuringEvaluator
from pipeline.images import resized_data
from pipeline.supernet_record import searched_space
from search.dataset import ImageData
from search.evaluate import Alone, Candidate, Evaluation, timed
from search.settings import SearchConfig
from search.supernet.evaluator import SupernetEvaluator
from search.supernet.methods import load_shared
from search.supernet.settings import SupernetConfig

# Of those of another resolution, from which calibration takes some of each class.
CALIBRATION_POOL = 1000


@dataclass(frozen=True)
class SharedEvaluatorFactory:
    """A search.evaluate.EvaluatorFactory of the trained supernet in the folder `weights`.

    `data` is the folder that pipeline.data.prepare has filled.
    """

    config: SearchConfig
    supernet: SupernetConfig
    seed: int
    bench: BenchConfig
    data: Path
    weights: Path
    scratch: Path
    connections: Connections = field(default_factory=Connections)

    def __call__(self, alone: Alone) -> SharedEvaluator:
        """The evaluator of one worker."""
        data = load(self.data)
        return SharedEvaluator(
            self.config,
            self.bench,
            dataclasses.replace(data, val=data.val.first(self.supernet.val_images)),
            self.scratch,
            alone=alone,
            connections=self.connections,
            judge=opened_judge(self.config, self.supernet, self.seed, data, self.weights),
        )


def opened_judge(
    search: SearchConfig, supernet: SupernetConfig, seed: int, data: ImageData, weights: Path
) -> SupernetEvaluator:
    """The trained supernet in the folder `weights`, ready to judge networks."""
    named_space = searched_space(search.space, supernet, data.resolution, data.num_classes)
    return SupernetEvaluator(load_shared(supernet, named_space, weights, seed), supernet, data, search)


@dataclass
class SharedEvaluator(MeasuringEvaluator):
    """Judges candidates by their part of shared weights; nothing is trained.

    With a measured cost the candidate leaves the supernet as a Keras model, is converted and measured.
    """

    judge: SupernetEvaluator = field(kw_only=True)

    def __post_init__(self) -> None:
        self._resized: dict[int, ImageData] = {}

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """The metrics of SupernetEvaluator, and with a measured cost also those of the .tflite, as TrainEvaluator's."""
        self.seconds = {}
        try:
            metrics = dict(self.judge.evaluate(candidate, epochs).metrics)
        finally:
            self.seconds |= self.judge.seconds
        if self.config.measured:
            with timed(self.seconds, "extract"):
                reset(candidate.seed)
                model = self.judge.shared.extract(candidate.arch)
            data = self._images(candidate.arch.resolution)
            metrics |= self._measured(model, candidate, FULL_INTEGER, data)
        return Evaluation(metrics, dict(self.seconds))

    def _images(self, side: int) -> ImageData:
        if side not in self._resized:
            self._resized[side] = resized_data(self.data, side, CALIBRATION_POOL)
        return self._resized[side]
