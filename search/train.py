"""The training loop: every network is trained, distilled and fine-tuned here. (Shared weights: search.supernet.train.)

A training is a pure function of (model, images, settings, seed). After each epoch it writes a checkpoint, so that a
killed training goes on at the last whole epoch and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from core.errors import CandidateError
from core.progress import Reporter, SilentReporter, Task
from core.tracking import Tracker
from core.workspace import atomic_write_bytes
from search.dataset import ImageSet
from search.inputs import steps_per_epoch, training_batches
from search.settings import TrainConfig

WARMUP_FRACTION = 0.1
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Supervision:
    """What a step compares the network's logits with.

    `targets(images, labels)` makes the y_true of a batch inside the input pipeline (a teacher's logits, for instance)
    from int labels [batch] or, under mixup, floats [batch, classes]; `loss` and `metrics` are ordinary Keras objects on
    that y_true.

    A supervision that looks inside the network has `bind`: for a network it gives a view to train in its place (the
    same layers, more outputs, possibly weights of its own that only the training needs) and the supervision of that
    view. Without `bind`, or without using it, the fields above concern the logits alone.
    """

    loss: keras.losses.Loss
    targets: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    metrics: tuple[object, ...]
    bind: Callable[[keras.Model], tuple[keras.Model, Supervision]] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Mean training loss and accuracy of each epoch (the metric of the augmented training batches, 0..1)."""

    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()


@dataclass(frozen=True)
class Span:
    """Which epochs to train: from `first_epoch` to `last_epoch` (exclusive) of a schedule of `schedule_epochs`."""

    last_epoch: int
    schedule_epochs: int
    first_epoch: int = 0


def labels_supervision(num_classes: int, label_smoothing: float = 0.0) -> Supervision:
    """Cross-entropy with the labels; the network's outputs are logits [batch, classes]."""
    return Supervision(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing),
        targets=lambda images, labels: label_distribution(labels, num_classes),
        metrics=(keras.metrics.CategoricalAccuracy(name="accuracy"),),
    )


