"""Small runs that end in a release: a model of the user's, quantized, on images of 16 x 16."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from core.keras_env import keras

import numpy as np

from core.progress import SilentReporter
from pipeline.config import Config, validated
from pipeline.planning import checked_plan
from pipeline.runner import run_stages
from pipeline.workdir import Workdir
from tests.testdata.squares import get_config

CLASSES = 3


def write_images(path: Path) -> Path:
    """Three classes: a bright square in one of three places, on noise; 120 images to train on and 60 to test."""
    rng = np.random.default_rng(0)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % CLASSES
        pictures = rng.integers(0, 80, (count, 16, 16), np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[4:12, 5 * label : 5 * label + 5] += 150
        return pictures, labels

    (x_train, y_train), (x_test, y_test) = split(120), split(60)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def write_model(path: Path, order: tuple[int, int, int] = (0, 1, 2)) -> Path:
    """A network that answers `order[c]` for class c: it compares how bright the three places are."""
    model = keras.Sequential(
        [
            keras.layers.Input((16, 16, 3)),
            keras.layers.Conv2D(CLASSES, 16, name="places"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, activation="softmax", name="scores"),
        ]
    )
    kernel = np.zeros((16, 16, 3, CLASSES), np.float32)
    for place in range(CLASSES):
        kernel[4:12, 5 * place : 5 * place + 5, :, place] = 1 / (8 * 5 * 3)
    model.get_layer("places").set_weights([kernel, np.zeros(CLASSES, np.float32)])
    model.get_layer("scores").set_weights([10 * np.eye(CLASSES, dtype=np.float32)[:, list(order)], np.zeros(CLASSES)])
    model.save(path)
    return path


def release_config(images: Path, model: Path) -> Config:
    """A run of a few seconds."""
    config = get_config()
    config.data.name, config.model.file = f"npz:{images}", str(model)
    return validated(config)


def run(config: Config, workdir: Path, new_config: bool = False, **release: object) -> list[str]:
    """What the command `run` does up to publishing; the failures."""
    config = dataclasses.replace(config, release=dataclasses.replace(config.release, **release))  # type: ignore[arg-type]
    plan = checked_plan(config, command="python -m pipeline.main run")
    return run_stages(plan.for_command("run"), plan, config, Workdir(workdir), SilentReporter(), new_config)
