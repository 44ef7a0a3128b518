"""Differentiable search: what DARTS and ProxylessNAS have in common.

Weights and architecture are trained in turns, each on its own half of the training images, as both papers do: an
architecture that fitted the images of its weights would be rewarded for memory. A search is a pure function of
(network, images, settings, seed), and goes on after a kill at the last whole epoch.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.keras_env import tf

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError
from core.progress import Reporter, SilentReporter
from core.tracking import Tracker
from search.dataset import ImageData, ImageSet
from search.inputs import steps_per_epoch, training_batches
from search.space import Genotype
from search.supernet.latency_term import LatencyTerm
from search.supernet.mixed import MixedNetwork
from search.supernet.mixture_adam import ArchitectureAdam, RowAdamW
from search.supernet.phases import learning_rate
from search.supernet.settings import SupernetConfig
from search.supernet.shared import accuracy_of, save_arrays

HALVES_STREAM = 7  # of random numbers, apart from the batches'


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch of a search was like.

    Attributes:
      loss: mean training loss of the weights.
      certainty: mean probability of the likeliest candidate of each place at the end.
      latency_weight: at the end.
      held_out_loss: mean loss of the architecture's batches without the latency; None while it is not trained yet.
      expected_latency_us: at the end; None without a latency table.
    """

    loss: float
    certainty: float
    latency_weight: float
    held_out_loss: float | None
    expected_latency_us: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a differentiable search has found.

    Attributes:
      genotype: the likeliest candidate of each place; where others were judged too (Steps.choices), the most accurate.
      mixture_accuracy: validation accuracy (0..1) of the mixture of all candidates, batch norm recalibrated.
      accuracy: of the genotype's network with the weights it has in the mixture, batch norm recalibrated.
      expected_latency_us, latency_us: of the probabilities, and of the genotype's network; None without a table.
      latency_weight: at the end of the search.
      history: its epochs.
    """

    genotype: Genotype
    mixture_accuracy: float
    accuracy: float
    expected_latency_us: float | None
    latency_us: float | None
    latency_weight: float
    history: tuple[Epoch, ...]

    @property
    def gap(self) -> float:
        """The accuracy that the choice of one candidate at each place costs."""
        return self.mixture_accuracy - self.accuracy


class Steps(abc.ABC):
    """The two kinds of training steps of a method; `weights_step` and `architecture_step` are traced once each.

    Batches are float32 images [b, R, R, 3] and int32 labels [b]; `key` [2] seeds what is drawn. Both return the loss.
    """

    beta_1: float
    """The decay of the first moment in the architecture's Adam."""

    def __init__(self, network: MixedNetwork, config: SupernetConfig, latency: LatencyTerm) -> None:
        self.latency = latency
        self.traces = 0
        self._network, self._config = network, config
        self._optimizer = RowAdamW(network.weights, config.weight_decay)
        self._architecture = ArchitectureAdam(network.alpha, self.beta_1)
        self.weights_step = tf.function(self._weights_step, autograph=False)
        self.architecture_step = tf.function(self._architecture_step, autograph=False)

    def variables(self) -> dict[str, tf.Variable]:
        """The states of both optimizers and of the latency's weight: with the network's own all of a checkpoint."""
        return {**self._optimizer.variables(), **self._architecture.variables(), **self.latency.variables()}

    def choices(self, seed: int) -> tuple[Genotype, ...]:
        """The networks of which the search gives the one that is the most accurate with the trained weights."""
        return (self._network.discretized(),)

    @abc.abstractmethod
    def _weights_step(self, batch: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Graph: trains the weights."""

    @abc.abstractmethod
    def _architecture_step(self, batch: Any, held_out: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Graph: trains the architecture on `held_out`; `batch` and `rate` are those of the weights' next step."""


def run_search(
    steps: Steps,
    network: MixedNetwork,
    data: ImageData,
    config: SupernetConfig,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter | None = None,
    tracker: Tracker | None = None,
) -> Found:
    """Trains for `config.epochs`, the architecture after `config.warmup_share` of them, and judges what was found.

    `tracker` gets what an Epoch tells as train/NAME, with train/learning_rate and train/seconds.

    Raises CandidateError if a loss is not finite, UsageError for data that do not fit the space.
    """
    reporter, tracker = reporter or SilentReporter(), tracker or Tracker()
    halves = _halves(_training_images(network, data, config), seed)
    count = steps_per_epoch(halves[0], config.batch_size)
    history = _restore(steps, network, checkpoint)
    remaining = (config.epochs - len(history)) * count
    first = len(history) * count
    sources = [_batches(half, data, config, seed, first, remaining) for half in halves]
    batches = zip(*sources, strict=True)
    with reporter.task(config.method, remaining) as task:
        while len(history) < config.epochs:
            losses, began = [], time.perf_counter()
            for step in range(len(history) * count, (len(history) + 1) * count):
                losses.append(_turn(steps, network, config, next(batches), step, count, seed))
                network.forget_statistics()
                task.advance(1, _note(history))
            history = (*history, _epoch(steps, network, np.array(losses)))
            rate = learning_rate(config.learning_rate, len(history) * count - 1, config.epochs * count)
            curves = {**dataclasses.asdict(history[-1]), "learning_rate": rate, "seconds": time.perf_counter() - began}
            tracker.scalars(len(history), {f"train/{k}": value for k, value in curves.items() if value is not None})
            _save(steps, network, checkpoint, history)
    return _judged(steps, network, data, config, history, seed)


def gradients(tape: tf.GradientTape, loss: tf.Tensor, of: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients of a loss; 0 in what it does not depend on, such as the row of a place without weights."""
    found: list[tf.Tensor] = tape.gradient(loss, list(of), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return found


def _turn(
    steps: Steps, network: MixedNetwork, config: SupernetConfig, batches: Any, step: int, epoch_steps: int, seed: int
) -> tuple[float, float]:
    """One step of the architecture, if it is its time, and one of the weights: the losses of both."""
    batch, held_out = batches
    total, first = config.epochs * epoch_steps, int(config.warmup_share * config.epochs) * epoch_steps
    rate = tf.constant(learning_rate(config.learning_rate, step, total), tf.float32)
    key = tf.constant([seed, step], tf.int64)
    held_out_loss = math.nan
    if step >= first:
        held_out_loss = float(steps.architecture_step(batch, held_out, rate, key))
        steps.latency.adjust(network.probabilities().numpy(), total - first)
    return float(steps.weights_step(batch, rate, key)), held_out_loss


def _training_images(network: MixedNetwork, data: ImageData, config: SupernetConfig) -> ImageSet:
    template = network.space.template
    found, needed = (data.resolution, data.num_classes), (template.resolution, template.num_classes)
    if found != needed:
        names = "images of {} pixels in {} classes"
        raise UsageError(
            f"data {data.name}: {names.format(*found)}; space {network.space.name} has {names.format(*needed)}"
        )
    images = data.train.first(config.train_images)
    if len(images) < 2:
        raise UsageError(f"data {data.name}: {len(images)} training images; expected at least 2, for two halves")
    return images


def _halves(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images of the weights and those of the architecture."""
    order = np.random.default_rng((seed, HALVES_STREAM)).permutation(images.rows)
    middle = len(order) // 2
    weights, architecture = (
        dataclasses.replace(images, rows=rows) for rows in (order[:middle], order[middle : 2 * middle])
    )
    return weights, architecture


def _batches(
    images: ImageSet, data: ImageData, config: SupernetConfig, seed: int, first: int, count: int
) -> tf.data.Dataset:
    return training_batches(
        images, batch_size=config.batch_size, seed=seed, augment=data.augment, first_step=first, num_steps=count
    )


def _note(history: tuple[Epoch, ...]) -> str:
    if not history:
        return ""
    last = history[-1]
    latency = "" if last.expected_latency_us is None else f", expected {last.expected_latency_us:.0f} us"
    return f"loss {last.loss:.3f}, certainty {100 * last.certainty:.0f} %{latency}"


def _epoch(steps: Steps, network: MixedNetwork, losses: NDArray[np.float64]) -> Epoch:
    loss, held_out_loss = losses.mean(axis=0).tolist()
    probabilities = network.probabilities().numpy()
    if not math.isfinite(loss) or not np.isfinite(probabilities).all():
        raise CandidateError(f"diverged: the loss of the mixture's weights is {loss}")
    expected = steps.latency.expected
    return Epoch(
        loss,
        float(probabilities.max(axis=1).mean()),
        float(steps.latency.weight),
        None if math.isnan(held_out_loss) else held_out_loss,
        None if expected is None else expected.of(probabilities),
    )


def _variables(steps: Steps, network: MixedNetwork) -> dict[str, tf.Variable]:
    return {**network.variables(), **steps.variables()}


def _save(steps: Steps, network: MixedNetwork, path: Path, history: tuple[Epoch, ...]) -> None:
    arrays = {name: variable.numpy() for name, variable in _variables(steps, network).items()}
    save_arrays(path, {**arrays, "history": np.array([dataclasses.astuple(epoch) for epoch in history], np.float64)})


def _restore(steps: Steps, network: MixedNetwork, path: Path) -> tuple[Epoch, ...]:
    if not path.exists():
        return ()
    with np.load(path, allow_pickle=False) as arrays:
        for name, variable in _variables(steps, network).items():
            variable.assign(arrays[name])
        network.forget_statistics()
        return tuple(
            Epoch(*row[:3], *(None if math.isnan(v) else v for v in row[3:])) for row in arrays["history"].tolist()
        )


def _judged(
    steps: Steps,
    network: MixedNetwork,
    data: ImageData,
    config: SupernetConfig,
    history: tuple[Epoch, ...],
    seed: int,
) -> Found:
    images, val = data.train.first(config.recalibration_images), data.val.first(config.val_images)
    network.recalibrate_mixture(images)
    mixture_accuracy = accuracy_of(network.mixture_logits(val), val)
    accuracies = {}
    for choice in steps.choices(seed):
        network.recalibrate_path(choice, images)
        accuracies[choice] = accuracy_of(network.path_logits(choice, val), val)
    genotype = max(accuracies, key=lambda choice: accuracies[choice])
    probabilities = network.probabilities().numpy()
    expected = steps.latency.expected
    return Found(
        genotype,
        mixture_accuracy,
        accuracies[genotype],
        None if expected is None else expected.of(probabilities),
        None if expected is None else expected.of_network(genotype),
        float(steps.latency.weight),
        history,
    )
