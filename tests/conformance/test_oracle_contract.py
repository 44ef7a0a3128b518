"""What every search strategy owes any Keras Tuner user, on small spaces: asynchronous results, failures, ends, resume.

tests/conformance/test_oracles.py is about the same strategies within litesmith's own search loop.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras_tuner
import numpy as np
import pytest

from core.errors import UsageError
from core.registry import load
from search.oracles import ORACLES
from search.oracles.base import GenotypeOracle
from search.settings import SearchConfig

MAX_TRIALS = 24
WORKERS = 3
# They sample until a draw is new, and give up after twenty draws that are not: they may end early.
KERAS_TUNERS_OWN = ("bayesian", "hyperband", "random")
OURS = sorted(set(ORACLES) - set(KERAS_TUNERS_OWN))


def flat() -> keras_tuner.HyperParameters:
    """625 points, more than any budget here."""
    hp = keras_tuner.HyperParameters()
    for name in "abcd":
        hp.Choice(name, [0, 1, 2, 3, 4], ordered=name < "c")
    return hp


def conditional() -> keras_tuner.HyperParameters:
    """Every type that Keras Tuner has; "units" and "rate" count for "deep" alone, "drop" for a large "units"."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["linear", "deep"])
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("units", 8, 32, step=8)
        hp.Float("rate", 1e-3, 1.0, sampling="log")
        with hp.conditional_scope("units", [24, 32]):
            hp.Boolean("drop")
    hp.Float("momentum", 0.0, 1.0)
    hp.Fixed("image", 32)
    return hp


def one_point() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Choice("only", ["this"])
    return hp


def four_points() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Choice("kernel", [3, 5])
    hp.Boolean("skip")
    return hp


SPACES = {space.__name__: space for space in (flat, conditional, one_point, four_points)}


def most(name: str) -> int:
    """Trials of a search; Keras Tuner's Bayesian oracle takes a second for each."""
    return 8 if name in KERAS_TUNERS_OWN else MAX_TRIALS


def make(name: str, space: Callable[[], keras_tuner.HyperParameters], seed: int = 1, **changes: Any) -> Any:
    settings = {"oracle": name, "max_trials": most(name), "epochs": 3, "cost": "macs"} | changes
    oracle = load(ORACLES, name, "test")(SearchConfig(**settings), space(), seed)
    oracle.verbose = 0
    if name in KERAS_TUNERS_OWN:
        oracle.max_consecutive_failed_trials = MAX_TRIALS  # three in a row is where they give up
    oracle.save = oracle._save_trial = lambda *_: None
    return oracle


def score(values: Mapping[str, Any]) -> float:
    """Between 0 and 1, larger for larger values."""
    numbers = [float(value) if not isinstance(value, str) else len(value) for value in values.values()]
    return 1 - 1 / (2 + sum(numbers) / 10)


def good(number: int, values: Mapping[str, Any]) -> float | None:
    return score(values)


def troubled(number: int, values: Mapping[str, Any]) -> float | None:
    """Every third trial fails, in one way or the other."""
    return score(values) if number % 3 else (None if number % 2 else math.nan)


