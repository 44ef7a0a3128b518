"""The search loop: suggest -> evaluate -> record. Resumes by replaying the trial log. No TensorFlow in this module.

Up to `num_workers` suggestions are under way at once, and their results come in any order. What a strategy suggests
depends on nothing but the order in which it was asked and told; the log holds that order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from core.errors import CandidateError, LitesmithError
from core.progress import Reporter, Task
from core.spec_io import content_id, hashed_seed
from core.tracking import Tracker
from search.evaluate import Attempt, Candidate, Evaluator, InProcess, Workers
from search.grammar import to_text
from search.objective import FAILED_SCORE, OBJECTIVES, PARETO, weighted
from search.pareto import front
from search.settings import ZERO_COST, SearchConfig
from search.space import Genotype, SearchSpace
from search.trials import FAILED, OK, Trial, TrialLog, track_trial

_GIVEN = ("index", "oracle_id", "genotype", "arch_id", "seed")  # what of a trial is known before its evaluation


class Suggested(Protocol):
    """What a strategy suggests."""

    @property
    def oracle_id(self) -> str:
        """The oracle's name for it."""

    @property
    def genotype(self) -> Genotype:
        """What to decode."""

    @property
    def epochs(self) -> int:
        """Epochs to train in all."""


class SearchStrategy(Protocol):
    """What the loop needs of a strategy (search.oracles.strategy.Strategy)."""

    def suggest(self) -> Suggested | None:
        """The next candidate; None if there is none before another result is reported, or ever again."""

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
        """The score and the metrics (none of a failed trial) of a suggestion."""


def run_search(
    config: SearchConfig,
    space: SearchSpace,
    strategy: SearchStrategy,
    evaluator: Evaluator,
    log_path: Path,
    *,
    seed: int,
    reporter: Reporter,
    tracker: Tracker | None = None,
) -> list[Trial]:
    """`search_with` for an evaluator in this process, one trial at a time."""
    workers = InProcess(evaluator)
    return search_with(workers, config, space, strategy, log_path, seed=seed, reporter=reporter, tracker=tracker)


def search_with(
    workers: Workers,
    config: SearchConfig,
    space: SearchSpace,
    strategy: SearchStrategy,
    log_path: Path,
    *,
    seed: int,
    reporter: Reporter,
    tracker: Tracker | None = None,
) -> list[Trial]:
    """Runs the search to its end, from where the log stands, and returns all trials in the order of completion.

    `tracker` gets each trial's figures as points of trial/NAME, and its part of the name `arch_id` compares the trials.

    Raises LitesmithError if no trial at all could be evaluated, or if the log does not belong to this search.
    """
    search = _Search(workers, config, space, strategy, TrialLog(log_path), seed)
    trials = search.log.trials
    for index, logged in enumerate(trials):
        search.replay(logged, index)
    with reporter.task("search", config.max_trials) as task:
        task.advance(min(len(trials), config.max_trials), "resumed" if trials else "")
        while search.ask_for_more():
            trial = search.next_trial()
            track_trial(tracker or Tracker(), _chosen(space, trial.genotype), trial)
            search.log.append(trial)
            strategy.report(trial.oracle_id, trial.score, trial.metrics)
            _show(reporter, task, trial, config, trials)
    if not trials:
        raise LitesmithError("search: the strategy suggested no candidate at all")
    if all(trial.status == FAILED for trial in trials):
        raise LitesmithError(
            f"search: none of {len(trials)} trials could be evaluated; first reason: {trials[0].reason}"
        )
    return trials


def training_seed(search_seed: int, arch_id: str) -> int:
    """A seed below 2^31 that depends on the search's seed and the network alone."""
    return hashed_seed(f"{search_seed}/{arch_id}")


def candidate_of(space: SearchSpace, genotype: Genotype, search_seed: int) -> Candidate:
    """The candidate that a genotype stands for in a search."""
    arch = space.decode(genotype)
    seed = training_seed(search_seed, content_id(arch))
    return Candidate(arch, space.identity(genotype), genotype, seed, space.recipe_of(genotype))


