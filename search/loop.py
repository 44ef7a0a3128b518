"""The search loop: suggest -> evaluate -> record. Resumes by replaying the trial log. No TensorFlow in this module."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from core.errors import CandidateError, LitesmithError, UsageError, one_line
from core.progress import Reporter, Task
from core.spec_io import content_id
from search.evaluate import Candidate, Evaluator
from search.grammar import to_text
from search.objective import FAILED_SCORE, OBJECTIVES
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace
from search.trials import FAILED, OK, Trial, TrialLog

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
        """The next candidate or None at the end."""

    def report(self, oracle_id: str, score: float) -> None:
        """The score of a suggestion."""


def run_search(
    config: SearchConfig,
    space: SearchSpace,
    strategy: SearchStrategy,
    evaluator: Evaluator,
    log_path: Path,
    *,
    seed: int,
    reporter: Reporter,
) -> list[Trial]:
    """Runs the search to its end, from where the log stands, and returns all trials.

    Raises LitesmithError if no trial at all could be evaluated, or if the log does not belong to this search.
    """
    log = TrialLog(log_path)
    for index, logged in enumerate(log.trials):
        _replay(space, strategy, logged, index, seed)
    with reporter.task("search", config.max_trials) as task:
        task.advance(min(len(log.trials), config.max_trials), "resumed" if log.trials else "")
        while len(log.trials) < config.max_trials:
            suggestion = strategy.suggest()
            if suggestion is None:
                break
            trial = _evaluate(config, space, evaluator, log, suggestion, seed)
            log.append(trial)
            strategy.report(trial.oracle_id, trial.score)
            _show(reporter, task, trial, config)
    if not log.trials:
        raise LitesmithError("search: the strategy suggested no candidate at all")
    if all(trial.status == FAILED for trial in log.trials):
        first = log.trials[0].reason
        raise LitesmithError(f"search: none of {len(log.trials)} trials could be evaluated; first reason: {first}")
    return log.trials


def training_seed(search_seed: int, arch_id: str) -> int:
    """A seed below 2^31 that depends on the search's seed and the network alone."""
    return int.from_bytes(hashlib.sha256(f"{search_seed}/{arch_id}".encode()).digest()[:4], "big") >> 1


def _replay(space: SearchSpace, strategy: SearchStrategy, logged: Trial, index: int, seed: int) -> None:
    """Tells the strategy a logged trial again. Raises LitesmithError if it would have suggested another one."""
    suggestion = strategy.suggest()
    if suggestion is None or not _is_of(logged, _begin(_candidate(space, suggestion, seed), suggestion, index)):
        raise LitesmithError(
            f"trial {index} of the log is not what this search suggests: the log was written with other settings or "
            "another version; use a new --workdir"
        )
    strategy.report(logged.oracle_id, logged.score)


def _is_of(logged: Trial, begun: Trial) -> bool:
    """Whether a logged trial is what became of `begun`. A reused result may come from a longer training."""
    same = all(getattr(logged, name) == getattr(begun, name) for name in _GIVEN)
    return same and (logged.epochs == begun.epochs or (logged.reused_from is not None and logged.epochs > begun.epochs))


def _candidate(space: SearchSpace, suggestion: Suggested, seed: int) -> Candidate:
    arch = space.decode(suggestion.genotype)
    arch_id = content_id(arch)
    return Candidate(arch, arch_id, suggestion.genotype, training_seed(seed, arch_id))


def _begin(candidate: Candidate, suggestion: Suggested, index: int) -> Trial:
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
    )


def _evaluate(
    config: SearchConfig, space: SearchSpace, evaluator: Evaluator, log: TrialLog, suggestion: Suggested, seed: int
) -> Trial:
    candidate = _candidate(space, suggestion, seed)
    trial = _begin(candidate, suggestion, len(log.trials))
    known = log.finished(candidate.arch_id, suggestion.epochs)
    if known is not None:
        source = known.index if known.reused_from is None else known.reused_from
        return dataclasses.replace(
            trial,
            epochs=known.epochs,
            status=known.status,
            score=known.score,
            reason=known.reason,
            metrics=known.metrics,
            reused_from=source,
        )
    started = time.perf_counter()
    try:
        evaluation = evaluator.evaluate(candidate, suggestion.epochs)
        metrics = _finite(evaluation.metrics)
        score = _score(config, metrics)
    except (UsageError, OSError):  # bad input and a full disk are not the candidate's fault
        raise
    except Exception as error:  # anything that TensorFlow raises for one network must not end the search
        seconds = getattr(evaluator, "seconds", None) or {"total": time.perf_counter() - started}
        return dataclasses.replace(trial, reason=one_line(error), seconds=dict(seconds))
    return dataclasses.replace(trial, status=OK, score=score, metrics=metrics, seconds=evaluation.seconds)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as plain floats. Raises CandidateError for NaN and infinity: neither log nor oracle can take them."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise CandidateError(f"the metric {name} is {value}")
    return {name: float(value) for name, value in metrics.items()}


def _score(config: SearchConfig, metrics: Mapping[str, float]) -> float:
    cost = metrics[config.cost]
    if cost <= 0:
        raise CandidateError(f"the metric {config.cost} is {cost}; a cost must be above 0")
    return OBJECTIVES[config.objective](metrics["val_accuracy"], cost, config.target_cost)


def _show(reporter: Reporter, task: Task, trial: Trial, config: SearchConfig) -> None:
    if trial.status == FAILED:
        text = f"failed: {trial.reason}"
    else:
        unit = "us" if config.cost == "latency_us" else "MACs"
        text = f"val {100 * trial.metrics['val_accuracy']:.1f} %, {trial.metrics[config.cost]:.0f} {unit}, "
        if "params" in trial.metrics:
            text += f"{trial.metrics['params'] / 1000:.0f}k parameters, "
        text += f"score {trial.score:.4f}"
        if trial.reused_from is not None:
            text += f" (known from trial {trial.reused_from + 1})"
        else:
            text += f" ({sum(trial.seconds.values()):.0f} s)"
    reporter.line(f"  trial {trial.index + 1}: {text}")
    task.advance(1)
