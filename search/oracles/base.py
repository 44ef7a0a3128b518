"""The base of litesmith's search strategies: a Keras Tuner Oracle that thinks in genotypes."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Self

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial

from core.errors import LitesmithError, UsageError
from search.objective import FAILED_SCORE
from search.oracles.axes import choice_space
from search.oracles.choice_space import ChoiceSpace
from search.oracles.cost_model import CostModel
from search.settings import SearchConfig
from search.space import Genotype

PROPOSALS = 50  # unusable proposals of a strategy in a row before the base draws a candidate itself
DRAWS = 200  # random draws before the space is walked through
WALK = 20_000  # most candidates walked past for one suggestion while others are outstanding, or before the first one
LAST_WALK = 200_000  # and most of them if the search would end otherwise
CACHED = 50_000  # answers of the cost model that are kept, and identities


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A finished trial: `score` is larger for better ones, None for one that failed; `metrics` is all it reported."""

    genotype: Genotype
    score: float | None
    metrics: dict[str, float]


class GenotypeOracle(keras_tuner.Oracle):
    """Maps hyperparameters to genotypes and back, and sees to budget, duplicates, feasibility, failures and order.

    A subclass gives `_propose`, and usually `_learn` and `_reset`. It may read `space`, `finished` (in the order of
    completion), `pending` (outstanding, in the order of suggestion), `scores`, and draws from `random` alone, so that
    the same calls in the same order give the same suggestions: a search is resumed by telling its log again.

    Any hyperparameters will do: those with steps or a continuous range are taken at finitely many values
    (search.oracles.axes), inactive ones are ignored, late ones start the strategy anew on the larger space with all
    that is known. No configuration is suggested twice, none that `cost_model` refuses, none that is the same as an
    earlier one by `identity`.

    The end of a space of up to `LAST_WALK` combinations is exact: all that is left is found. In a larger one the search
    ends when `DRAWS` random combinations and `LAST_WALK` further ones, none of them looked at before, are all refused
    or known.

    Args:
      objective, max_trials, hyperparameters, allow_new_entries, tune_new_entries, max_retries_per_trial: as in
        keras_tuner.Oracle. Several objectives have a score too (the sum, as in Keras Tuner); see `objectives`.
      seed: any integer, 0 included; None is chance.
      cost_model: refuses configurations before they are suggested.
      identity: what a configuration stands for, from the values of its active hyperparameters: of those with equal
        identities one is suggested. Called only for feasible ones that might be suggested next. It and `cost_model` may
        be set as attributes before the first suggestion.
      first_values: configurations to suggest first (a warm start); unusable ones are passed over.
      failed_score: a trial that reports this score or a worse one has failed.
      max_consecutive_failed_trials: as in keras_tuner.Oracle; None (the default) never gives up.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        *,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        seed: int | None = None,
        cost_model: CostModel | None = None,
        identity: Callable[[Mapping[str, Any]], Hashable] | None = None,
        first_values: Sequence[Mapping[str, Any]] = (),
        failed_score: float | None = None,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
    ) -> None:
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:
            self.seed: int = seed  # Keras Tuner takes 0 for "no seed"
        self.random = np.random.default_rng(self.seed)
        self.cost_model = cost_model
        self.identity = identity
        self.failed_score = failed_score
        self.space = ChoiceSpace(())
        self.finished: list[Finished] = []
        self.pending: dict[str, Genotype] = {}
        self.scores: dict[Genotype, float | None] = {}
        self._first_values = deque(first_values)
        self._seen: set[Genotype] = set()
        self._seen_identities: set[Hashable] = set()
        self._feasible: dict[Genotype, bool] = {}
        self._identities: dict[Genotype, Hashable] = {}
        self._walked = 0
        self._walk_start: float | None = None
        self._failures = 0
        self._known_axes = -1
        self._error: LitesmithError | None = None

    @classmethod
    def for_search(
        cls, config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int, **settings: Any
    ) -> Self:
        """The oracle of a search that maximizes its score; `settings` are the strategy's own."""
        return cls(
            objective=keras_tuner.Objective("score", "max"),
            max_trials=config.max_trials,
            hyperparameters=hyperparameters,
            seed=seed,
            failed_score=FAILED_SCORE,
            **settings,
        )

    # What a strategy implements.

    def _propose(self) -> Genotype | None:
        """A candidate for the next suggestion, or None: nothing to suggest before further results, or ever again.

        A proposal that is not `usable` is passed to `_refused`, and the strategy is asked again; after `PROPOSALS` of
        them the base suggests `sample()`.
        """
        raise NotImplementedError

    def _learn(self, genotype: Genotype, score: float | None, metrics: Mapping[str, float]) -> None:
        """Called once for each finished trial, in the order of completion; `score` is None if it failed."""

    def _refused(self, genotype: Genotype) -> None:
        """Called for a proposal that was tried before (its score is in `scores` if known) or is not feasible.

        It may also be the same as an earlier one by `identity`; then it has no score.
        """

    def _reset(self) -> None:
        """Forgets everything learned: `space` is new. All finished trials are told again next."""

    # What a strategy may use.

    @property
    def objectives(self) -> tuple[tuple[str, str], ...]:
        """Name and direction ("min" or "max") of each objective."""
        several = getattr(self.objective, "objectives", [self.objective])
        return tuple((objective.name, objective.direction) for objective in several)

    def suggest_first(self, values: Sequence[Mapping[str, Any]]) -> None:
        """More configurations to suggest before anything else, after those of `first_values`."""
        self._first_values.extend(values)

    def feasible(self, genotype: Genotype) -> bool:
        """Whether the cost model allows a canonical genotype."""
        if self.cost_model is None:
            return True
        known = self._feasible.get(genotype)
        if known is None:
            if len(self._feasible) >= CACHED:
                self._feasible.clear()
            known = self._feasible[genotype] = bool(self.cost_model.feasible(self.space.values(genotype)))
        return known

    def usable(self, genotype: Genotype) -> bool:
        """Whether a canonical genotype may be suggested: feasible, and neither it nor its like was suggested before."""
        if genotype in self._seen or not self.feasible(genotype):
            return False
        return self.identity is None or self._identity(genotype) not in self._seen_identities

    def sample(self) -> Genotype | None:
        """A random usable genotype; None if there is none left.

        After `DRAWS` unusable draws it walks through the whole space once, in an order that visits every combination,
        so that the end of a small space is found exactly. While results are outstanding None may also mean that the
        next `WALK` combinations were not usable; the walk goes on when it is asked again. If none is outstanding
        `LAST_WALK` combinations were not. Raises UsageError if nothing at all is feasible.
        """
        for _ in range(DRAWS):
            genotype = self.space.random(self.random)
            if self.usable(genotype):
                return genotype
        return self._walk()

    # What Keras Tuner calls.

    def create_trial(self, tuner_id: str) -> Trial:
        """As in keras_tuner.Oracle. Raises UsageError if the cost model allows nothing."""
        trial = super().create_trial(tuner_id)
        if self._error is not None:  # raised here, because Keras Tuner would keep its lock for ever
            error, self._error = self._error, None
            raise error
        return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next configuration; "IDLE" if there is none before a further result, "STOPPED" at the end."""
        self._refresh()
        try:
            genotype = self._next()
        except LitesmithError as error:
            self._error, genotype = error, None
        if genotype is None:
            return {"status": "IDLE" if self.pending and self._error is None else "STOPPED"}
        self.pending[trial_id] = genotype
        self._see(genotype)
        return {"status": "RUNNING", "values": self.space.values(genotype)}

    def score_trial(self, trial: Trial) -> None:
        """As in keras_tuner.Oracle; the score of several objectives is their sum, each of them to be minimized.

        What is not finite becomes NaN, which makes the trial a failed one.
        """
        last = {name: trial.metrics.get_last_value(name) for name, _ in self.objectives}
        if not all(math.isfinite(value) for value in last.values()):
            trial.score = math.nan
        elif hasattr(self.objective, "objectives"):
            trial.score = self.objective.get_value(last)
        else:
            super().score_trial(trial)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """As in keras_tuner.Oracle."""
        super().end_trial(trial)
        self._refresh()
        ended = self.trials[trial.trial_id]
        self._share(ended.hyperparameters)
        if ended.status in ("COMPLETED", "FAILED") and ended.trial_id in self.pending:
            self._finish(ended, self.pending.pop(ended.trial_id))

    def get_state(self) -> dict[str, Any]:
        """As in keras_tuner.Oracle, with the random state and the place in the walk."""
        walk = {"walked": self._walked, "walk_start": self._walk_start}
        return super().get_state() | {"random": self.random.bit_generator.state} | walk

    def set_state(self, state: dict[str, Any]) -> None:
        """As in keras_tuner.Oracle; the strategy is told all finished trials again."""
        super().set_state(state)
        self.random.bit_generator.state = state["random"]
        self._known_axes = -1
        self._refresh()
        self._walked, self._walk_start = state["walked"], state["walk_start"]

    def _check_consecutive_failures(self) -> None:
        """Looks at the latest trials only; Keras Tuner's would raise for ever after."""
        failed = self.trials[self.end_order[-1]].status == "FAILED"
        self._failures = self._failures + 1 if failed else 0
        if self._failures == self.max_consecutive_failed_trials:
            raise RuntimeError(f"{self._failures} trials failed in a row: {self.trials[self.end_order[-1]].message}")

    # How it works.

    def _next(self) -> Genotype | None:
        while self._first_values:
            first = self.space.genotype(self._first_values.popleft())
            if self.usable(first):
                return first
        for _ in range(PROPOSALS):
            proposal = self._propose()
            if proposal is None:
                return None
            genotype = self.space.canonical(proposal)
            if self.usable(genotype):
                return genotype
            self._refused(genotype)
        return self.sample()

    def _walk(self) -> Genotype | None:
        """The next usable genotype of a walk with a stride that is coprime to the size: it visits each number once."""
        size = self.space.size
        if self._walk_start is None:
            self._walk_start = float(self.random.random())
        # In integers: a size may be beyond the largest float.
        start, stride = int(self._walk_start * 2**53) * size >> 53, max(1, size * 618 // 1000)
        while math.gcd(stride, size) > 1:
            stride += 1
        most = WALK if self.pending or not self._seen else LAST_WALK
        for _ in range(min(most, size - self._walked)):
            genotype = self.space.at((start + stride * self._walked) % size)
            self._walked += 1
            if self.usable(genotype):
                return genotype
        if not self._seen:
            total = size if size < 10**15 else f"1e{round(math.log10(size))}"
            raise UsageError(
                f"cost model: it refused all of {self._walked + DRAWS} candidates that were tried, of {total}; "
                "expected a limit that some candidate meets"
            )
        return None

    def _identity(self, genotype: Genotype) -> Hashable:
        if self.identity is not None and genotype not in self._identities:
            if len(self._identities) >= CACHED:
                self._identities.clear()
            self._identities[genotype] = self.identity(self.space.values(genotype))
        return self._identities[genotype]

    def _see(self, genotype: Genotype) -> None:
        """Neither this genotype nor its like is suggested from now on."""
        self._seen.add(genotype)
        if self.identity is not None:
            self._seen_identities.add(self._identity(genotype))

    def _refresh(self) -> None:
        """Takes up hyperparameters that came to light since the last call."""
        if len(self.hyperparameters.space) == self._known_axes:
            return
        self._known_axes = len(self.hyperparameters.space)
        self.space = choice_space(self.hyperparameters)
        self._walked, self._walk_start = 0, None
        self._feasible.clear()
        self._identities.clear()
        genotypes = {key: self.space.genotype(trial.hyperparameters.values) for key, trial in self.trials.items()}
        self._seen, self._seen_identities = set(), set()
        for genotype in genotypes.values():
            self._see(genotype)
        ended = [key for key in dict.fromkeys(self.end_order) if key not in self.pending]
        self.pending = {key: genotypes[key] for key in self.start_order if key not in ended}
        self.finished, self.scores = [], {}
        self._reset()
        for key in ended:
            self._finish(self.trials[key], genotypes[key])

    def _finish(self, trial: Trial, genotype: Genotype) -> None:
        score = self._score(trial)
        last = {name: trial.metrics.get_last_value(name) for name in trial.metrics.metrics}
        metrics = {name: float(value) for name, value in last.items() if value is not None}
        self.finished.append(Finished(genotype, score, metrics))
        self.scores[genotype] = score
        self._learn(genotype, score, metrics)

    def _share(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Lets an ended trial share our hyperparameters: its own copy of them takes most of the memory of a trial."""
        if len(hyperparameters.space) == self._known_axes:
            hyperparameters._space = list(self.hyperparameters._space)
            hyperparameters._hps = self.hyperparameters._hps.copy()

    def _score(self, trial: Trial) -> float | None:
        """The score, larger for better; None for a failed trial."""
        if trial.status != "COMPLETED" or trial.score is None or not math.isfinite(trial.score):
            return None
        score = float(trial.score) if self.objective.direction == "max" else -float(trial.score)
        return None if self.failed_score is not None and score <= self.failed_score else score
