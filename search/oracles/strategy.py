"""Drives any keras_tuner.Oracle by suggest and report, around what Keras Tuner's own Tuner would do.

`keras_tuner.Tuner` binds Keras 3 and refuses tf_keras models; an Oracle by itself has no such tie.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from core.errors import UsageError
from core.registry import load
from core.spec_io import hashed_seed
from search.objective import FAILED_SCORE, PARETO
from search.oracles import ORACLES
from search.oracles.base import GenotypeOracle
from search.oracles.budget import SpecBudget, spec_budget
from search.oracles.hyperparameters import genotype, hyperparameters
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace

# What a Keras Tuner oracle, which knows no limits, may do in a row: suggest a candidate beyond them and be told that it
# failed (a Gaussian process takes seconds for each), and draw one at random (milliseconds).
REFUSALS = 5
DRAWS = 1000


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

    Our oracles suggest no network twice, though many genotypes may stand for it.

    Candidates beyond the limits of the configuration are never suggested. Our oracles refuse them themselves. Keras
    Tuner's take them for drawn before when they draw at random; when they calculate they are told at once that the
    candidate failed, and asked again, and at last a random one takes the place of what they suggest.

    `first_values` are what our oracles suggest first (a warm start); Keras Tuner's cannot be told.
    """

    def __init__(
        self, config: SearchConfig, space: SearchSpace, seed: int, first_values: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._config, self._space = config, space
        make = load(ORACLES, config.oracle, "config.search.oracle")
        self._oracle: keras_tuner.Oracle = make(config, hyperparameters(space), oracle_seed(seed))
        self._oracle.verbose = 0
        self._oracle.save = self._oracle._save_trial = _nothing
        self._tuner_ids = (f"tuner-{number}" for number in itertools.count())
        self._budget = spec_budget(config, space)
        self._has_suggested = False
        self._knows_limits = isinstance(self._oracle, GenotypeOracle)
        if self._knows_limits:
            self._oracle.cost_model = self._budget
            self._oracle.identity = lambda values: space.identity(genotype(space, values))
            self._oracle.suggest_first(first_values)
        elif self._budget is not None:
            _limit(self._oracle, self._budget)

    def suggest(self) -> Suggestion | None:
        """The next candidate; None if there is none before another result is reported, or ever again.

        Raises UsageError if nothing is within the limits of the configuration.
        """
        for is_last in (*[False] * REFUSALS, True):
            trial = self._create_trial()
            if trial.status != "RUNNING":
                return None
            if is_last:
                self._redraw(trial)
            values = trial.hyperparameters.values
            if self._knows_limits or self._budget is None or self._budget.feasible(values):
                self._has_suggested = True
                epochs = int(values.get("tuner/epochs", self._config.epochs))
                return Suggestion(trial.trial_id, genotype(self._space, values), epochs)
            self.report(trial.trial_id, FAILED_SCORE)
        return None

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Tells the oracle the score of a suggestion; failed candidates have a score too, a low one.

        In a Pareto search it is told the objectives in `metrics`, and of a candidate without them that it failed.
        """
        names = [name for name, _ in self._config.directions] if self._config.objective == PARETO else []
        told = {name: metrics[name] for name in names if name in metrics} if metrics else {}
        trial = self._oracle.get_trial(oracle_id)
        trial.status = "COMPLETED" if len(told) == len(names) else "FAILED"
        if trial.status == "COMPLETED":
            self._oracle.update_trial(oracle_id, told or {"score": score})
        self._oracle.end_trial(trial)

    def _create_trial(self) -> Trial:
        with warnings.catch_warnings():
            # scikit-learn warns about the length scales of a Gaussian process through few points: no user's business.
            warnings.simplefilter("ignore")
            try:
                # A fresh tuner id each time: the same id is given its outstanding trial again.
                trial = self._oracle.create_trial(next(self._tuner_ids))
            except UsageError as error:
                raise (self._impossible(str(error)) if self._budget else error) from error
        if trial.status != "RUNNING" and self._budget is not None and not self._has_suggested:
            raise self._impossible(f"{self._config.oracle} drew {DRAWS} candidates")
        return trial

    def _redraw(self, trial: Trial) -> None:
        values = self._oracle._random_values()
        if values is not None:
            trial.hyperparameters.values = values
            self._oracle._record_values(trial)

    def _impossible(self, detail: str) -> UsageError:
        limits = ", ".join(f"config.search.max_{name} = {limit:g}" for name, limit in self._config.limits.items())
        return UsageError(f"{limits}: no network of the space {self._space.name} was found within; {detail}")


def _limit(oracle: keras_tuner.Oracle, budget: SpecBudget) -> None:
    """Has an oracle of Keras Tuner draw within limits: its random draws are repeated as long as they are duplicates."""
    is_duplicate = oracle._duplicate
    oracle._duplicate = lambda values: is_duplicate(values) or not budget.feasible(values)
    oracle._max_collisions = DRAWS
    oracle.max_trials = None  # it would count what is refused; the loop counts for itself


def oracle_seed(seed: int) -> int:
    """A seed from 1 to 2^31 for an oracle, far from those of the neighbours of `seed`.

    Keras Tuner takes 0 for "no seed", and draws each hyperparameter with the seed plus its number: the searches of
    neighbouring seeds would be almost the same.
    """
    return hashed_seed(f"oracle/{seed}") + 1


def _nothing(*arguments: object) -> None:
    """In place of the methods that write files."""
