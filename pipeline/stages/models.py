"""What several stages read of earlier ones: the winner, the teacher's supervision, a saved model with its promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.distill import distillation_supervision
from compress.invariants import Invariants
from compress.recipe import DistillConfig
from compress.storage import load_model
from core.errors import CandidateError
from core.spec_io import from_plain
from core.workspace import read_json
from pipeline.runner import StageContext
from search.dataset import ImageData
from search.train import Supervision, labels_supervision
from search.trials import Trial


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What is known of a Keras model: node.json beside the folder `model`.

    `arch` is the grammar's text of the network, `step` the pass that made it ("float" for the training),
    `val_accuracy` 0..1.
    """

    arch: str
    step: str
    val_accuracy: float
    invariants: Invariants


def winner(search_directory: Path, index: int) -> Trial:
    """The search's winner number `index`. Raises CandidateError if the search found fewer networks."""
    winners = read_json(search_directory / "winners.json")
    if index >= len(winners):
        raise CandidateError(f"the search found only {len(winners)} networks that could be evaluated")
    return from_plain(Trial, winners[index])


def supervision(context: StageContext, data: ImageData, label_smoothing: float = 0.0) -> Supervision:
    """Distillation from the teacher if the run has one, else the labels alone."""
    if "teacher" not in context.inputs:
        return labels_supervision(data.num_classes, label_smoothing)
    config: DistillConfig = context.params["distill"]
    teacher = load_model(context.input("teacher") / "model")
    teacher.trainable = False
    return distillation_supervision(teacher, data.num_classes, config.temperature, config.alpha, label_smoothing)


def read_node(directory: Path) -> NodeRecord:
    """The record of a model-making stage."""
    return from_plain(NodeRecord, read_json(directory / "node.json"))