def label_distribution(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Labels as float [batch, classes]: one-hot, unless they are mixed already."""
    return labels if len(labels.shape) == 2 else tf.one_hot(labels, num_classes)


def fit(
    model: keras.Model,
    images: ImageSet,
    config: TrainConfig,
    supervision: Supervision,
    *,
    seed: int,
    augment: str,
    span: Span | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: Path | None = None,
    reporter: Reporter | None = None,
    label: str = "train",
    tracker: Tracker | None = None,
) -> History:
    """Trains `model` in place and returns its history.

    Args:
      span: the epochs to train; by default all of `config.epochs`.
      checkpoint: a file to write after each epoch; if it exists the training goes on from it.
      callbacks: Keras callbacks of a compression pass.
      tracker: gets train/loss, train/accuracy, train/learning_rate and train/seconds of each epoch.

    Raises CandidateError if the loss is not finite.
    """
    num_classes = int(model.output_shape[-1])
    if supervision.bind is not None:
        model, supervision = supervision.bind(model)
    span = span or Span(config.epochs, config.epochs)
    steps = steps_per_epoch(images, config.batch_size)
    compile_for_training(model, config, supervision, total_steps=steps * span.schedule_epochs)
    first_epoch, history = span.first_epoch, History()
    if checkpoint is not None and checkpoint.exists():
        first_epoch, history = restore(model, checkpoint)
    remaining = span.last_epoch - first_epoch
    if remaining <= 0:
        return history
    batches = training_batches(
        images,
        batch_size=config.batch_size,
        seed=seed,
        augment=augment,
        first_step=first_epoch * steps,
        num_steps=remaining * steps,
        mixup=config.mixup,
        num_classes=num_classes,
    ).map(lambda x, y: (x, supervision.targets(x, y)), num_parallel_calls=1)
    with (reporter or SilentReporter()).task(label, remaining * steps) as task:
        recorder = _Recorder(history, checkpoint, task, tracker or Tracker())
        model.fit(
            batches.prefetch(2),
            initial_epoch=first_epoch,
            epochs=span.last_epoch,
            steps_per_epoch=steps,
            callbacks=[*callbacks, recorder],
            verbose=0,
        )
    return recorder.history


def compile_for_training(
    model: keras.Model, config: TrainConfig, supervision: Supervision, *, total_steps: int
) -> None:
    """Gives the model its optimizer, schedule, loss and metrics, and creates the optimizer's variables."""
    warmup = int(WARMUP_FRACTION * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate * (0.1 if warmup else 1.0),
        decay_steps=max(1, total_steps - warmup),
        alpha=0.01,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss=supervision.loss, metrics=list(supervision.metrics))


def save(model: keras.Model, path: Path, epochs_done: int, history: History) -> None:
    """Writes weights, optimizer state, the number of finished epochs and the history by rename."""
    arrays = {f"weight_{i}": value for i, value in enumerate(model.get_weights())}
    arrays |= {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    state = json.dumps({"epochs": epochs_done, "loss": history.loss, "accuracy": history.accuracy})
    buffer = io.BytesIO()
    np.savez(buffer, state=np.array(state), **arrays)
    atomic_write_bytes(path, buffer.getvalue())


def restore(model: keras.Model, path: Path) -> tuple[int, History]:
    """Loads what `save` wrote into a compiled model; returns the finished epochs and the history."""
    with np.load(path, allow_pickle=False) as arrays:
        model.set_weights([arrays[f"weight_{i}"] for i in range(len(model.get_weights()))])
        for i, variable in enumerate(model.optimizer.variables):
            variable.assign(arrays[f"optimizer_{i}"])
        state = json.loads(str(arrays["state"]))
    return int(state["epochs"]), History(tuple(state["loss"]), tuple(state["accuracy"]))


def predict(model: keras.Model, images: ImageSet) -> npt.NDArray[np.float32]:
    """The model's outputs, float32 [n, classes], in inference mode.

    Calls the model eagerly: for a few dozen batches that costs less than tracing a predict function.
    """
    outputs = []
    for start in range(0, len(images), EVALUATION_BATCH):
        pixels = images.rgb(slice(start, start + EVALUATION_BATCH))
        outputs.append(model(tf.cast(pixels, tf.float32) / 255.0, training=False).numpy())
    return np.concatenate(outputs)


def accuracy(model: keras.Model, images: ImageSet) -> float:
    """Top-1 accuracy, 0..1. Raises CandidateError if an output is not finite."""
    outputs = predict(model, images)
    if not np.isfinite(outputs).all():
        raise CandidateError("diverged: the network's outputs are not finite")
    return float(np.mean(np.argmax(outputs, axis=1) == images.labels))


class _Recorder(keras.callbacks.Callback):
    """Collects the history, shows progress, logs, writes the checkpoint, and stops a training that diverges."""

    def __init__(self, history: History, checkpoint: Path | None, task: Task, tracker: Tracker) -> None:
        super().__init__()
        self.history = history
        self._checkpoint, self._task, self._tracker = checkpoint, task, tracker
        self._note, self._began = "", 0.0
        self._supports_tf_logs = True  # do not fetch the metrics to Python after every batch

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._task.advance(1, self._note)

    def on_epoch_end(self, epoch: int, logs: dict[str, object] | None = None) -> None:
        values = {key: float(np.asarray(value)) for key, value in (logs or {}).items()}
        if not math.isfinite(values["loss"]):
            raise CandidateError(f"diverged: the loss is {values['loss']} in epoch {epoch + 1}")
        self.history = History(
            (*self.history.loss, values["loss"]), (*self.history.accuracy, values.get("accuracy", 0.0))
        )
        self._note = f"loss {values['loss']:.3f}, train accuracy {100 * values.get('accuracy', 0.0):.1f} %"
        # Before the checkpoint: an epoch that is trained again is logged again, and none is missing.
        rate, seconds = float(self.model.optimizer.learning_rate), time.perf_counter() - self._began
        curves = {f"train/{name}": value for name, value in values.items()}
        self._tracker.scalars(epoch + 1, {**curves, "train/learning_rate": rate, "train/seconds": seconds})
        if self._checkpoint is not None:
            save(self.model, self._checkpoint, epoch + 1, self.history)
