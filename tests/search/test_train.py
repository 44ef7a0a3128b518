"""The training loop: exact resume after a kill and across promotions, divergence, history, prediction."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from core.keras_env import keras, reset, tf

import numpy as np
import pytest

from core.errors import CandidateError
from core.progress import Reporter, Task
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.build import build
from search.dataset import ImageSet
from search.inputs import steps_per_epoch
from search.settings import TrainConfig
from search.train import (
    EVALUATION_BATCH,
    History,
    Span,
    Supervision,
    accuracy,
    compile_for_training,
    fit,
    label_distribution,
    labels_supervision,
    predict,
)

BLOCK = BlockSpec(expand_ratio=2, out_channels=8)
ARCH = ArchSpec(8, (StageSpec((BLOCK,), 1),), 16, resolution=8, num_classes=3)
CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01)
SEED = 11


def images(count: int, channels: int = 1) -> ImageSet:
    """Noisy images of three brightnesses, learnt within a few epochs."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, count).astype(np.int32)
    pixels = 80 * labels[:, None, None, None] + draw.integers(0, 60, (count, 8, 8, channels))
    return ImageSet(pixels.astype(np.uint8), labels, np.arange(count, dtype=np.int64))


TRAIN = images(36)
STEPS = steps_per_epoch(TRAIN, CONFIG.batch_size)


def fresh(seed: int = SEED) -> keras.Model:
    reset(seed)
    return build(ARCH)


def train(model: keras.Model, checkpoint: Path | None = None, **options) -> History:
    options = {"seed": SEED, "augment": "flip_shift", "checkpoint": checkpoint, **options}
    return fit(model, TRAIN, CONFIG, labels_supervision(3), **options)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[keras.Model, History]:
    model = fresh()
    return model, train(model)


def assert_equal_to(undisturbed: tuple[keras.Model, History], model: keras.Model, history: History) -> None:
    """Bit for bit: weights, the optimizer's moments and its step count, the history."""
    whole, whole_history = undisturbed
    assert history == whole_history
    for expected, found in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for expected, found in zip(whole.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_training_learns_and_tells_each_epoch(undisturbed):
    model, history = undisturbed
    assert len(history.loss) == len(history.accuracy) == 3
    assert history.loss[-1] < history.loss[0]
    assert all(0 <= value <= 1 for value in history.accuracy)
    assert int(model.optimizer.iterations) == 3 * STEPS


class Kill(keras.callbacks.Callback):
    """Interrupts the training in the middle of an epoch, after some of its steps have changed the weights."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch, self._now = epoch, -1

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._now = epoch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if self._now == self._epoch and batch == STEPS // 2:
            raise KeyboardInterrupt


def test_a_killed_training_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    """Killed in the second epoch; the next process starts from other weights, which the checkpoint replaces."""
    checkpoint = tmp_path / "training.npz"
    with pytest.raises(KeyboardInterrupt):
        train(fresh(), checkpoint, callbacks=[Kill(epoch=1)])
    model = fresh(seed=99)
    assert_equal_to(undisturbed, model, train(model, checkpoint))


def test_a_promoted_training_ends_as_one_in_a_row(undisturbed, tmp_path):
    """Hyperband's way: one epoch of a schedule of three, later the rest; a third call has nothing to do."""
    checkpoint = tmp_path / "training.npz"
    first = train(fresh(), checkpoint, span=Span(last_epoch=1, schedule_epochs=3))
    assert first.loss == undisturbed[1].loss[:1]
    model = fresh(seed=99)
    assert_equal_to(undisturbed, model, train(model, checkpoint, span=Span(last_epoch=3, schedule_epochs=3)))
    again = fresh(seed=98)
    assert_equal_to(undisturbed, again, train(again, checkpoint))


def test_the_seed_changes_the_training(undisturbed):
    model = fresh()
    assert train(model, seed=SEED + 1) != undisturbed[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_the_candidates_fault(tmp_path, value):
    model = fresh()
    model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
    checkpoint = tmp_path / "training.npz"
    with pytest.raises(CandidateError, match=r"^diverged: the loss is nan in epoch 1$"):
        train(model, checkpoint)
    assert not checkpoint.exists()
    with pytest.raises(CandidateError, match=r"^diverged: the network's outputs are not finite$"):
        accuracy(model, TRAIN)


def test_a_set_smaller_than_a_batch_can_be_trained_on():
    model = fresh()
    few = images(5)
    history = fit(model, few, CONFIG, labels_supervision(3), seed=SEED, augment="none")
    assert len(history.loss) == 3
    assert int(model.optimizer.iterations) == 3


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth():
    model = fresh()
    compile_for_training(model, CONFIG, labels_supervision(3), total_steps=100)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(tf.constant(step))) for step in (0, 10, 55, 100, 120)]
    # Half a cosine from 1 to 0.01 is at 0.505 in the middle; float32 keeps six digits of each rate.
    assert rates == pytest.approx([0.001, 0.01, 0.00505, 0.0001, 0.0001], rel=1e-5)


