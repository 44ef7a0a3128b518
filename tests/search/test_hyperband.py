"""Hyperband: candidates begin with few epochs, and the better ones are asked for again with more."""

from __future__ import annotations

import math

import keras_tuner
import pytest
from keras_tuner.oracles import HyperbandOracle

from core.errors import UsageError
from core.progress import SilentReporter
from search.cost import cost
from search.evaluate import Candidate, Evaluation
from search.loop import run_search
from search.named import space
from search.oracles.strategy import Strategy
from search.settings import SearchConfig, hyperband_first_bracket
from search.trials import Trial

SPACE = space("mobilenet_v2_small", 28, 10)
CONFIG = SearchConfig(oracle="hyperband", max_trials=100, epochs=9, objective="accuracy", cost="macs")


class Larger:
    """Larger networks are better, and longer trainings better still, so that the order of two never changes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        self.calls.append((candidate.arch_id, epochs, candidate.seed))
        computed = cost(candidate.arch)
        return Evaluation({"val_accuracy": 1 - 1 / (epochs * computed.macs), "macs": computed.macs}, {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[list[Trial], Larger]:
    evaluator = Larger()
    log = tmp_path_factory.mktemp("hyperband") / "log"
    strategy = Strategy(CONFIG, SPACE, 1)
    return run_search(CONFIG, SPACE, strategy, evaluator, log, seed=1, reporter=SilentReporter()), evaluator


def test_brackets_have_the_sizes_of_the_paper(finished):
    """With 9 epochs and a factor of 3: 9 -> 3 -> 1, 5 -> 2 and 3 candidates, as Keras Tuner sizes its brackets."""
    trials, _ = finished
    assert [trial.epochs for trial in trials] == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] * 2 + [9] * 3


@pytest.mark.parametrize(("begin", "size", "promoted"), [(0, 9, 3), (9, 3, 1), (13, 5, 2)])
def test_the_best_of_a_round_are_promoted_as_they_are(finished, begin, size, promoted):
    trials, _ = finished
    candidates, chosen = trials[begin : begin + size], trials[begin + size : begin + size + promoted]
    best = sorted(candidates, key=lambda trial: -trial.score)[:promoted]
    assert {trial.genotype for trial in chosen} == {trial.genotype for trial in best}
    assert {trial.epochs for trial in chosen} == {min(9, 3 * candidates[0].epochs)}


def test_a_promotion_is_evaluated_again_with_its_first_seed(finished):
    """So that the training goes on from its checkpoint as if it had never stopped."""
    trials, evaluator = finished
    asked = [(trial.arch_id, trial.epochs, trial.seed) for trial in trials if trial.reused_from is None]
    assert evaluator.calls == asked
    epochs_by_network: dict[str, list[int]] = {}
    for arch_id, epochs, _ in evaluator.calls:
        epochs_by_network.setdefault(arch_id, []).append(epochs)
    assert [1, 3, 9] in epochs_by_network.values()
    assert all(epochs == sorted(set(epochs)) for epochs in epochs_by_network.values())
    assert len({(arch_id, seed) for arch_id, _, seed in evaluator.calls}) == len(epochs_by_network)


def test_it_ends_by_itself_after_all_brackets(finished):
    trials, _ = finished
    assert len(trials) == 23 < CONFIG.max_trials
    assert all(math.isfinite(trial.score) for trial in trials)


@pytest.mark.parametrize("epochs", [2, 3, 4, 8, 9, 10, 27])
def test_the_first_bracket_is_as_large_as_keras_tuner_makes_it(epochs):
    oracle = HyperbandOracle(objective=keras_tuner.Objective("score", "max"), max_epochs=epochs, factor=3)
    first = oracle._get_num_brackets() - 1
    expected = sum(oracle._get_size(first, number) for number in range(first + 1))
    assert hyperband_first_bracket(epochs) == expected


def test_a_budget_that_ends_before_a_promotion_is_refused():
    with pytest.raises(UsageError, match=r"config\.search\.max_trials: 12 .* at least 13"):
        SearchConfig(oracle="hyperband", epochs=9, max_trials=12)
