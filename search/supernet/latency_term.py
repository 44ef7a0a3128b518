"""The expected latency in the loss of a differentiable search, and how its weight finds a target."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.keras_env import tf

import numpy as np
from numpy.typing import NDArray

from core.errors import bad_value
from search.latency.table import LatencyTable
from search.supernet.expected_latency import expected_latency
from search.supernet.mixed import MixedNetwork
from search.supernet.settings import SupernetConfig

FIRST_WEIGHT = 0.1  # of the latency where a target adjusts it and none is given
# The logarithm of the latency's weight is moved by INTEGRAL times the excess over the target, as a fraction of it, in a
# whole search (a tenth too much raises the weight by exp(6) = 400), and stands above that by PROPORTIONAL times the
# excess of the moment, without which weight and architecture would swing.
INTEGRAL, PROPORTIONAL = 60.0, 5.0
HIGHEST_EXCESS = 0.5
WEIGHT_RANGE = (1e-4, 1e4)


class LatencyTerm:
    """The expected latency in the loss: `weight` times its ratio to the target (to the mean network's without one).

    With a target the weight rises while the likeliest network's latency is above it, and falls while it is below. That
    network is what the search will give; while the probabilities are not sharp the expectation may be far from it, as
    the many candidates that will not be taken count there too.
    """

    def __init__(self, network: MixedNetwork, config: SupernetConfig, table: LatencyTable | None) -> None:
        """Raises UsageError if a setting needs a table and there is none, for a table that lacks blocks of the space,
        and for a target that no network meets."""
        target_us = config.target_latency_us
        if table is None and (config.latency_weight or target_us):
            where, value = "latency_weight", config.latency_weight
            if target_us:
                where, value = "target_latency_us", target_us
            raise bad_value(f"config.supernet.{where}", value, "0 or None without a latency table of the space")
        self.expected = None if table is None else expected_latency(network.space, table)
        self._target_us = target_us
        known = self.expected
        if target_us and known and not self.meets(known.fastest):
            legal = f"at least {known.of_network(known.fastest):.1f}, the latency of the fastest network"
            raise bad_value("config.supernet.target_latency_us", target_us, legal)
        reference_us = target_us or (known.mean_us if known else 1.0)
        self._base = tf.constant((known.base_us if known else 0.0) / reference_us, tf.float32)
        shares = known.candidates_us / reference_us if known else np.zeros(network.legal.shape)
        self.shares = tf.constant(shares, tf.float32)
        self.weight = tf.Variable(float(config.latency_weight or (FIRST_WEIGHT if target_us else 0.0)))
        self._level = tf.Variable(self.weight)  # the weight without the excess of the moment

    def ratio(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Expected latency over the reference."""
        return self._base + tf.reduce_sum(probabilities * self.shares)

    def adjust(self, probabilities: NDArray[np.float32], steps: int) -> None:
        """Moves the weight by one of the search's `steps`, if there is a target."""
        if self._target_us is None or self.expected is None:
            return
        excess = min(self.expected.of_likeliest(probabilities) / self._target_us - 1, HIGHEST_EXCESS)
        level = float(self._level) * math.exp(INTEGRAL * excess / steps)
        self._level.assign(np.clip(level, *WEIGHT_RANGE))
        self.weight.assign(np.clip(level * math.exp(PROPORTIONAL * excess), *WEIGHT_RANGE))

    @property
    def has_target(self) -> bool:
        """Whether the weight is adjusted to reach a latency."""
        return self._target_us is not None

    @property
    def fastest(self) -> tuple[int, ...]:
        """The fastest network. Needs a table."""
        assert self.expected is not None
        return self.expected.fastest

    def meets(self, genotype: Sequence[int]) -> bool:
        """Whether a network is no slower than the target, if there is one."""
        if self._target_us is None or self.expected is None:
            return True
        return self.expected.of_network(genotype) <= self._target_us

    def variables(self) -> dict[str, tf.Variable]:
        """The state, by name."""
        return {"latency_weight": self.weight, "latency_level": self._level}
