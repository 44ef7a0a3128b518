"""ENAS's controller: a policy that draws the networks to train, and is rewarded for their accuracy. No TensorFlow here.

Pham et al. 2018, Efficient Neural Architecture Search via Parameter Sharing, https://arxiv.org/abs/1802.03268. The
policy is that of the oracle `reinforce`; here a reward costs a forward pass of shared weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checks import in_range
from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.lstm_policy import LstmPolicy, Reinforce
from search.space import Genotype, SearchSpace

REWARDED = 8  # networks whose rewards make one update: those of one batch differ by more than a batch can tell
# Streams of random numbers: first parameters, networks of a training step, of an update, at the end.
PARAMETERS, TRAINED, UPDATED, SUGGESTED = range(4)

Reward = Callable[[Genotype, int], float]
"""The accuracy (0..1) of a network on the validation batch of an update, which the number tells."""


class Controller:
    """A policy over the genotypes of a space.

    What it draws depends on the seed, on the step and on what it has learned; so a training goes on exactly from its
    `state`.

    Args:
      networks_per_step: how many networks share a training step.
    """

    def __init__(self, space: SearchSpace, *, seed: int, networks_per_step: int = 1) -> None:
        in_range("controller: networks_per_step", networks_per_step, 1, 1000)
        axes = (Axis(gene.path, tuple(range(len(gene.choices)))) for gene in space.genes)
        self._space, self._seed, self._per_step = space, seed, networks_per_step
        self._policy = LstmPolicy(ChoiceSpace(tuple(axes)), self._random(PARAMETERS, 0))
        self._trainer = Reinforce(self._policy)
        self._updates = 0

    def networks(self, step: int) -> list[Genotype]:
        """The networks of a training step: draws of the policy."""
        return self._policy.sample(self._per_step, self._random(TRAINED, step))

    def learn(self, reward: Reward, updates: int) -> float:
        """Updates the policy with the rewards of what it draws; returns their mean."""
        means = []
        for _ in range(updates):
            drawn = self._policy.sample(REWARDED, self._random(UPDATED, self._updates))
            rewards = [reward(genotype, self._updates) for genotype in drawn]
            self._trainer.update(drawn, rewards)
            self._updates += 1
            means.append(float(np.mean(rewards)))
        return float(np.mean(means)) if means else 0.0

    def suggestions(self, count: int) -> tuple[Genotype, ...]:
        """Up to `count` different networks out of many draws, the most probable first."""
        drawn = self._policy.sample(10 * count, self._random(SUGGESTED, 0))
        unique = list({self._space.identity(genotype): genotype for genotype in drawn}.values())
        order = np.argsort(-self._policy.log_probability(unique), kind="stable")
        return tuple(unique[index] for index in order[:count])

    @property
    def entropy(self) -> float:
        """Of the policy, in nats, estimated from draws: how open its decisions still are."""
        return float(self._policy.entropy(self._policy.sample(100, self._random(SUGGESTED, 1))).mean())

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that was learned, as arrays."""
        return {**self._trainer.state(), "updates": np.array(self._updates)}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on where `state` was taken."""
        self._trainer.load(state)
        self._updates = int(state["updates"])

    def _random(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, stream, number))