@dataclasses.dataclass(frozen=True, slots=True)
class _Outstanding:
    suggestion: Suggested
    candidate: Candidate


class _Search:
    """What was suggested and is not in the log yet, in the order of suggestion; and what of it the workers have."""

    def __init__(
        self,
        workers: Workers,
        config: SearchConfig,
        space: SearchSpace,
        strategy: SearchStrategy,
        log: TrialLog,
        seed: int,
    ) -> None:
        self.log = log
        self._workers, self._config, self._space, self._strategy, self._seed = workers, config, space, strategy, seed
        self._asked = 0
        self._outstanding: dict[str, _Outstanding] = {}
        self._running: set[str] = set()

    def replay(self, logged: Trial, index: int) -> None:
        """Tells the strategy a logged trial again. Raises LitesmithError if it would not have suggested this one."""
        while self._asked < (index + 1 if logged.asked is None else logged.asked):
            self._ask()
        item = self._outstanding.pop(logged.oracle_id, None)
        if item is None or not _is_of(logged, _begin(item, index)):
            raise LitesmithError(
                f"trial {index} of the log is not what this search suggests: the log was written with other settings "
                "or another version; use a new --workdir"
            )
        self._strategy.report(logged.oracle_id, logged.score, logged.metrics)

    def ask_for_more(self) -> bool:
        """Asks the strategy until the workers have enough to do; whether there is anything to do."""
        room = self._config.max_trials - len(self.log.trials)
        while len(self._outstanding) < min(self._workers.num_workers, room) and self._ask():
            pass
        return room > 0 and bool(self._outstanding)

    def next_trial(self) -> Trial:
        """The trial that ends next: one whose result is known already, else the one that a worker ends next."""
        known = self._dispatch()
        key, attempt = (known, None) if known is not None else self._workers.wait()
        item = self._outstanding.pop(key)
        self._running.discard(key)
        trial = _begin(item, len(self.log.trials))
        if self._asked != trial.index + 1:
            trial = dataclasses.replace(trial, asked=self._asked)
        return _reused(trial, self._known(item)) if attempt is None else _ended(self._config, trial, attempt)

    def _ask(self) -> bool:
        self._asked += 1
        suggestion = self._strategy.suggest()
        if suggestion is None:
            return False
        candidate = candidate_of(self._space, suggestion.genotype, self._seed)
        self._outstanding[suggestion.oracle_id] = _Outstanding(suggestion, candidate)
        return True

    def _dispatch(self) -> str | None:
        """Gives the free workers something to do; the first suggestion whose result is known already, if any.

        One network is never trained twice at once: a twin waits, and then has the result, or goes on from there (with
        more epochs, or with another recipe).
        """
        known = None
        for key, item in self._outstanding.items():
            under_way = {self._outstanding[other].candidate.arch for other in self._running}
            if key in self._running:
                continue
            if self._known(item) is not None:
                known = known or key
            elif len(self._running) < self._workers.num_workers and item.candidate.arch not in under_way:
                self._workers.submit(key, item.candidate, item.suggestion.epochs)
                self._running.add(key)
        return known

    def _known(self, item: _Outstanding) -> Trial | None:
        return self.log.finished(item.candidate.arch_id, item.suggestion.epochs)


def _is_of(logged: Trial, begun: Trial) -> bool:
    """Whether a logged trial is what became of `begun`. A reused result may come from a longer training."""
    same = all(getattr(logged, name) == getattr(begun, name) for name in _GIVEN)
    return same and (logged.epochs == begun.epochs or (logged.reused_from is not None and logged.epochs > begun.epochs))


def _begin(item: _Outstanding, index: int) -> Trial:
    suggestion, candidate = item.suggestion, item.candidate
    return Trial(
        index=index,
        oracle_id=suggestion.oracle_id,
        genotype=suggestion.genotype,
        arch=to_text(candidate.arch),
        arch_id=candidate.arch_id,
        epochs=suggestion.epochs,
        seed=candidate.seed,
        status=FAILED,
        score=FAILED_SCORE,
        recipe=candidate.recipe,
    )


