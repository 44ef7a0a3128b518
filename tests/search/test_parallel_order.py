"""What several outstanding suggestions mean for the log and its replay: every strategy, results in a fixed disorder.

The workers are replaced by a rule that says which evaluation ends next, so that a killed and resumed search can equal
an undisturbed one; tests/search/test_parallel.py has real processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.errors import CandidateError, LitesmithError
from core.progress import SilentReporter
from search.cost import cost
from search.evaluate import Attempt, Candidate, Evaluation, attempt
from search.loop import search_with
from search.named import space
from search.oracles import ORACLES, SEVERAL_OBJECTIVES
from search.oracles.strategy import Strategy
from search.settings import SearchConfig
from search.space import SearchSpace
from search.trials import Trial, TrialLog
from tests.search import known_answers
from tests.search.known_answers import A, B, C, D, Listed

NAMED_SPACE = space("mobilenet_v2_small", 28, 10)


class Known:
    """Computed answers; one network in four fails."""

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        if int(candidate.arch_id, 16) % 4 == 0:
            raise CandidateError("does not fit")
        computed = cost(candidate.arch)
        accuracy = 1 - 1 / (1 + epochs * computed.params / 20_000)
        return Evaluation({"val_accuracy": accuracy, "macs": computed.macs, "params": computed.params}, {})


@dataclass
class Disordered:
    """Workers of which the one ends next whose network and epochs have the smallest hash, whatever came first.

    The rule knows nothing but what is under way, as the log knows nothing else of a killed search. `kill_at` raises
    KeyboardInterrupt in place of that result.
    """

    num_workers: int = 3
    kill_at: int = -1
    running: dict[str, tuple[Candidate, int]] = field(default_factory=dict)
    evaluated: list[str] = field(default_factory=list)
    most: int = 0

    def submit(self, key: str, candidate: Candidate, epochs: int) -> None:
        under_way = {candidate.arch_id for candidate, _ in self.running.values()}
        assert candidate.arch_id not in under_way, "one network is never trained twice at once"
        self.running[key] = (candidate, epochs)
        self.most = max(self.most, len(self.running))
        assert self.most <= self.num_workers

    def wait(self) -> tuple[str, Attempt]:
        if len(self.evaluated) == self.kill_at:
            raise KeyboardInterrupt
        key = min(self.running, key=lambda key: hashlib.sha256(f"{self.running[key]}".encode()).digest())
        self.evaluated.append(key)
        return key, attempt(Known(), *self.running.pop(key))


def config(oracle: str, **changes: Any) -> SearchConfig:
    epochs = 3 if oracle == "hyperband" else 1
    base = SearchConfig(oracle=oracle, max_trials=7, epochs=epochs, cost="macs", target_macs=1e6)
    return dataclasses.replace(base, **changes)


def search(
    settings: SearchConfig, log: Path, workers: Disordered | None = None, named: SearchSpace = NAMED_SPACE
) -> list[Trial]:
    strategy = Strategy(settings, named, seed=1)
    workers = workers or Disordered()
    return timeless(search_with(workers, settings, named, strategy, log, seed=1, reporter=SilentReporter()))


def timeless(trials: list[Trial]) -> list[Trial]:
    return [dataclasses.replace(trial, seconds={}) for trial in trials]


PARETO = {"objective": "pareto", "objectives": ("val_accuracy max", "macs min")}
SEARCHES = [config(oracle) for oracle in sorted(ORACLES)]
SEARCHES += [config(oracle, **PARETO) for oracle in sorted(SEVERAL_OBJECTIVES)]
SEARCHES += [config("random", max_macs=2e6), config("regularized_evolution", max_params=4e4)]


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda settings: f"{settings.oracle}-{settings.objective}")
def test_a_killed_search_ends_as_an_undisturbed_one(settings: SearchConfig, tmp_path: Path) -> None:
    whole = Disordered()
    trials = search(settings, tmp_path / "whole", whole)
    assert 1 < whole.most <= 3
    assert len(trials) == (6 if settings.oracle == "hyperband" else 7)
    assert [trial.oracle_id for trial in trials] != sorted(trial.oracle_id for trial in trials), "they came in disorder"
    with pytest.raises(KeyboardInterrupt):
        search(settings, tmp_path / "log", Disordered(kill_at=4))
    logged = timeless(TrialLog(tmp_path / "log").trials)
    assert len(logged) >= 4 and logged == trials[: len(logged)]  # more where a twin's result was known already
    rest = Disordered()
    assert search(settings, tmp_path / "log", rest) == trials
    assert timeless(TrialLog(tmp_path / "log").trials) == trials
    assert rest.evaluated == whole.evaluated[4:]


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1), (4, 2)])
def test_a_search_goes_on_with_another_number_of_workers(tmp_path: Path, first: int, then: int) -> None:
    """Also the log of an earlier version, which evaluated one at a time and did not write how often it had asked."""
    settings = config("regularized_evolution", max_trials=9)
    with pytest.raises(KeyboardInterrupt):
        search(settings, tmp_path / "log", Disordered(first, kill_at=5))
    if first == 1:
        text = (tmp_path / "log").read_text()
        assert text.count('"asked": null, ') == 5
        (tmp_path / "log").write_text(text.replace('"asked": null, ', ""))
    before = TrialLog(tmp_path / "log").trials
    trials = search(settings, tmp_path / "log", Disordered(then))
    assert trials[:5] == timeless(before) and len(trials) == 9
    assert len({trial.genotype for trial in trials}) == 9
    assert search(settings, tmp_path / "log", Disordered(2)) == trials  # the mixed log can be replayed, by any number


def test_a_strategy_that_waits_for_results_is_asked_again(tmp_path: Path) -> None:
    """Hyperband promotes only when a round is complete: with more workers than it has suggestions some of them wait."""
    trials = search(config("hyperband"), tmp_path / "log", workers := Disordered(50))
    assert len(trials) == 6 and workers.most < 6
    assert max(trial.asked or 0 for trial in trials) > 6
    assert search(config("hyperband"), tmp_path / "log") == trials


def listed(workers: Disordered, genotypes: tuple[tuple[int, ...], ...], log: Path) -> tuple[list[Trial], Listed]:
    settings = SearchConfig(objective="accuracy", cost="macs", max_trials=len(genotypes), epochs=1)
    strategy = Listed(genotypes)
    found = search_with(workers, settings, known_answers.SPACE, strategy, log, seed=1, reporter=SilentReporter())
    return found, strategy


def test_twins_wait_for_each_other_and_are_evaluated_once(tmp_path: Path) -> None:
    workers = Disordered(4)
    trials, strategy = listed(workers, (A, A, B, A, C, B), tmp_path / "log")
    assert sorted(workers.evaluated) == ["00", "02", "04"]
    by_id = {trial.oracle_id: trial for trial in trials}
    for twin, original in (("01", "00"), ("03", "00"), ("05", "02")):
        assert by_id[twin].reused_from == by_id[original].index
        assert by_id[twin].score == by_id[original].score
    assert strategy.told == [(trial.oracle_id, trial.score) for trial in trials]


def test_no_more_is_suggested_than_the_budget_holds(tmp_path: Path) -> None:
    trials, strategy = listed(Disordered(3), (A, B, C, D), tmp_path / "log")
    assert len(trials) == strategy.asked == 4


def test_a_log_whose_order_was_changed_is_refused(tmp_path: Path) -> None:
    settings = config("regularized_evolution")
    search(settings, tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines(keepends=True)
    (tmp_path / "log").write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(LitesmithError, match=r"^trial 0 of the log is not what this search suggests"):
        search(settings, tmp_path / "log")


def test_the_strategy_is_told_the_metrics(tmp_path: Path) -> None:
    told: list[Mapping[str, float]] = []

    class Told(Listed):
        def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
            told.append(metrics)

    settings = SearchConfig(objective="accuracy", cost="macs", max_trials=4, epochs=1)
    workers, named = Disordered(2), known_answers.SPACE
    trials = search_with(
        workers, settings, named, Told((A, B, C, D)), tmp_path / "log", seed=1, reporter=SilentReporter()
    )
    assert told == [trial.metrics for trial in trials]
    assert [metrics for metrics in told if not metrics] == [{} for trial in trials if trial.reason]
