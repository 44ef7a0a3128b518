"""Training of an elastic supernet: progressive shrinking, the sandwich rule, or uniform sampling.

- progressive: Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.3). The largest network is trained first; as
  it then is, it teaches the networks that are drawn while kernel size, depth and width shrink. Channels are sorted by
  importance before each step of width.
- sandwich: each step trains the largest, the smallest and some drawn networks (Yu & Huang 2019, arXiv:1903.05134); the
  largest one's scores of that very step teach the others (BigNAS, Yu et al. 2020, arXiv:2003.11142).
- single_path: each step trains drawn networks, on the labels alone (Guo et al. 2020, arXiv:1904.00420).

A training is a pure function of (network, data, settings, seed). After each epoch it writes a checkpoint, so that a
killed training goes on at the last whole epoch and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from core.keras_env import keras, tf

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError
from core.progress import Reporter, Task
from core.tracking import Tracker
from search.build import build
from search.dataset import ImageData
from search.inputs import steps_per_epoch, training_batches
from search.space import Genotype
from search.supernet.losses import distillation_loss
from search.supernet.network import ElasticNetwork
from search.supernet.optimizer import MaskedAdamW
from search.supernet.phases import WIDTH, Phase, learning_rate, phases, sample
from search.supernet.settings import SANDWICH, SupernetConfig
from search.supernet.shared import save_arrays
from search.supernet.sorting import narrowed, sort_channels
from search.train import History

# The networks of a step, counted from the start of the training.
Sampler = Callable[[int], Sequence[Genotype]]
Arrays = Mapping[str, NDArray[np.generic]]
DECAYED = ("kernel", "depthwise", "dense")  # kinds of weights (search.supernet.weight_specs)


def train_elastic(
    network: ElasticNetwork,
    data: ImageData,
    config: SupernetConfig,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    tracker: Tracker | None = None,
) -> History:
    """Trains `network` in place; returns the mean loss and accuracy of each epoch's networks on its batches.

    Args:
      checkpoint: written after each epoch; if it exists the training goes on from it.
      tracker: gets the curves of search.train.fit.

    Raises CandidateError if the loss is not finite, UsageError if there are fewer epochs than phases.
    """
    training = ElasticTraining(network, data, config, seed=seed, tracker=tracker)
    if checkpoint.exists():
        training.restore(checkpoint)
    with reporter.task(f"supernet {config.method}", training.steps_left) as task:
        while training.steps_left:
            training.run_epoch(task)
            training.save(checkpoint)
    return training.history


class ElasticTraining:
    """A training that can stop after any epoch, for methods that do something else in between.

    Attributes:
      history: of the finished epochs.
      optimizer: of the network's weights.
      teacher: the largest network as the first of several phases left it; None without such a phase, or before its end.
      traces: how often its graph functions were traced.
    """

    def __init__(
        self,
        network: ElasticNetwork,
        data: ImageData,
        config: SupernetConfig,
        *,
        seed: int,
        sampler: Sampler | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.network, self.config, self.history, self.traces = network, config, History(), 0
        self.phases = phases(config, network.space)
        self._seed, self._sampler, self._augment = seed, sampler, data.augment
        self._tracker = tracker or Tracker()
        self._images = data.train.first(config.train_images)
        self._steps = steps_per_epoch(self._images, config.batch_size)
        self._calibration = data.train.first(config.recalibration_images)
        self._weights = tuple(network.weights.values())
        decays = [spec.kind in DECAYED for spec in network.layout.weights]
        self.optimizer = MaskedAdamW(self._weights, config.weight_decay, decays)
        self.teacher: keras.Model | None = None
        self._no_scores = tf.zeros([min(config.batch_size, len(self._images)), data.num_classes])
        # Traced at their first call, and then for all networks: what differs between them are tensors.
        self._learn = tf.function(self._accumulated)
        self._apply = tf.function(self._applied)
        self._teach = tf.function(self._taught)

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.history.loss)

    @property
    def steps_left(self) -> int:
        """Steps until the end of the last phase."""
        return self._steps * (sum(phase.epochs for phase in self.phases) - self.epoch)

    def run_epoch(self, task: Task) -> None:
        """Trains the next epoch. Raises CandidateError if its loss is not finite."""
        began = time.perf_counter()
        number, phase, first_epoch = self._place()
        if self.epoch == first_epoch:
            self._begin(number)
        results: list[tuple[float, float]] = []
        begin = self.epoch * self._steps
        batches = training_batches(
            self._images,
            batch_size=self.config.batch_size,
            seed=self._seed,
            augment=self._augment,
            first_step=begin,
            num_steps=self._steps,
        )
        for step, (images, labels) in enumerate(batches, begin):
            results += self._step(images, labels, self._settings(number, step))
            peak = self.config.learning_rate * phase.rate
            rate = learning_rate(peak, step - first_epoch * self._steps, phase.epochs * self._steps)
            self._apply(tf.constant(rate, tf.float32))
            self.network.forget_statistics()
            task.advance(1, f"{phase.name}, loss {results[-1][0]:.3f}")
        loss, accuracy = (float(value) for value in np.mean(results, axis=0))
        if not math.isfinite(loss):
            raise CandidateError(f"supernet diverged: the loss is {loss} in epoch {self.epoch + 1} ({phase.name})")
        self.history = History((*self.history.loss, loss), (*self.history.accuracy, accuracy))
        curves = {"loss": loss, "accuracy": accuracy, "learning_rate": rate, "seconds": time.perf_counter() - began}
        self._tracker.scalars(self.epoch, {f"train/{name}": value for name, value in curves.items()})

    def save(self, path: Path, extra: Arrays | None = None) -> None:
        """Writes everything that the next epochs depend on, and `extra` arrays, by rename."""
        teacher = [] if self.teacher is None else self.teacher.get_weights()
        arrays = {key: variable.numpy() for key, variable in self._variables().items()}
        arrays |= {f"teacher/{index}": value for index, value in enumerate(teacher)}
        arrays |= {f"extra/{name}": value for name, value in (extra or {}).items()}
        state = {"loss": self.history.loss, "accuracy": self.history.accuracy}
        save_arrays(path, {**arrays, "state": np.array(json.dumps(state))})

    def restore(self, path: Path) -> Arrays:
        """Goes back to where `save` was called; returns the `extra` arrays."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for key, variable in self._variables().items():
            variable.assign(arrays[key])
        self.network.forget_statistics()
        teacher = [arrays[f"teacher/{index}"] for index in range(sum(name.startswith("teacher/") for name in arrays))]
        if teacher:
            self.teacher = build(self.network.layout.largest)
            self.teacher.set_weights(teacher)
        state = json.loads(str(arrays["state"]))
        self.history = History(tuple(state["loss"]), tuple(state["accuracy"]))
        return {name.removeprefix("extra/"): value for name, value in arrays.items() if name.startswith("extra/")}

    def _variables(self) -> dict[str, tf.Variable]:
        groups = {
            "weights": self.network.weights,
            "statistics": self.network.statistics,
            "optimizer": {str(index): variable for index, variable in enumerate(self.optimizer.variables)},
        }
        return {f"{group}/{name}": variable for group, items in groups.items() for name, variable in items.items()}

    def _place(self) -> tuple[int, Phase, int]:
        """Number, value and first epoch of the phase that the next epoch belongs to."""
        first_epoch = 0
        for number, phase in enumerate(self.phases):
            if self.epoch < first_epoch + phase.epochs:
                return number, phase, first_epoch
            first_epoch += phase.epochs
        raise AssertionError("the training has ended")

    def _begin(self, number: int) -> None:
        """What happens between two phases; all of it follows from the weights, so a resumed training does the same."""
        self.optimizer.reset()
        if number == 0:
            return
        before = self.phases[number - 1]
        if before.is_full:
            largest = self.network.layout.largest
            self.network.recalibrate(largest, self._calibration)
            self.teacher = self.network.extract(largest)
        if self.phases[number].share(WIDTH) > before.share(WIDTH):
            sort_channels(self.network, narrowed(self.network.space, before))

    def _settings(self, number: int, step: int) -> list[tf.Tensor]:
        """Of the networks of a step, as the graph takes them."""
        space, layout, phase = self.network.space, self.network.layout, self.phases[number]
        rng = np.random.default_rng((self._seed, number, step))
        if self._sampler is not None:
            archs = [space.decode(genotype) for genotype in self._sampler(step)]
        else:
            count = 1 if phase.is_full else self.config.networks_per_step
            archs = [space.decode(sample(space, phase, rng)) for _ in range(count)]
        if self.config.method == SANDWICH:
            archs = [layout.largest, layout.smallest, *archs]
        return [tf.constant(layout.setting(arch), tf.int32) for arch in archs]

    def _step(self, images: tf.Tensor, labels: tf.Tensor, settings: Sequence[tf.Tensor]) -> list[tuple[float, float]]:
        """Sums the gradients of all networks; returns loss and accuracy of each."""
        in_place = self.config.method == SANDWICH
        is_taught = self.teacher is not None and self.config.distill_alpha > 0
        scores = self._teach(images) if is_taught else None
        results = []
        for setting in settings:
            alpha = 0.0 if scores is None else self.config.distill_alpha
            logits, loss, accuracy = self._learn(
                images, labels, setting, self._no_scores if scores is None else scores, tf.constant(alpha, tf.float32)
            )
            scores = logits if in_place and scores is None else scores
            results.append((float(loss), float(accuracy)))
        return results

    def _accumulated(
        self, images: tf.Tensor, labels: tf.Tensor, setting: tf.Tensor, scores: tf.Tensor, alpha: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Graph: one network's gradients into the optimizer. Returns its logits, loss and accuracy."""
        self.traces += 1
        network = self.network
        with tf.GradientTape() as tape:
            logits = network.forward(images, setting, training=True)
            loss = distillation_loss(logits, labels, scores, alpha, self.config)
        gradients = tape.gradient(loss, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self.optimizer.accumulate(gradients, list(network.masks(setting).values()))
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return logits, loss, tf.reduce_mean(tf.cast(hits, tf.float32))

    def _applied(self, rate: tf.Tensor) -> None:
        """Graph: moves the weights by the gradients so far."""
        self.traces += 1
        self.optimizer.apply(rate)

    def _taught(self, images: tf.Tensor) -> tf.Tensor:
        """Graph: the teacher's logits, at the largest resolution."""
        self.traces += 1
        assert self.teacher is not None
        side = self.network.layout.largest.resolution
        if images.shape[1] != side:
            images = tf.image.resize(images, [side, side], antialias=True)
        return self.teacher(images, training=False)
