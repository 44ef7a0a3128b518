"""Drives any keras_tuner.Oracle by suggest and report, around what Keras Tuner's own Tuner would do.

`keras_tuner.Tuner` binds Keras 3 and refuses tf_keras models; an Oracle by itself has no such tie.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import keras_tuner

from core.registry import load
from search.oracles import ORACLES
from search.oracles.hyperparameters import genotype, hyperparameters
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to evaluate next, for `epochs` in all."""

    oracle_id: str
    genotype: Genotype
    epochs: int


class Strategy:
    """One search: an oracle that keeps nothing on disk.

    Keras Tuner would save its state after every trial. It is not resumed from there: the trial log is replayed into a
    fresh oracle, because BayesianOptimization's random state is not among what Keras Tuner saves.
    """

    def __init__(self, config: SearchConfig, space: SearchSpace, seed: int) -> None:
        self._space, self._epochs = space, config.epochs
        # Keras Tuner takes a seed of 0 for "no seed".
        make = load(ORACLES, config.oracle, "config.search.oracle")
        self._oracle: keras_tuner.Oracle = make(config, hyperparameters(space), seed + 1)
        self._oracle.verbose = 0
        self._oracle.save = self._oracle._save_trial = _nothing
        self._tuner_ids = (f"tuner-{number}" for number in itertools.count())

    def suggest(self) -> Suggestion | None:
        """The next candidate, or None when the oracle has finished."""
        with warnings.catch_warnings():
            # scikit-learn warns about the length scales of a Gaussian process through few points: no user's business.
            warnings.simplefilter("ignore")
            # A fresh tuner id each time: the same id is given its outstanding trial again.
            trial = self._oracle.create_trial(next(self._tuner_ids))
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        return Suggestion(trial.trial_id, genotype(self._space, values), int(values.get("tuner/epochs", self._epochs)))

    def report(self, oracle_id: str, score: float) -> None:
        """Tells the oracle the score of a suggestion; failed candidates have a score too, a low one."""
        self._oracle.update_trial(oracle_id, {"score": score})
        trial = self._oracle.get_trial(oracle_id)
        trial.status = "COMPLETED"
        self._oracle.end_trial(trial)


def _nothing(*arguments: object) -> None:
    """In place of the methods that write files."""
