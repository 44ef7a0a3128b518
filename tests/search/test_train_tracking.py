"""The curves of a training: whole after a kill, and no part of its result."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from core.tracking import EventTracker
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.build import build
from search.dataset import ImageSet
from search.inputs import steps_per_epoch
from search.settings import TrainConfig
from search.train import History, fit, labels_supervision
from tests.event_logs import curves

ARCH = ArchSpec(8, (StageSpec((BlockSpec(expand_ratio=2, out_channels=8),), 1),), 16, resolution=8, num_classes=3)
CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01)


def _images() -> ImageSet:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 24).astype(np.int32)
    pixels = (80 * labels[:, None, None, None] + draw.integers(0, 60, (24, 8, 8, 1))).astype(np.uint8)
    return ImageSet(pixels, labels, np.arange(24, dtype=np.int64))


STEPS = steps_per_epoch(_images(), CONFIG.batch_size)


class Kill(keras.callbacks.Callback):
    """Ends the process, as far as the training can tell, in the second epoch."""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


def _train(folder: Path | None, checkpoint: Path, *callbacks: keras.callbacks.Callback) -> tuple[keras.Model, History]:
    reset(11)
    model = build(ARCH)
    history = fit(
        model,
        _images(),
        CONFIG,
        labels_supervision(3),
        seed=11,
        augment="none",
        checkpoint=checkpoint,
        callbacks=callbacks,
        tracker=None if folder is None else EventTracker(folder),
    )
    return model, history


def test_a_killed_training_has_each_epoch_once_and_ends_as_one_that_is_not_tracked(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "logs", tmp_path / "training.npz", Kill())
    # As if it had died a moment earlier, after epoch 1 was logged and before its checkpoint was written.
    (tmp_path / "training.npz").unlink()
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "logs", tmp_path / "training.npz", Kill())
    model, history = _train(tmp_path / "logs", tmp_path / "training.npz")
    plain, expected = _train(None, tmp_path / "plain.npz")
    assert history == expected
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), plain.get_weights(), strict=True))

    assert len(list((tmp_path / "logs").iterdir())) == 3
    found = curves(tmp_path / "logs")["."]
    assert sorted(found) == ["train/accuracy", "train/learning_rate", "train/loss", "train/seconds"]
    assert all([step for step, _ in points] == [1, 2, 3] for points in found.values())
    # Event files hold float32.
    np.testing.assert_array_equal([value for _, value in found["train/loss"]], np.float32(history.loss))
    np.testing.assert_array_equal([value for _, value in found["train/accuracy"]], np.float32(history.accuracy))
    assert all(value > 0 for _, value in found["train/seconds"])


def test_the_learning_rate_is_that_of_the_epochs_last_step(tmp_path: Path) -> None:
    model, _ = _train(tmp_path / "logs", tmp_path / "training.npz")
    schedule = model.optimizer.get_config()["learning_rate"]
    rate = keras.optimizers.schedules.deserialize(schedule)
    expected = [float(rate(epoch * STEPS - 1)) for epoch in (1, 2, 3)]
    found = [value for _, value in curves(tmp_path / "logs")["."]["train/learning_rate"]]
    # The graph and the eager call may round the float32 cosine differently.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
