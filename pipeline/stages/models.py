"""What several stages read of earlier ones: the winner, the teacher's supervision, a saved model with its promises."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

from compress.distill import distillation_supervision
from compress.distill_config import DistillConfig
from compress.storage import load_model
from core.errors import CandidateError
from core.spec_io import from_plain
from core.workspace import read_json
from pipeline.runner import StageContext
from search.dataset import ImageData
from search.train import Supervision, labels_supervision
from search.trials import Trial


def winner(search_directory: Path, index: int) -> Trial:
    """The search's winner number `index`. Raises CandidateError if the search found fewer networks."""
    winners = read_json(search_directory / "winners.json")
    if index >= len(winners):
        raise CandidateError(f"the search found only {len(winners)} networks that could be evaluated")
    return from_plain(Trial, winners[index])


def supervision(
    context: StageContext, data: ImageData, label_smoothing: float = 0.0, *, fine_tuning: bool = False
) -> Supervision:
    """Distillation from the teacher if there is one, else the labels alone.

    What a pass trains may be taught by its own float32 parent.
    """
    config: DistillConfig = context.params["distill"]
    source = "float" if fine_tuning and config.teacher == "self" else "teacher"
    if source == "teacher" and "teacher" not in context.inputs:
        return labels_supervision(data.num_classes, label_smoothing)
    teacher = _for_images_of(data.resolution, load_model(context.input(source) / "model"))
    teacher.trainable = False
    return distillation_supervision(
        teacher,
        data.num_classes,
        config.temperature,
        config.alpha,
        label_smoothing,
        features=config.features,
        feature_weight=config.feature_weight,
    )


def _for_images_of(side: int, teacher: keras.Model) -> keras.Model:
    """The teacher for images of `side` pixels: it resizes them if it was made for others."""
    own = teacher.input_shape[1]
    if own in (None, side):
        return teacher
    images = keras.Input((side, side, teacher.input_shape[3]))
    return keras.Model(images, teacher(keras.layers.Resizing(own, own)(images)))