@dataclass
class Search:
    """A search with several workers whose results come back in an order that chance decides.

    `events` lists what happened: ("suggest", trial id) or ("finish", trial id), and replaying it resumes a search.
    """

    oracle: Any
    answer: Callable[[int, Mapping[str, Any]], float | None] = good
    workers: int = WORKERS
    events: list[tuple[str, str]] = field(default_factory=list)
    suggested: dict[str, dict[str, Any]] = field(default_factory=dict)
    outstanding: list[Any] = field(default_factory=list)
    tuner_ids: Any = field(default_factory=itertools.count)

    def suggest(self) -> str:
        trial = self.oracle.create_trial(f"tuner-{next(self.tuner_ids)}")
        if trial.status == "RUNNING":
            self.outstanding.append(trial)
            self.suggested[trial.trial_id] = dict(trial.hyperparameters.values)
            self.events.append(("suggest", trial.trial_id))
        return str(trial.status)

    def finish(self, trial_id: str) -> None:
        (trial,) = [trial for trial in self.outstanding if trial.trial_id == trial_id]
        self.outstanding.remove(trial)
        found = self.answer(int(trial_id), trial.hyperparameters.values)
        if found is None:
            trial.status = "FAILED"
        else:
            self.oracle.update_trial(trial_id, {"score": found})
            trial.status = "COMPLETED"
        self.oracle.end_trial(trial)
        self.events.append(("finish", trial_id))

    def run(self, trials: int = MAX_TRIALS, seed: int = 0) -> Search:
        random = np.random.default_rng(seed)
        while True:
            status = "FULL"
            if len(self.outstanding) < self.workers and len(self.suggested) < trials:
                status = self.suggest()
            if status == "RUNNING" and random.random() < 0.5:
                continue
            if not self.outstanding:
                assert status in ("STOPPED", "FULL"), "an oracle without outstanding trials must not wait"
                return self
            self.finish(self.outstanding[int(random.integers(len(self.outstanding)))].trial_id)

    def replay(self, events: list[tuple[str, str]]) -> Search:
        for kind, trial_id in events:
            if kind == "suggest":
                assert self.suggest() == "RUNNING"
            else:
                self.finish(trial_id)
        return self


@pytest.fixture(params=sorted(ORACLES))
def name(request) -> str:
    return request.param


@pytest.fixture(params=OURS)
def ours(request) -> str:
    return request.param


