"""DARTS (Liu et al. 2019, arXiv:1806.09055): gradient descent on the weights of a mixture of all candidates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.keras_env import tf

from core.progress import Reporter
from core.tracking import Tracker
from search.dataset import ImageData
from search.latency.table import LatencyTable
from search.supernet.latency_term import LatencyTerm
from search.supernet.losses import cross_entropy
from search.supernet.mixed import MixedNetwork
from search.supernet.relax import Found, Steps, gradients, run_search
from search.supernet.settings import SupernetConfig

BETA_1 = 0.5  # of the architecture's Adam, and its weight decay: the paper's section 3.1
ARCHITECTURE_DECAY = 1e-3
DIFFERENCE = 0.01  # epsilon of the paper's equation 8 is this over the norm of the direction


def train_darts(
    network: MixedNetwork,
    data: ImageData,
    config: SupernetConfig,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter | None = None,
    table: LatencyTable | None = None,
    tracker: Tracker | None = None,
) -> Found:
    """Searches by the mixture's gradient; with `config.second_order` through one step of the weights.

    Every step runs all candidates: it costs about as much as there are candidates at a place, and memory likewise.

    Args:
      checkpoint: a file to write after each epoch; if it exists the search goes on from it.
      table: needed if the expected latency weighs in the loss (`config.latency_weight`).

    Raises UsageError for settings, data or a table that do not fit, CandidateError if the search diverges.
    """
    steps = DartsSteps(network, config, LatencyTerm(network, config, table))
    return run_search(
        steps, network, data, config, seed=seed, checkpoint=checkpoint, reporter=reporter, tracker=tracker
    )


class DartsSteps(Steps):
    """The steps of DARTS."""

    beta_1 = BETA_1

    def architecture_gradient(self, batch: Any, held_out: Any, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of the held-out loss and the latency in the logits [searched places, candidates]; and that loss."""
        alpha = tf.convert_to_tensor(self._network.alpha)
        if self._config.second_order:
            return self._second_order(alpha, batch, held_out, rate)
        rows = [tf.convert_to_tensor(matrix) for matrix in self._network.weights]
        with tf.GradientTape() as tape:
            tape.watch(alpha)
            loss, penalized = self._losses(held_out, alpha, rows)
        return tape.gradient(penalized, alpha), loss

    def _second_order(
        self, alpha: tf.Tensor, batch: Any, held_out: Any, rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The paper's equations 7 and 8: the held-out loss is that of the weights after their own next step.

        That step is the optimizer's, with its second moments held; the product with the Hessian is a difference of two
        gradients of the training loss.
        """
        rows = [tf.convert_to_tensor(matrix) for matrix in self._network.weights]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            training_loss = self._loss(batch, alpha, rows)
        ahead, slopes = self._optimizer.ahead(gradients(tape, training_loss, rows), rate)
        with tf.GradientTape() as tape:
            tape.watch([alpha, *ahead])
            loss, penalized = self._losses(held_out, alpha, ahead)
        gradient, *by_weights = gradients(tape, penalized, [alpha, *ahead])
        direction = [slope * part for slope, part in zip(slopes, by_weights, strict=True)]
        size = DIFFERENCE / tf.maximum(tf.linalg.global_norm(direction), 1e-12)
        above = self._training_gradient(alpha, batch, rows, direction, size)
        below = self._training_gradient(alpha, batch, rows, direction, -size)
        return gradient - (above - below) / (2 * size), loss

    def _training_gradient(
        self,
        alpha: tf.Tensor,
        batch: Any,
        rows: Sequence[tf.Tensor],
        direction: Sequence[tf.Tensor],
        size: tf.Tensor,
    ) -> tf.Tensor:
        """Gradient in the logits of the training loss at weights that are moved along a direction."""
        moved = [row + size * part for row, part in zip(rows, direction, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(alpha)
            loss = self._loss(batch, alpha, moved)
        return tape.gradient(loss, alpha)

    def _weights_step(self, batch: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        rows = [tf.convert_to_tensor(matrix) for matrix in self._network.weights]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = self._loss(batch, tf.convert_to_tensor(self._network.alpha), rows)
        self._optimizer.update_all(gradients(tape, loss, rows), rate)
        return loss

    def _architecture_step(self, batch: Any, held_out: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        gradient, loss = self.architecture_gradient(batch, held_out, rate)
        gradient += ARCHITECTURE_DECAY * self._network.alpha
        alpha = self._architecture.updated(gradient, self._network.legal, self._config.architecture_learning_rate)
        self._network.alpha.assign(alpha)
        return loss

    def _losses(self, batch: Any, alpha: tf.Tensor, rows: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of a batch, and with the latency."""
        loss = self._loss(batch, alpha, rows)
        return loss, loss + self.latency.weight * self.latency.ratio(self._network.probabilities(alpha))

    def _loss(self, batch: Any, alpha: tf.Tensor, rows: Sequence[tf.Tensor]) -> tf.Tensor:
        images, labels = batch
        logits, _ = self._network.graph.mixture(images, self._network.probabilities(alpha), rows)
        return tf.reduce_mean(cross_entropy(logits, labels, self._config.label_smoothing))
