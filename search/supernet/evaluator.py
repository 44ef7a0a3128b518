"""What a network is worth by shared weights: a pass over some images in place of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import CandidateError, LitesmithError, one_line
from core.progress import Reporter, SilentReporter
from core.workspace import AppendLog
from search.arch import ArchSpec
from search.dataset import ImageData
from search.evaluate import Candidate, Evaluation, computed_metrics, timed
from search.latency.configured import table_latency
from search.settings import SearchConfig
from search.space import Genotype
from search.supernet.settings import SupernetConfig
from search.supernet.shared import SharedWeights, shared_accuracy


@dataclass
class SupernetEvaluator:
    """A search.evaluate.Evaluator: recalibrates a candidate's batch-norm statistics, then judges it on other images.

    The statistics are those of the first `config.recalibration_images` training images, the accuracy that of the first
    `config.val_images` validation images. Epochs mean nothing here: what is trained is trained.

    `seconds` has the phases of the latest evaluation.
    """

    shared: SharedWeights
    config: SupernetConfig
    data: ImageData
    search: SearchConfig = field(default_factory=SearchConfig)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._predicted_us = table_latency(self.search)
        self._images = self.data.train.first(self.config.recalibration_images)
        self._val = self.data.val.first(self.config.val_images)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Metrics val_accuracy (0..1), macs, params, peak_memory_bytes, and latency_us with a latency table.

        Raises UsageError for a network of another space, CandidateError if its outputs are not finite.
        """
        computed = computed_metrics(candidate.arch)
        metrics = {"val_accuracy": self.accuracy(candidate.arch), **computed}
        if self._predicted_us is not None:
            metrics["latency_us"] = self._predicted_us(candidate.arch)
        return Evaluation(metrics, dict(self.seconds))

    def accuracy(self, arch: ArchSpec) -> float:
        """The validation accuracy (0..1) of a network with its own batch-norm statistics. Raises as `evaluate`."""
        self.seconds = {}
        with timed(self.seconds, "recalibrate"):
            self.shared.recalibrate(arch, self._images)
        with timed(self.seconds, "evaluate"):
            return shared_accuracy(self.shared, arch, self._val)


def evaluate_genotypes(
    evaluator: SupernetEvaluator,
    genotypes: Sequence[Genotype],
    log_path: Path,
    *,
    reporter: Reporter | None = None,
    label: str = "evaluate sub-networks",
) -> list[float]:
    """The validation accuracy (0..1) of each genotype, in their order; NaN of a network whose outputs are not finite.

    Each is appended to the log when it is known (NaN as null, with the error); a second call goes on from there. Raises
    LitesmithError if the log is of other genotypes.
    """
    log = AppendLog(log_path)
    known = log.read()
    if [tuple(record["genotype"]) for record in known] != list(genotypes[: len(known)]):
        raise LitesmithError(f"{log_path}: the log is of other sub-networks; remove it, or use a new folder")
    accuracies = [math.nan if record["val_accuracy"] is None else float(record["val_accuracy"]) for record in known]
    with (reporter or SilentReporter()).task(label, len(genotypes)) as task:
        task.advance(len(known))
        for genotype in genotypes[len(known) :]:
            found = _judged(evaluator, genotype)
            log.append({"genotype": genotype, **found})
            accuracy = found["val_accuracy"]
            accuracies.append(math.nan if accuracy is None else accuracy)
            task.advance(1, "not finite" if accuracy is None else f"val {100 * accuracy:.1f} %")
    return accuracies


def _judged(evaluator: SupernetEvaluator, genotype: Genotype) -> dict[str, Any]:
    """What the log has of one network: one that cannot be judged must not end the evaluation of all."""
    try:
        return {"val_accuracy": evaluator.accuracy(evaluator.shared.space.decode(genotype))}
    except CandidateError as error:
        return {"val_accuracy": None, "error": one_line(error)}
