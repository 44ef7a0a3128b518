"""A tiny supernet training for tests, which as a program kills itself: `... CHECKPOINT METHOD STEPS`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.keras_env import reset

import numpy as np

from core.progress import Reporter, SilentReporter, Task
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.dataset import ImageData, ImageSet
from search.space import SearchSpace
from search.supernet.enas import train_enas
from search.supernet.network import ElasticNetwork
from search.supernet.settings import SupernetConfig
from search.supernet.train import train_elastic
from search.train import History

SIDE, CLASSES, SEED = 8, 3, 7
STEPS = 3  # of an epoch
BLOCK = BlockSpec(
    "ir", OneOf((3, 5), "kernel"), expand_ratio=OneOf((1, 2, 4), "expand"), out_channels=OneOf((8, 16), "out")
)
TEMPLATE = ArchSpec(8, (StageSpec((BLOCK,) * 3, OneOf((1, 2, 3))),), OneOf((16, 24)), 1.0, SIDE, CLASSES)
SPACE = SearchSpace("tiny", TEMPLATE)
# Phases full, kernel, depth 1, depth 2, width 1, width 2, of 2, 2, 1, 2, 1 and 2 epochs.
CONFIG = SupernetConfig(full_epochs=2, epochs=8, batch_size=8, learning_rate=0.01, recalibration_images=16)


def images(count: int, side: int = SIDE) -> ImageSet:
    """Noisy images of three brightnesses, learnt within a few epochs."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, count).astype(np.int32)
    pixels = 80 * labels[:, None, None, None] + draw.integers(0, 60, (count, side, side, 3))
    return ImageSet(pixels.astype(np.uint8), labels, np.arange(count, dtype=np.int64))


def data(side: int = SIDE) -> ImageData:
    train = images(STEPS * CONFIG.batch_size + 3, side)
    return ImageData("bright", ("dark", "grey", "light"), train, train, train, "flip_shift")


def fresh(space: SearchSpace = SPACE) -> ElasticNetwork:
    reset(SEED)
    return ElasticNetwork(space, SEED)


class Interrupting(Reporter):
    """Calls `stop` when so many steps are done; keeps the labels, totals and notes of what it shows."""

    def __init__(self, steps: int, stop: object = None) -> None:
        super().__init__(SilentReporter().console)
        self.steps_left, self.stop = steps, stop
        self.labels: list[tuple[str, int]] = []
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Task]:
        self.labels.append((label, total))
        yield _Counting(self)


class _Counting(Task):
    def __init__(self, owner: Interrupting) -> None:
        self._owner = owner

    def advance(self, units: int = 1, note: str = "") -> None:
        self._owner.notes.append(note)
        self._owner.steps_left -= units
        if self._owner.steps_left == 0:
            self._owner.stop()  # type: ignore[operator]


def train(network: ElasticNetwork, config: SupernetConfig, checkpoint: Path, reporter: Reporter) -> History:
    """Trains by the method of `config`, from the checkpoint if it exists."""
    if config.method == "enas":
        return train_enas(network, data(), config, seed=SEED, checkpoint=checkpoint, reporter=reporter).history
    return train_elastic(network, data(), config, seed=SEED, checkpoint=checkpoint, reporter=reporter)


def main(checkpoint: str, method: str, steps: str) -> None:
    """Trains from the checkpoint, if it exists, and dies after so many steps."""
    reporter = Interrupting(int(steps), lambda: os.kill(os.getpid(), signal.SIGKILL))
    train(fresh(), dataclasses.replace(CONFIG, method=method), Path(checkpoint), reporter)


if __name__ == "__main__":
    main(*sys.argv[1:])