def check_legal(space: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> None:
    """The values of exactly the active hyperparameters, each a legal one."""
    copy = space.copy()
    copy.values = own = {key: value for key, value in values.items() if not key.startswith("tuner/")}
    assert set(own) == {parameter.name for parameter in space.space if copy.is_active(parameter)}
    for parameter in space.space:
        if parameter.name in own and hasattr(parameter, "min_value"):
            assert parameter.min_value <= own[parameter.name] <= parameter.max_value
        elif parameter.name in own:
            assert own[parameter.name] in (getattr(parameter, "value", None), *parameter.values)


@pytest.mark.parametrize("space", SPACES)
def test_several_workers_get_legal_points_until_the_end(name, space):
    search = Search(make(name, SPACES[space])).run()
    assert search.suggested
    for values in search.suggested.values():
        check_legal(SPACES[space](), values)
    assert search.suggest() == "STOPPED"


@pytest.mark.parametrize("space", SPACES)
def test_ours_never_repeat_and_find_the_exact_end(ours, space):
    """`conditional` has 10 linear points and 4 x 10 x 10 deep ones, 200 of them twice (with and without "drop")."""
    search = Search(make(ours, SPACES[space])).run()
    points = {tuple(sorted(values.items(), key=str)) for values in search.suggested.values()}
    assert len(points) == len(search.suggested) == {"one_point": 1, "four_points": 4}.get(space, MAX_TRIALS)


def test_failed_trials_and_nan_do_no_harm(name):
    search = Search(make(name, conditional), troubled).run()
    statuses = {trial_id: trial.status for trial_id, trial in search.oracle.trials.items()}
    failed = {trial_id for trial_id in statuses if int(trial_id) % 3 == 0}
    assert {trial_id for trial_id, status in statuses.items() if status == "FAILED"} == failed
    assert len(statuses) >= 5, "failures do not end a search"


def test_ours_survive_if_everything_fails(ours):
    oracle = Search(make(ours, flat), lambda number, values: None).run().oracle
    assert [trial.score for trial in oracle.finished] == [None] * MAX_TRIALS


def test_the_penalty_of_litesmiths_own_loop_is_a_failure(ours):
    oracle = make(ours, flat)
    Search(oracle, lambda number, values: -1.0 if number else 0.5).run(trials=2)
    assert sorted(oracle.scores.values(), key=str) == [0.5, None]


def test_a_result_that_comes_twice_is_learned_once(ours):
    oracle = make(ours, flat)
    search = Search(oracle)
    search.suggest()
    (trial,) = search.outstanding
    search.finish(trial.trial_id)
    oracle.end_trial(trial)
    assert len(oracle.finished) == 1
    assert search.suggest() == "RUNNING"


def test_nothing_infeasible_is_suggested(ours):
    """A tenth of the space is feasible."""
    oracle = make(ours, flat)
    oracle.cost_model = Limit(("a", "b", "c", "d"), 4)
    suggested = Search(oracle).run().suggested.values()
    assert len(suggested) == MAX_TRIALS
    assert all(sum(values.values()) <= 4 for values in suggested)


def test_few_feasible_points_are_all_found(ours):
    oracle = make(ours, flat)
    oracle.cost_model = Limit(("a", "b", "c", "d"), 1)
    assert len(Search(oracle).run().suggested) == 5


def test_of_each_identity_one_is_suggested(ours):
    """By the sum of its values: 17 different ones, of which 0 and 16 have but one point of 625."""
    oracle = make(ours, flat)
    oracle.identity = lambda values: sum(values.values())
    search = Search(oracle).run()
    assert sorted(sum(values.values()) for values in search.suggested.values()) == list(range(17))
    assert search.suggest() == "STOPPED"


def test_an_impossible_limit_is_said_so(ours):
    oracle = make(ours, flat)
    oracle.cost_model = Limit(("a",), -1)
    for _ in range(2):  # the oracle's lock is free again
        with pytest.raises(UsageError, match="cost model: it refused all of"):
            oracle.create_trial("tuner")


@dataclass
class Limit:
    """Refuses large sums of some hyperparameters."""

    names: tuple[str, ...]
    limit: int

    def feasible(self, values: Mapping[str, Any]) -> bool:
        return sum(values[name] for name in self.names) <= self.limit


def test_a_killed_search_goes_on_with_the_same_suggestions(name):
    """The events of a search with three workers are told to a fresh oracle, which then does what the first one did."""
    first = Search(make(name, conditional)).run()
    again = Search(make(name, conditional)).replay(first.events[:9])  # killed here: two trials or more are outstanding
    again.replay(first.events[9:])
    assert again.suggested == first.suggested


def test_the_seed_decides(name):
    first, again, other = (Search(make(name, flat, seed)).run(trials=4).suggested for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_ours_take_0_for_a_seed(ours):
    assert Search(make(ours, flat, 0)).run().suggested == Search(make(ours, flat, 0)).run().suggested


def test_ours_take_hyperparameters_that_come_to_light_late(ours):
    """As when Keras Tuner builds a HyperModel for the first time: nothing is known, and a build asks for more."""
    oracle = make(ours, keras_tuner.HyperParameters)

    def build(number: int, values: Mapping[str, Any]) -> float | None:
        (trial,) = [trial for trial in oracle.trials.values() if int(trial.trial_id) == number]
        kernel = trial.hyperparameters.Choice("kernel", [3, 5])
        if kernel == 5:
            trial.hyperparameters.Boolean("skip")
        return score(trial.hyperparameters.values)

    Search(oracle, build).run()
    found = [trial.hyperparameters.values for trial in oracle.trials.values()]
    points = {(values["kernel"], values.get("skip", False)) for values in found}
    assert points == set(itertools.product((3, 5), (False, True)))
    assert isinstance(oracle, GenotypeOracle)
    assert [len(trial.genotype) for trial in oracle.finished] == [2] * len(found)


def test_each_objective_has_its_direction(ours):
    """Smaller is better: the same scores with the other sign are the same search."""
    larger = make(ours, flat)
    smaller = make(ours, flat)
    smaller.objective = keras_tuner.Objective("score", "min")
    first = Search(larger).run()
    again = Search(smaller, lambda number, values: -score(values)).run()
    assert again.suggested == first.suggested


def test_the_memory_of_a_trial_is_bounded(ours):
    """Ours: what a trial adds must not depend on the number of hyperparameters through Keras Tuner's copies of them."""
    oracle = make(ours, flat)
    Search(oracle).run()
    shared = {id(parameter) for parameter in oracle.hyperparameters.space}
    ended = [trial.hyperparameters.space for trial in oracle.trials.values()]
    assert all({id(parameter) for parameter in space} == shared for space in ended)
