"""An LSTM controller that is rewarded for what it suggests (search.oracles.lstm_policy) as a Keras Tuner oracle.

Zoph & Le 2017, Neural Architecture Search with Reinforcement Learning, https://arxiv.org/abs/1611.01578.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from core.checks import in_range
from search.oracles.base import GenotypeOracle
from search.oracles.lstm_policy import LstmPolicy, Reinforce
from search.settings import SearchConfig
from search.space import Genotype

SAMPLES = 8  # drawn at once; the first that was not suggested before is suggested
ROUNDS = 4  # of them, before a random candidate takes the place of a policy that repeats itself


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle with the default controller."""
    return ReinforceController.for_search(config, hyperparameters, seed)


class ReinforceController(GenotypeOracle):
    """Samples its policy, and trains it on each batch of finished trials; a failed trial is rewarded as the worst one.

    Results may come in any order and later than newer suggestions: each is judged by the policy as it is when its batch
    is full, as in the paper's asynchronous training.

    Args:
      batch_size: finished trials for each update.
      hidden_size, num_layers: see LstmPolicy.
      learning_rate, baseline_decay, entropy_weight: see Reinforce.
      others: as in GenotypeOracle.
    """

    def __init__(
        self,
        *args: Any,
        batch_size: int = 1,
        hidden_size: int = 35,
        num_layers: int = 2,
        learning_rate: float = 0.01,
        baseline_decay: float = 0.95,
        entropy_weight: float = 0.1,
        **others: Any,
    ) -> None:
        in_range("ReinforceController: batch_size", batch_size, 1, 100_000)
        in_range("ReinforceController: hidden_size", hidden_size, 1, 10_000)
        in_range("ReinforceController: num_layers", num_layers, 1, 100)
        in_range("ReinforceController: learning_rate", learning_rate, 0, 10)
        in_range("ReinforceController: baseline_decay", baseline_decay, 0, 1)
        super().__init__(*args, **others)
        self._batch_size, self._size = batch_size, {"hidden_size": hidden_size, "num_layers": num_layers}
        self._training = {
            "learning_rate": learning_rate,
            "baseline_decay": baseline_decay,
            "entropy_weight": entropy_weight,
        }
        self._reset()

    def _reset(self) -> None:
        self._policy = LstmPolicy(self.space, self.random, **self._size)
        self._trainer = Reinforce(self._policy, **self._training)
        self._batch: list[tuple[Genotype, float | None]] = []
        self._worst: float | None = None

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        self._batch.append((genotype, score))
        if score is not None and (self._worst is None or score < self._worst):
            self._worst = score
        if len(self._batch) >= self._batch_size and self._worst is not None:
            genotypes = [genotype for genotype, _ in self._batch]
            self._trainer.update(genotypes, [self._worst if score is None else score for _, score in self._batch])
            self._batch = []

    def _propose(self) -> Genotype | None:
        for _ in range(ROUNDS):
            for genotype in self._policy.sample(SAMPLES, self.random):
                if self.usable(genotype):
                    return genotype
        return self.sample()
