"""The append-only log of a search: one record per finished trial, durable before the next begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.spec_io import from_plain
from core.tracking import Tracker
from core.workspace import AppendLog
from search.space import Genotype

OK, FAILED = "ok", "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
      index: position in the log, from 0: the order of completion.
      oracle_id: the Keras Tuner trial id, which counts suggestions; checked when the log is replayed.
      genotype, arch, arch_id: the candidate; `arch` is the grammar's text, `arch_id` its identity (search.space).
      epochs: epochs trained in all, earlier ones of the same network included.
      seed: of the training.
      status: "ok" or "failed"; `reason` says why it failed.
      metrics: val_accuracy and others (0..1), latency_us, macs, params, size_bytes.
      score: what the oracle was told; larger is better. (In a Pareto search it was told the objectives themselves.)
      seconds: wall time of each phase.
      reused_from: index of the trial whose result this one repeats (same network, same epochs), or None.
      asked: how often the strategy had been asked for a suggestion when it was told this result. None stands for
        index + 1: nothing else was under way.
      recipe: how the network was compressed, "" if recipes are not searched.
    """

    index: int
    oracle_id: str
    genotype: Genotype
    arch: str
    arch_id: str
    epochs: int
    seed: int
    status: str
    score: float
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reused_from: int | None = None
    asked: int | None = None
    recipe: str = ""


class TrialLog:
    """The trials of one search, backed by a JSON-lines file."""

    def __init__(self, path: Path) -> None:
        self._log = AppendLog(path)
        self.trials = [from_plain(Trial, record, f"{path}:{i + 1}") for i, record in enumerate(self._log.read())]

    def append(self, trial: Trial) -> None:
        """Adds a finished trial; it is on disk when this returns."""
        self._log.append(trial)
        self.trials.append(trial)

    def finished(self, arch_id: str, epochs: int) -> Trial | None:
        """The first trial that evaluated this network with at least this many epochs, failed ones included."""
        return next((t for t in self.trials if t.arch_id == arch_id and t.epochs >= epochs), None)


def longest(trials: Sequence[Trial]) -> list[Trial]:
    """Each network once, with the first of its longest trainings, in the order in which the networks came."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.arch_id not in found or trial.epochs > found[trial.arch_id].epochs:
            found[trial.arch_id] = trial
    return list(found.values())


def best(trials: Sequence[Trial], count: int) -> tuple[Trial, ...]:
    """The `count` best networks by score, each once; ties go to the earlier trial.

    A network counts by its longest training; if that failed, it does not count at all.
    """
    worked = (trial for trial in longest(trials) if trial.status == OK)
    return tuple(sorted(worked, key=lambda t: (-t.score, t.index))[:count])


def track_trial(tracker: Tracker, chosen: Mapping[str, Any], trial: Trial) -> None:
    """A search's curves go on by one point, trial/NAME for each figure; one more row compares its trials.

    To be called before the trial is in the log: then one that is evaluated again replaces what was tracked, and none is
    missing. `chosen` are its hyperparameters. The row belongs to the tracker's part of the name `arch_id`; a repeated
    result is none of its own.
    """
    number, figures = trial.index + 1, dict(trial.metrics)
    if trial.status == OK:
        figures["score"] = trial.score
    seconds = {"seconds": sum(trial.seconds.values())} if trial.seconds else {}
    tracker.scalars(number, {f"trial/{name}": value for name, value in (figures | seconds).items()})
    if trial.reused_from is None:
        recipe = {"recipe": trial.recipe} if trial.recipe else {}
        values = {**chosen, **recipe, "network": trial.arch, "epochs": trial.epochs}
        row = tracker.of(trial.arch_id)
        row.compare(values, figures, step=trial.epochs, title=f"trial {number}", succeeded=trial.status == OK)
