"""ENAS: shared weights and the policy that draws from them, trained in turns.

Pham et al. 2018, https://arxiv.org/abs/1802.03268, section 2.2: for an epoch the weights are trained on networks that
the policy draws; then, the weights standing still, the policy is trained on the validation accuracy of what it draws. A
network is rewarded on one batch, with the batch's own statistics for its normalizations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.keras_env import tf

import numpy as np

from core.progress import Reporter
from core.tracking import Tracker
from search.dataset import ImageData, ImageSet
from search.space import Genotype
from search.supernet.controller import Controller
from search.supernet.network import ElasticNetwork
from search.supernet.settings import SupernetConfig
from search.supernet.train import Arrays, ElasticTraining
from search.train import History

SUGGESTIONS = 10  # networks that the trained policy is asked for
BATCH_STREAM = 4  # of random numbers, beside the controller's


@dataclass(frozen=True)
class EnasResult:
    """What became of the training.

    Attributes:
      history: of the weights.
      rewards: mean reward (0..1) of the policy's updates after each epoch.
      entropy: of the policy at the end, in nats.
      suggestions: the networks that the policy prefers, most probable first.
    """

    history: History
    rewards: tuple[float, ...]
    entropy: float
    suggestions: tuple[Genotype, ...]


def train_enas(
    network: ElasticNetwork,
    data: ImageData,
    config: SupernetConfig,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    tracker: Tracker | None = None,
) -> EnasResult:
    """Trains `network` in place, and a policy of its own.

    `checkpoint` is written after each epoch of both; if it exists the training goes on from it, and ends with the same
    weights and the same policy. `tracker` gets the curves of search.train.fit, and train/reward. Raises CandidateError
    if the loss is not finite.
    """
    controller = Controller(network.space, seed=seed, networks_per_step=config.networks_per_step)
    tracker = tracker or Tracker()
    training = ElasticTraining(network, data, config, seed=seed, sampler=controller.networks, tracker=tracker)
    rewards: list[float] = []
    if checkpoint.exists():
        extra = training.restore(checkpoint)
        controller.load(extra)
        rewards = [float(value) for value in extra["rewards"]]
    judge = Judge(network, data.val.first(config.val_images), config.batch_size, seed)
    with reporter.task("supernet enas", training.steps_left) as task:
        while training.steps_left:
            training.run_epoch(task)
            rewards.append(controller.learn(judge.reward, config.controller_steps))
            task.advance(0, f"mean reward {100 * rewards[-1]:.1f} %")
            tracker.scalars(training.epoch, {"train/reward": rewards[-1]})
            training.save(checkpoint, _extra(controller, rewards))
    return EnasResult(training.history, tuple(rewards), controller.entropy, controller.suggestions(SUGGESTIONS))


def _extra(controller: Controller, rewards: list[float]) -> Arrays:
    extra: Mapping[str, np.ndarray] = {**controller.state(), "rewards": np.array(rewards)}
    return extra


class Judge:
    """Rewards networks on validation batches.

    Attributes:
      traces: how often its graph function was traced: once, whatever the networks.
    """

    def __init__(self, network: ElasticNetwork, images: ImageSet, batch_size: int, seed: int) -> None:
        self._network, self._images, self._seed = network, images, seed
        self._size = min(batch_size, len(images))
        self.traces = 0
        self._graph = tf.function(self._hits)
        self._number, self._batch = -1, (tf.zeros([]), tf.zeros([]))

    def reward(self, genotype: Genotype, number: int) -> float:
        """The accuracy (0..1) of a network on batch `number`, which depends on the seed and the number alone."""
        if number != self._number:
            rng = np.random.default_rng((self._seed, BATCH_STREAM, number))
            rows = np.sort(rng.choice(len(self._images), self._size, replace=False))
            pixels = tf.cast(self._images.rgb(rows), tf.float32) / 255.0
            self._number, self._batch = number, (pixels, tf.constant(self._images.labels[rows], tf.int32))
        setting = self._network.layout.setting(self._network.space.decode(genotype))
        return float(self._graph(*self._batch, tf.constant(setting, tf.int32)))

    def _hits(self, images: tf.Tensor, labels: tf.Tensor, setting: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        logits = self._network.forward(images, setting, training=True)
        return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.float32))