def _reused(trial: Trial, known: Trial | None) -> Trial:
    assert known is not None  # the log only grows
    return dataclasses.replace(
        trial,
        epochs=known.epochs,
        status=known.status,
        score=known.score,
        reason=known.reason,
        metrics=known.metrics,
        reused_from=known.index if known.reused_from is None else known.reused_from,
    )


def _ended(config: SearchConfig, trial: Trial, attempt: Attempt) -> Trial:
    if attempt.evaluation is None:
        return dataclasses.replace(trial, reason=attempt.reason, seconds=attempt.seconds)
    try:
        metrics = _finite(attempt.evaluation.metrics)
        score = _score(config, metrics)
    except CandidateError as error:
        return dataclasses.replace(trial, reason=str(error), seconds=attempt.seconds)
    return dataclasses.replace(trial, status=OK, score=score, metrics=metrics, seconds=attempt.seconds)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as plain floats. Raises CandidateError for NaN and infinity: neither log nor oracle can take them."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise CandidateError(f"the metric {name} is {value}")
    return {name: float(value) for name, value in metrics.items()}


def _score(config: SearchConfig, metrics: Mapping[str, float]) -> float:
    needed = [config.quality, config.cost]
    if config.objective == PARETO:
        needed += [name for name, _ in config.directions]
    for name in needed:
        if name not in metrics:
            raise CandidateError(f"the metric {name} is missing: the evaluator gives {', '.join(metrics)}")
    accuracy, cost = metrics[config.quality], metrics[config.cost]
    if cost <= 0:
        raise CandidateError(f"the metric {config.cost} is {cost}; a cost must be above 0")
    if config.objective == "weighted":
        return weighted(accuracy, cost, config.target_cost, config.cost_weight)
    return OBJECTIVES[config.objective](accuracy, cost, config.target_cost)


def _chosen(space: SearchSpace, genotype: Genotype) -> dict[str, Any]:
    """The choices of a genotype by their hyperparameter names; of a choice that is a whole block its number."""
    pairs = [(gene, index) for gene, index in zip(space.genes, genotype, strict=True) if len(gene.choices) > 1]
    return {
        gene.path: index if dataclasses.is_dataclass(gene.choices[index]) else gene.choices[index]
        for gene, index in pairs
    }


def _show(reporter: Reporter, task: Task, trial: Trial, config: SearchConfig, trials: list[Trial]) -> None:
    if trial.status == FAILED:
        text = f"failed: {trial.reason}"
    else:
        unit = "us" if config.cost == "latency_us" else "MACs"
        text = f"{_quality(config, trial)}, {trial.metrics[config.cost]:.0f} {unit}, "
        if "params" in trial.metrics:
            text += f"{trial.metrics['params'] / 1000:.0f}k parameters, "
        text += f"{trial.recipe}, " if trial.recipe else ""
        text += _place(config, trial, trials)
        if trial.reused_from is not None:
            text += f" (known from trial {trial.reused_from + 1})"
        else:
            text += f" ({sum(trial.seconds.values()):.0f} s)"
    reporter.line(f"  trial {trial.index + 1}: {text}")
    task.advance(1)


def _quality(config: SearchConfig, trial: Trial) -> str:
    if config.evaluator != ZERO_COST:
        return f"val {100 * trial.metrics[config.quality]:.1f} %"
    return f"{config.proxy} {trial.metrics[config.proxy]:.6g}"


def _place(config: SearchConfig, trial: Trial, trials: list[Trial]) -> str:
    if config.objective != PARETO:
        return f"score {trial.score:.4f}"
    best = front(trials, config.directions)
    is_on = any(other.arch_id == trial.arch_id for other in best)
    return f"{'on' if is_on else 'behind'} the front of {len(best)}"
