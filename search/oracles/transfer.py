"""Bayesian optimization that begins with what earlier searches of the same space found on other data sets.

Two ways to use earlier trial logs, both of which give up those that prove of no use while the search runs: "prior", a
prior mean weighted by measured similarity, and "ensemble", the ranking-weighted ensemble RGPE
(search.oracles.transfer_surrogates).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from core.checks import in_choices, in_range
from search.oracles.axes import choice_space
from search.oracles.choice_space import ChoiceSpace
from search.oracles.encoding import Array, Encoder
from search.oracles.gaussian_process import GaussianProcess, Surrogate
from search.oracles.past import PastLog, read_log
from search.oracles.surrogate import SurrogateBayes, normal_scores
from search.oracles.task_similarity import MIN_POINTS
from search.oracles.transfer_surrogates import PriorSurrogate, RankingEnsemble, TransferSurrogate
from search.settings import SearchConfig
from search.space import Genotype

METHODS = ("prior", "ensemble")


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """A prior from the logs `config.past_logs`; without any the strategy is that of SurrogateBayes."""
    return _make(config, hyperparameters, seed, "prior")


def make_ensemble(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """RGPE over the logs `config.past_logs`; without any the strategy is that of SurrogateBayes."""
    return _make(config, hyperparameters, seed, "ensemble")


def _make(config: SearchConfig, hyperparameters: Any, seed: int, method: str) -> keras_tuner.Oracle:
    past = [read_log(Path(path), config.space) for path in config.past_logs]
    for log in past:
        log.check(choice_space(hyperparameters))
    return TransferBayes.for_search(
        config,
        hyperparameters,
        seed,
        initial_points=min(10, max(2, config.max_trials // 3)),
        past=past,
        method=method,
    )


class TransferBayes(SurrogateBayes):
    """SurrogateBayes with earlier tasks.

    The first `probes` trials are random, as SurrogateBayes' are. From then on an earlier task that orders the trials
    better than chance takes part in every suggestion, and its best configurations are among the candidates. As long as
    none does, the suggestions are those of SurrogateBayes, to the letter.

    Args:
      past: results of other tasks on the same hyperparameters (search.oracles.past). One of another space is refused
        with a UsageError.
      method: "prior" or "ensemble".
      probes: random trials before an earlier task is trusted, at least 4.
      others: as in SurrogateBayes.
    """

    def __init__(
        self, *args: Any, past: Sequence[PastLog] = (), method: str = "prior", probes: int = 5, **others: Any
    ) -> None:
        in_choices("TransferBayes: method", method, METHODS)
        in_range("TransferBayes: probes", probes, MIN_POINTS, 1000)
        self._past, self._method, self._probes = tuple(past), method, probes
        self._tasks: list[tuple[list[Genotype], GaussianProcess]] = []
        super().__init__(*args, surrogate=self._surrogate, **others)
        known = choice_space(self.hyperparameters)
        for log in self._past if known.axes else ():
            log.check(known, is_complete=not self.allow_new_entries)

    @property
    def weights(self) -> Array:
        """How much each earlier task counts at present, 0..1."""
        return np.array(self._transfer.weights)

    def _surrogate(self, encoder: Encoder) -> Surrogate:
        self._tasks = [_task(log, self.space, encoder) for log in self._past] if self.space.axes else []
        models = [model for _, model in self._tasks]
        self._transfer: TransferSurrogate = (
            PriorSurrogate(encoder.blocks, models)
            if self._method == "prior"
            else RankingEnsemble(encoder.blocks, models, abs(self.seed))
        )
        return self._transfer

    def _propose(self) -> Genotype | None:
        if self._probes <= len(self.finished) < self._initial_points and self._best(1):
            observed = normal_scores([trial.score for trial in self.finished])
            self._transfer.weigh(np.array(self._features), observed)
            if self._transfer.weights.any():
                return self._preferred()
        return super()._propose()

    def _prefer(self, pool: list[Genotype]) -> Array:
        self._transfer.measured = len(self._features)
        return super()._prefer(pool)

    def _pool(self) -> list[Genotype]:
        pool = super()._pool()
        for (ranked, _), weight in zip(self._tasks, self._transfer.weights, strict=True):
            if weight > 0:
                best = ranked[: self._parents]
                near = [neighbour for genotype in best for neighbour in self.space.neighbours(genotype)]
                pool += [genotype for genotype in (*best, *near) if genotype not in self._seen]
        return list(dict.fromkeys(pool))


def _task(log: PastLog, space: ChoiceSpace, encoder: Encoder) -> tuple[list[Genotype], GaussianProcess]:
    """A log's genotypes, best first, and the model of its scores."""
    genotypes, scores = log.within(space)
    targets = normal_scores(scores)
    model = GaussianProcess(encoder.blocks)
    model.fit(encoder.features(genotypes), targets)
    ranked = [genotypes[index] for index in np.argsort(-targets, kind="stable")]
    return ranked, model
