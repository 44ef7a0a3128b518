"""A teacher from a user's file: any model that `compress.importing` takes, checked without running anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress.importing.check import check_user_model

if TYPE_CHECKING:
    from core.keras_env import keras

WHERE = "config.teacher.file"


def check_teacher_file(path: str | Path, where: str = WHERE) -> None:
    """Raises UsageError unless the file is a Keras model made of Keras' own layers. Needs no TensorFlow."""
    check_user_model(path, allow_custom=False, where=where)


def load_teacher(
    path: str | Path, num_classes: int, resolution: int, where: str = WHERE, *, input_range: str = "0..1"
) -> keras.Model:
    """The teacher, not compiled and not trainable: images [n, R, R, 3] in 0..1 -> logits [n, classes].

    Raises UsageError if the file is refused or the network does not fit the images and classes, CandidateError if it
    cannot be rewritten as a flat network of the same outputs.
    """
    from compress.importing.load import load_user_model

    model = load_user_model(path, num_classes, resolution, allow_custom=False, input_range=input_range, where=where)
    model.trainable = False
    return model