def test_a_training_too_short_to_warm_up_starts_at_the_full_rate():
    model = fresh()
    compile_for_training(model, CONFIG, labels_supervision(3), total_steps=5)
    assert float(model.optimizer._learning_rate(tf.constant(0))) == pytest.approx(0.01, rel=1e-5)


def test_predict_and_accuracy_over_several_batches():
    """More images than one evaluation batch, grey ones replicated to RGB; the model's own outputs are the truth."""
    many = images(EVALUATION_BATCH + 44)
    model = fresh()
    pixels = np.repeat(many.images, 3, axis=-1).astype(np.float32) / 255
    outputs = predict(model, many)
    assert outputs.shape == (300, 3)
    # One sum in two batch sizes: float32's seven digits, the last of which may differ.
    np.testing.assert_allclose(outputs, model(pixels, training=False).numpy(), rtol=1e-4, atol=1e-5)
    assert accuracy(model, many) == np.mean(outputs.argmax(axis=1) == many.labels)
    relabelled = ImageSet(many.images, outputs.argmax(axis=1).astype(np.int32), many.rows)
    assert accuracy(model, relabelled) == 1.0


def test_progress_counts_every_step_left(tmp_path):
    class Counting(Reporter):
        total, done = 0, 0

        def task(self, label, total):
            import contextlib

            reporter = self

            class Counter(Task):
                def advance(self, units: int = 1, note: str = "") -> None:
                    reporter.done += units

            self.total = total
            return contextlib.nullcontext(Counter())

    checkpoint = tmp_path / "training.npz"
    for epochs, expected in ((1, STEPS), (3, 2 * STEPS)):
        reporter = Counting()
        train(fresh(), checkpoint, span=Span(epochs, 3), reporter=reporter)
        assert reporter.total == reporter.done == expected


MIXED = dataclasses.replace(CONFIG, mixup=0.3)


def train_mixed(model: keras.Model, checkpoint: Path | None = None, **options) -> History:
    return fit(model, TRAIN, MIXED, labels_supervision(3), seed=SEED, augment="none", checkpoint=checkpoint, **options)


def test_a_killed_training_with_mixup_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    model = fresh()
    history = train_mixed(model)
    assert history.loss != undisturbed[1].loss
    with pytest.raises(KeyboardInterrupt):
        train_mixed(fresh(), tmp_path / "training.npz", callbacks=[Kill(epoch=1)])
    resumed = fresh(seed=99)
    assert_equal_to((model, history), resumed, train_mixed(resumed, tmp_path / "training.npz"))


def test_labels_may_be_mixed():
    mixed = tf.constant([[0.25, 0.75, 0.0]])
    np.testing.assert_array_equal(label_distribution(mixed, 3), mixed)
    np.testing.assert_array_equal(label_distribution(tf.constant([2]), 3), [[0, 0, 1]])
    np.testing.assert_array_equal(label_distribution(np.array([2]), 3), [[0, 0, 1]])


def test_what_a_supervision_binds_is_trained_in_the_networks_place(tmp_path):
    """The view's own weights are trained, saved and resumed with the network's, which stays as it is."""

    def bind(model: keras.Model) -> tuple[keras.Model, Supervision]:
        doubled = keras.layers.Dense(3, kernel_initializer="ones", name="extra")(model.output)
        return keras.Model(model.input, doubled), labels_supervision(3)

    plain = labels_supervision(3)
    supervision = Supervision(plain.loss, plain.targets, plain.metrics, bind)

    def run(model: keras.Model, checkpoint: Path, **options: object) -> History:
        options = {"seed": SEED, "augment": "none", "checkpoint": checkpoint, **options}
        return fit(model, TRAIN, CONFIG, supervision, **options)

    whole, resumed = fresh(), fresh(seed=99)
    history = run(whole, tmp_path / "whole.npz")
    with pytest.raises(KeyboardInterrupt):
        run(fresh(), tmp_path / "killed.npz", callbacks=[Kill(1)])
    assert run(resumed, tmp_path / "killed.npz") == history
    with np.load(tmp_path / "whole.npz") as arrays:
        assert sum(name.startswith("weight_") for name in arrays) == len(whole.weights) + 2
    for expected, found in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert whole.output_shape == (None, 3)
