"""One suite for every search strategy of search.oracles.ORACLES: suggest, learn, repeat, resume, end."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import keras_tuner
import pytest

from core.errors import CandidateError, LitesmithError
from core.progress import SilentReporter
from core.registry import load
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.evaluate import Candidate, Evaluation
from search.loop import run_search
from search.named import space
from search.oracles import ORACLES
from search.oracles.hyperparameters import hyperparameters
from search.oracles.strategy import Strategy
from search.settings import SearchConfig
from search.space import SearchSpace
from search.trials import FAILED, OK, Trial, TrialLog

MAX_TRIALS = 7
# Hyperband of 3 epochs: brackets of 3 + 1 (promoted) and 2 trials, 6 in all, so that it also ends before max_trials.
EPOCHS = 3
SPACE = space("mobilenet_v2_small", 28, 10)
TINY_SPACE = SearchSpace(
    "tiny",
    ArchSpec(
        16, (StageSpec((BlockSpec(kernel_size=OneOf((3, 5))),), 1),), OneOf((32, 64)), resolution=16, num_classes=2
    ),
)


@dataclass
class Known:
    """Computed answers instead of training: larger networks and longer trainings are better, a few networks fail."""

    fail: bool = False
    kill_at: int = -1
    calls: list[tuple[str, int]] = field(default_factory=list)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        if len(self.calls) == self.kill_at:
            raise KeyboardInterrupt
        self.calls.append((candidate.arch_id, epochs))
        if self.fail or int(candidate.arch_id, 16) % 4 == 0:
            raise CandidateError("does not fit")
        computed = cost(candidate.arch)
        accuracy = 1 - 1 / (1 + epochs * computed.params / 20_000)
        return Evaluation({"val_accuracy": accuracy, "macs": computed.macs, "params": computed.params}, {})


def config(oracle: str, **changes: object) -> SearchConfig:
    base = SearchConfig(oracle=oracle, max_trials=MAX_TRIALS, epochs=EPOCHS, cost="macs", target_macs=1e6)
    return dataclasses.replace(base, **changes)


def search(
    settings: SearchConfig, log: Path, evaluator: Known | None = None, named: SearchSpace = SPACE, seed: int = 1
) -> list[Trial]:
    strategy = Strategy(settings, named, seed)
    trials = run_search(settings, named, strategy, evaluator or Known(), log, seed=seed, reporter=SilentReporter())
    return timeless(trials)


def timeless(trials: list[Trial]) -> list[Trial]:
    """The trials but for the wall time of their phases."""
    return [dataclasses.replace(trial, seconds={}) for trial in trials]


@dataclass(frozen=True)
class Finished:
    """An undisturbed search, shared by the tests that compare with it."""

    oracle: str
    log: Path
    trials: list[Trial]
    calls: list[tuple[str, int]]


@pytest.fixture(scope="module", params=sorted(ORACLES))
def finished(request, tmp_path_factory) -> Finished:
    log = tmp_path_factory.mktemp(request.param) / "trials.jsonl"
    evaluator = Known()
    return Finished(request.param, log, search(config(request.param), log, evaluator), evaluator.calls)


@pytest.fixture(params=sorted(ORACLES))
def oracle(request) -> str:
    return request.param


def test_it_is_a_keras_tuner_oracle(oracle):
    """So any Keras Tuner program can use it."""
    make = load(ORACLES, oracle, "config.search.oracle")
    made = make(config(oracle), hyperparameters(SPACE), 1)
    assert isinstance(made, keras_tuner.Oracle)
    assert made.objective == keras_tuner.Objective("score", "max")


def test_it_runs_to_the_end(finished):
    trials = finished.trials
    assert len(trials) == (6 if finished.oracle == "hyperband" else MAX_TRIALS)
    assert [trial.index for trial in trials] == list(range(len(trials)))
    assert len({trial.oracle_id for trial in trials}) == len(trials)
    assert any(trial.status == OK for trial in trials)
    assert timeless(TrialLog(finished.log).trials) == trials


def test_suggestions_are_legal(finished):
    for trial in finished.trials:
        SPACE.check(trial.genotype)
        assert 1 <= trial.epochs <= EPOCHS
    assert len({trial.genotype for trial in finished.trials}) > len(finished.trials) / 2, "it explores"


def test_nothing_is_evaluated_twice(finished):
    assert len(set(finished.calls)) == len(finished.calls)
    fresh = [trial for trial in finished.trials if trial.reused_from is None]
    assert [(trial.arch_id, trial.epochs) for trial in fresh] == finished.calls


def test_the_same_seed_gives_the_same_search(finished, tmp_path):
    assert search(config(finished.oracle), tmp_path / "log") == finished.trials


@pytest.mark.parametrize("kill_at", [1, 4])
def test_a_killed_search_ends_as_an_undisturbed_one(finished, tmp_path, kill_at):
    """Interrupted in its evaluation number `kill_at`; the rerun has a fresh oracle and the log alone."""
    log, settings = tmp_path / "log", config(finished.oracle)
    with pytest.raises(KeyboardInterrupt):
        search(settings, log, Known(kill_at=kill_at))
    rest = Known()
    assert search(settings, log, rest) == finished.trials
    assert timeless(TrialLog(log).trials) == finished.trials
    assert rest.calls == finished.calls[kill_at:]


def test_seed_0_is_a_seed_and_not_chance(finished, tmp_path):
    """Keras Tuner takes 0 for "no seed"."""
    settings = config(finished.oracle, max_trials=4)
    first = search(settings, tmp_path / "a", seed=0)
    assert search(settings, tmp_path / "b", seed=0) == first
    assert [trial.genotype for trial in first] != [trial.genotype for trial in finished.trials[:4]]


def test_a_log_of_another_seed_is_refused(finished, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(finished.log.read_bytes())
    with pytest.raises(LitesmithError, match="the log was written with other settings"):
        search(config(finished.oracle), log, seed=2)
    assert log.read_bytes() == finished.log.read_bytes()


def test_failures_do_not_end_the_search_before_its_end(oracle, tmp_path, recwarn):
    """More than three in a row, where Keras Tuner would give up on trials that were reported as failed.

    Nor does the user read what scikit-learn thinks of a Gaussian process through equal scores.
    """
    with pytest.raises(LitesmithError, match=r"^search: none of \d trials could be evaluated; .*: does not fit$"):
        search(config(oracle), tmp_path / "log", Known(fail=True))
    trials = TrialLog(tmp_path / "log").trials
    assert len(trials) >= 6
    assert {trial.status for trial in trials} == {FAILED}
    assert [str(item.message) for item in recwarn if issubclass(item.category, UserWarning)] == []


def test_a_space_smaller_than_the_budget_ends_cleanly(oracle, tmp_path):
    """Four genotypes, five trials: the oracle stops, or it repeats itself and the loop reuses what it knows."""
    evaluator = Known()
    trials = search(config(oracle, max_trials=5), tmp_path / "log", evaluator, TINY_SPACE)
    assert 2 <= len(trials) <= 5
    assert len(set(evaluator.calls)) == len(evaluator.calls)
    assert len({arch_id for arch_id, _ in evaluator.calls}) <= TINY_SPACE.size == 4


def test_it_leaves_no_files_behind(oracle, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    search(config(oracle, max_trials=4), tmp_path / "log")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_it_prints_nothing(oracle, tmp_path, capfd):
    """The reporter is what speaks to people."""
    search(config(oracle, max_trials=4), tmp_path / "log")
    assert capfd.readouterr() == ("", "")


def test_better_scores_are_followed(oracle):
    """Of what was reported the oracle names the best, so larger is better for it as it is for us."""
    strategy = Strategy(config(oracle), SPACE, 1)
    reported = {}
    for number in itertools.count():
        suggestion = strategy.suggest()
        if suggestion is None or number == 3:
            break
        reported[suggestion.oracle_id] = score = [0.2, 0.9, -1.0][number]
        strategy.report(suggestion.oracle_id, score)
    (top,) = strategy._oracle.get_best_trials(1)
    assert top.trial_id == max(reported, key=reported.__getitem__)
