"""ProxylessNAS (Cai et al. 2019, arXiv:1812.00332): binarized paths, and the expected latency in the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.keras_env import tf

import numpy as np

from core.progress import Reporter
from core.tracking import Tracker
from search.dataset import ImageData
from search.latency.table import LatencyTable
from search.space import Genotype
from search.supernet.latency_term import LatencyTerm
from search.supernet.losses import cross_entropy
from search.supernet.mixed import NEVER, MixedNetwork
from search.supernet.relax import Found, Steps, gradients, run_search
from search.supernet.settings import SupernetConfig

# Of the architecture's Adam. Each step moves the two candidates that were drawn; a first moment would hold gradients
# of other pairs and of other inputs of the place.
BETA_1 = 0.0
PATH_STREAM, PAIR_STREAM, ACTIVE_STREAM, CHOICE_STREAM = 11, 12, 13, 14
JUDGED, DRAWS = 32, 10_000  # networks within a target: how many are judged, out of how many that are drawn


def train_proxyless(
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
    """Searches with one path in memory for the weights, and two candidates at each place for the architecture.

    With `config.target_latency_us` the weight of the expected latency is adjusted until the likeliest network meets it.
    Where the probabilities are not sharp that network may be well below it, or just above: networks that they draw, as
    in FBNet (Wu et al. 2019, arXiv:1812.03443), are judged beside it and beside the fastest, and the best of those
    within the target is taken.

    Args:
      checkpoint: a file to write after each epoch; if it exists the search goes on from it.
      table: needed if the expected latency weighs in the loss.

    Raises UsageError for settings, data or a table that do not fit, CandidateError if the search diverges.
    """
    steps = ProxylessSteps(network, config, LatencyTerm(network, config, table))
    return run_search(
        steps, network, data, config, seed=seed, checkpoint=checkpoint, reporter=reporter, tracker=tracker
    )


class ProxylessSteps(Steps):
    """The steps of ProxylessNAS."""

    beta_1 = BETA_1

    def path(self, key: tf.Tensor) -> tf.Tensor:
        """A candidate for each searched place, drawn by the mixture's weights; int32."""
        logits = tf.where(self._network.legal, self._network.alpha, NEVER)
        drawn = tf.random.stateless_categorical(logits, 1, tf.random.fold_in(key, PATH_STREAM), tf.int32)
        return drawn[:, 0]

    def pairs(self, key: tf.Tensor) -> tf.Tensor:
        """Two different candidates for each searched place, int32 [searched places, 2]; the first is the active one.

        Drawn by the mixture's weights, one after the other (the largest two logits with Gumbel noise); which of them is
        active is drawn by their weights too.
        """
        logits = tf.where(self._network.legal, self._network.alpha, NEVER)
        seed = tf.random.fold_in(key, PAIR_STREAM)
        uniform = tf.random.stateless_uniform(logits.shape, seed, minval=1e-7, maxval=1.0)
        drawn = tf.math.top_k(logits - tf.math.log(-tf.math.log(uniform)), 2).indices
        active_seed = tf.random.fold_in(key, ACTIVE_STREAM)
        of_two = tf.gather(logits, drawn, batch_dims=1)
        active = tf.random.stateless_categorical(of_two, 1, active_seed, tf.int32)
        return tf.gather(drawn, tf.concat([active, 1 - active], 1), batch_dims=1)

    def choices(self, seed: int) -> tuple[Genotype, ...]:
        """The likeliest network; with a target those that meet it of the likeliest, drawn ones and the fastest."""
        likeliest = self._network.discretized()
        if not self.latency.has_target:
            return (likeliest,)
        random = np.random.default_rng((seed, CHOICE_STREAM))
        sums = np.cumsum(self._network.probabilities().numpy().astype(np.float64), axis=1)
        points = random.random((DRAWS, len(sums))) * sums[:, -1]
        drawn = (sums[None] <= points[:, :, None]).sum(axis=2).tolist()
        found: dict[Genotype, None] = {}
        for choice in dict.fromkeys((likeliest, *map(tuple, drawn), self.latency.fastest)):
            if self.latency.meets(choice) and len(found) < JUDGED:
                found[self._extracted(choice)] = None
        return tuple(found)

    def _extracted(self, choice: Genotype) -> Genotype:
        """The places whose weights its network leaves with: where blocks can be left out, several have the network."""
        return self._network.genotype_of(self._network.space.decode(choice))

    def _weights_step(self, batch: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        images, labels = batch
        choices = self.path(key)
        rows = self._network.rows(choices)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            logits = self._network.graph.path(images, choices, rows)
            loss = tf.reduce_mean(cross_entropy(logits, labels, self._config.label_smoothing))
        self._optimizer.update_rows(self._network.graph.indices(choices), gradients(tape, loss, rows), rate)
        return loss

    def _architecture_step(self, batch: Any, held_out: Any, rate: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        images, labels = held_out
        pairs = self.pairs(key)
        rows, others = self._network.rows(pairs[:, 0]), self._network.rows(pairs[:, 1])
        gates = tf.one_hot(tf.zeros(pairs.shape[0], tf.int32), 2)
        with tf.GradientTape() as tape:
            tape.watch(gates)
            logits = self._network.graph.pairs(images, pairs, gates, rows, others)
            loss = tf.reduce_mean(cross_entropy(logits, labels, self._config.label_smoothing))
        self._update(pairs, tape.gradient(loss, gates))
        return loss

    def _update(self, pairs: tf.Tensor, by_gates: tf.Tensor) -> None:
        """Moves the logits of the drawn pairs; the probabilities of all other candidates stay as they are.

        In the paper's equation 4 the gradient in a probability is that of the gate; the latency adds the candidate's
        own (equation 5). The softmax is over the two, as if no others existed.
        """
        alpha = tf.convert_to_tensor(self._network.alpha)
        before = tf.gather(alpha, pairs, batch_dims=1)
        shares = tf.nn.softmax(before)
        costs = by_gates + self.latency.weight * tf.gather(self.latency.shares, pairs, batch_dims=1)
        by_logits = shares * (costs - tf.reduce_sum(shares * costs, 1, keepdims=True))
        places = tf.repeat(tf.range(pairs.shape[0])[:, None], 2, 1)
        at = tf.stack([places, pairs], -1)
        gradient = tf.scatter_nd(at, by_logits, alpha.shape)
        taken = tf.scatter_nd(at, tf.ones_like(by_logits), alpha.shape) > 0
        moved = self._architecture.updated(gradient, taken, self._config.architecture_learning_rate)
        after = tf.gather(moved, pairs, batch_dims=1)
        shift = tf.reduce_logsumexp(after, 1, keepdims=True) - tf.reduce_logsumexp(before, 1, keepdims=True)
        self._network.alpha.assign(tf.tensor_scatter_nd_update(moved, at, after - shift))
