"""GenotypeOracle as Keras Tuner sees it: state, objectives, waiting, warm start, giving up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras_tuner
import pytest

from core.errors import UsageError
from search.oracles import base
from search.oracles.base import GenotypeOracle
from search.oracles.cost_model import AllOf, Budget
from search.oracles.evolution import RegularizedEvolution
from search.space import Genotype
from tests.search.oracles import runs


class Draw(GenotypeOracle):
    """The simplest strategy."""

    def _propose(self) -> Genotype | None:
        return self.sample()


class Stubborn(GenotypeOracle):
    """Proposes one candidate again and again."""

    refused = 0

    def _propose(self) -> Genotype | None:
        return (1, 1)

    def _refused(self, genotype: Genotype) -> None:
        self.refused += 1


def made(cls: type[GenotypeOracle] = Draw, objective: Any = None, **settings: Any) -> Any:
    hp = keras_tuner.HyperParameters()
    hp.Choice("a", [10, 20, 30])
    hp.Choice("b", ["x", "y", "z"])
    objective = objective or keras_tuner.Objective("score", "max")
    oracle = cls(objective=objective, hyperparameters=hp, **({"seed": 0} | settings))
    oracle.verbose = 0
    oracle.save = oracle._save_trial = lambda *_: None
    return oracle


def finish(oracle: Any, trial: Any, status: str = "COMPLETED", **metrics: float) -> None:
    if metrics:
        oracle.update_trial(trial.trial_id, metrics)
    trial.status = status
    oracle.end_trial(trial)


def suggest(oracle: Any) -> Any:
    return oracle.create_trial(f"tuner-{len(oracle.trials)}")


def values(trials: list[Any]) -> list[dict[str, Any]]:
    return [trial.hyperparameters.values for trial in trials]


def test_at_the_end_it_waits_for_the_last_results():
    """An outstanding trial may bring hyperparameters to light."""
    oracle = made()
    trials = [suggest(oracle) for _ in range(9)]
    assert len({str(item) for item in values(trials)}) == 9
    assert suggest(oracle).status == "IDLE"
    for trial in trials:
        finish(oracle, trial, score=0.5)
    assert suggest(oracle).status == "STOPPED"


def test_a_strategy_that_repeats_itself_is_replaced_by_chance():
    oracle = made(Stubborn)
    trials = [suggest(oracle) for _ in range(9)]
    assert trials[0].hyperparameters.values == {"a": 20, "b": "y"}
    assert len({str(item) for item in values(trials)}) == 9
    assert oracle.refused > 0


def test_a_warm_start_comes_first_once_and_only_if_feasible():
    first = [{"a": 30, "b": "z"}, {"a": 10, "b": "x"}, {"a": 30, "b": "z"}, {"a": 20, "b": "y"}]
    oracle = made(first_values=first, cost_model=Budget(lambda values: values["a"] * (values["b"] != "x"), 30))
    oracle.cost_model = AllOf((oracle.cost_model, Budget(lambda values: {"x": 99}.get(values["b"], 0), 50)))
    trials = [suggest(oracle) for _ in range(3)]
    assert values(trials)[:2] == [first[0], first[3]]
    assert values(trials)[2] not in first


def test_what_keras_tuner_saves_is_enough_to_go_on():
    oracle = made()
    for _ in range(3):
        finish(oracle, suggest(oracle), score=0.5)
    open_trial = suggest(oracle)
    again = made()
    again.trials = dict(oracle.trials)
    again.set_state(json.loads(json.dumps(oracle.get_state())))
    assert again.finished == oracle.finished
    assert again.pending == oracle.pending
    assert values([suggest(again), suggest(again)]) == values([suggest(oracle), suggest(oracle)])
    finish(again, open_trial, score=1.0)
    assert again.finished[-1].score == 1.0


def test_a_resumed_walk_misses_nothing():
    """Seven of 15,625 points are feasible: few are found by chance."""
    space, limit = runs.axes(6, 5), Budget(lambda values: sum(values.values()), 1)
    oracle, again = (runs.made(RegularizedEvolution, space, 20, cost_model=limit) for _ in range(2))
    oracle.max_trials = 4
    assert len(runs.run(oracle, lambda values: {"score": 0.5})) == 4
    again.trials = dict(oracle.trials)
    again.set_state(json.loads(json.dumps(oracle.get_state())))
    runs.run(again, lambda values: {"score": 0.5})
    assert len({str(item) for item in values(list(again.trials.values()))}) == 7


def test_the_walk_goes_on_as_long_as_something_may_be_left(monkeypatch):
    """Two of 15,625 points are feasible, and one is known; only when nothing is outstanding it is walked to the end."""
    monkeypatch.setattr(base, "WALK", 50)
    first = {f"edge{number}": 0 for number in range(6)}
    allowed = [first, first | {"edge0": 4, "edge3": 2}]
    only = Budget(lambda values: values not in allowed, 0)
    oracle = runs.quiet(runs.made(Draw, runs.axes(6, 5), 9, first_values=allowed[:1], cost_model=only))
    trial = suggest(oracle)
    assert suggest(oracle).status == "IDLE"
    walked = oracle._walked
    assert suggest(oracle).status == "IDLE"
    assert (walked, oracle._walked) == (50, 100), "it goes on where it was"
    finish(oracle, trial, score=0.5)
    last = suggest(oracle)
    assert values([last]) == allowed[1:]
    finish(oracle, last, score=0.5)
    assert suggest(oracle).status == "STOPPED"
    assert oracle._walked == 5**6


def test_a_walk_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(base, "LAST_WALK", 300)
    first = {f"edge{number}": 0 for number in range(6)}
    only = Budget(lambda values: values != first, 0)
    oracle = runs.made(Draw, runs.axes(6, 5), 9, first_values=[first], cost_model=only)
    assert runs.run(oracle, lambda values: {"score": 0.5}) == [first]
    assert oracle._walked == 300


@pytest.mark.parametrize("count", [400, 5000])
def test_a_space_beyond_all_floats_is_no_problem(monkeypatch, count):
    """5000 axes: their number has more digits than Python prints."""
    monkeypatch.setattr(base, "WALK", 3)
    monkeypatch.setattr(base, "DRAWS", 2)
    nothing = Budget(lambda values: 1, 0)
    oracle = runs.quiet(runs.made(Draw, runs.axes(count, 10), 9, cost_model=nothing))
    with pytest.raises(UsageError, match=f"it refused all of 5 candidates that were tried, of 1e{count};"):
        suggest(oracle)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 309, 618])
def test_the_walk_visits_every_point_once(monkeypatch, length):
    monkeypatch.setattr(base, "DRAWS", 0)
    oracle = runs.made(Draw, runs.axes(1, length), 1000)
    asked = runs.run(oracle, lambda values: {"score": 0.5})
    assert sorted(item["edge0"] for item in asked) == list(range(length))
    assert oracle._walked == length


def parity(values: Mapping[str, Any]) -> tuple[bool, str]:
    return values["a"] == 20, values["b"]


def test_what_is_the_same_is_suggested_once():
    """Of three values of "a" two are the same: six of nine points are left, and the end is exact."""
    oracle = made(identity=parity)
    trials = [suggest(oracle) for _ in range(6)]
    assert len({parity(item) for item in values(trials)}) == 6
    assert suggest(oracle).status == "IDLE"
    finish(oracle, trials[0], score=0.5)
    again = made(identity=parity)
    again.trials = dict(oracle.trials)
    again.set_state(json.loads(json.dumps(oracle.get_state())))
    assert suggest(again).status == "IDLE", "it knows what its trials were"


def test_an_infeasible_configuration_has_no_identity():
    def strict(values: Mapping[str, Any]) -> tuple[bool, str]:
        assert values["a"] <= 20
        return parity(values)

    oracle = made(identity=strict, cost_model=Budget(lambda values: values["a"], 20))
    assert [suggest(oracle).status for _ in range(7)] == ["RUNNING"] * 6 + ["IDLE"]


def test_few_identities_are_kept(monkeypatch):
    monkeypatch.setattr(base, "CACHED", 4)
    oracle = made(identity=parity)
    statuses = []
    for _ in range(7):
        statuses.append(suggest(oracle).status)
        assert len(oracle._identities) <= 4
    assert statuses == ["RUNNING"] * 6 + ["IDLE"]


def test_a_metric_without_a_value_is_left_out():
    oracle = made()
    trial = suggest(oracle)
    oracle.trials[trial.trial_id].metrics.register("latency_us", "min")
    finish(oracle, trial, score=0.5)
    assert oracle.finished[0].metrics == {"score": 0.5}


def test_several_objectives_are_told_with_their_directions():
    objectives = [keras_tuner.Objective("accuracy", "max"), keras_tuner.Objective("latency_us", "min")]
    oracle = made(objective=objectives)
    assert oracle.objectives == (("accuracy", "max"), ("latency_us", "min"))
    trial = suggest(oracle)
    finish(oracle, trial, accuracy=0.75, latency_us=2.0, params=7.0)
    assert oracle.finished[0].metrics == {"accuracy": 0.75, "latency_us": 2.0, "params": 7.0}
    assert (trial.score, oracle.finished[0].score) == (2.0 - 0.75, 0.75 - 2.0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_has_failed(broken):
    oracle = made()
    finish(oracle, suggest(oracle), score=broken)
    assert oracle.trials["0000"[: len(next(iter(oracle.trials)))]].status == "FAILED"
    assert oracle.finished[0].score is None


def test_a_trial_that_is_tried_again_is_learned_at_its_end():
    oracle = made(max_retries_per_trial=1)
    trial = suggest(oracle)
    finish(oracle, trial, "INVALID")
    assert oracle.finished == []
    again = suggest(oracle)
    assert again.trial_id == trial.trial_id
    finish(oracle, again, score=0.5)
    assert [done.score for done in oracle.finished] == [0.5]


def test_it_gives_up_only_when_told_to_and_only_for_failures_in_a_row():
    """Keras Tuner's own count never forgets three failures in a row."""
    oracle = made(max_consecutive_failed_trials=2)
    for status in ("FAILED", "COMPLETED", "FAILED"):
        finish(oracle, suggest(oracle), status, **({} if status == "FAILED" else {"score": 1.0}))
    with pytest.raises(RuntimeError, match="2 trials failed in a row"):
        finish(oracle, suggest(oracle), "FAILED")
