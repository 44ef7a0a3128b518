"""Limits on what a candidate may cost: our oracles and Keras Tuner's alike suggest nothing beyond them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.latency.configured import check_latency_table, table_latency
from search.latency.features import operators_of, size_of
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from search.named import space
from search.oracles import ORACLES
from search.oracles.budget import SpecBudget, spec_budget
from search.oracles.strategy import DRAWS, Strategy
from search.settings import SearchConfig
from search.space import SearchSpace

SPACE = space("mobilenet_v2_small", 28, 10)
# About one network in eight is within both.
LIMITS = {"max_macs": 2.2e6, "max_params": 5e4}


def config(oracle: str, **changes: object) -> SearchConfig:
    values = {"oracle": oracle, "max_trials": 9, "epochs": 3, "cost": "macs", **LIMITS, **changes}
    return SearchConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("oracle", sorted(ORACLES))
def test_every_suggestion_is_within_the_limits(oracle: str) -> None:
    # A third of Bayesian optimization's trials is random; then each takes Keras Tuner a second, and as much if refused.
    count = 3 if oracle == "bayesian" else 7
    strategy = Strategy(config(oracle, max_trials=count), SPACE, seed=1)
    found = []
    while len(found) < count and (suggestion := strategy.suggest()) is not None:
        computed = cost(SPACE.decode(suggestion.genotype))
        assert computed.macs <= 2.2e6 and computed.params <= 5e4
        found.append(suggestion.genotype)
        strategy.report(suggestion.oracle_id, computed.params / 1e6)  # draws the oracle to the limit
    assert len(found) == (6 if oracle == "hyperband" else count)
    assert len(set(found)) > count / 2


@pytest.mark.parametrize("oracle", sorted(ORACLES))
def test_a_limit_that_nothing_meets_is_a_usage_error_that_names_it(oracle: str) -> None:
    message = (
        r"^config\.search\.max_macs = 10, config\.search\.max_params = 50000: no network of the space tiny was found"
    )
    block = BlockSpec(kernel_size=OneOf((3, 5)), out_channels=OneOf((8, 16)))
    tiny = SearchSpace("tiny", ArchSpec(16, (StageSpec((block,), 1),), 32, resolution=16, num_classes=2))
    with pytest.raises(UsageError, match=message) as caught:
        Strategy(config(oracle, max_macs=10.0), tiny, seed=1).suggest()
    assert "\n" not in str(caught.value)


def test_a_gaussian_process_that_insists_on_what_is_too_large_is_given_something_else() -> None:
    """Keras Tuner's oracle is told that a candidate beyond the limits failed; after a few a random one replaces it."""
    strategy = Strategy(config("bayesian"), SPACE, seed=1)
    refused: list[str] = []
    report = strategy.report
    strategy.report = lambda oracle_id, *rest: (refused.append(oracle_id), report(oracle_id, *rest))  # type: ignore[method-assign,assignment]
    largest = {gene.path: len(gene.choices) - 1 for gene in SPACE.genes if len(gene.choices) > 1}
    strategy._oracle.populate_space = lambda trial_id: {"status": "RUNNING", "values": dict(largest)}
    suggestion = strategy.suggest()
    assert suggestion is not None and len(refused) == 5
    assert cost(SPACE.decode(suggestion.genotype)).macs <= 2.2e6
    trial = strategy._oracle.get_trial(suggestion.oracle_id)
    assert trial.hyperparameters.values != largest, "the oracle knows what was really evaluated"


def test_the_cost_model_of_a_configuration() -> None:
    assert spec_budget(SearchConfig(), SPACE) is None
    budget = spec_budget(SearchConfig(max_macs=1e6, max_peak_memory_bytes=1e5), SPACE)
    assert budget is not None and budget.limits == {"macs": 1e6, "peak_memory_bytes": 1e5}
    smallest = {gene.path: 0 for gene in SPACE.genes}
    computed = cost(SPACE.decode(tuple(smallest.values())))
    for name in ("macs", "params", "peak_memory_bytes"):
        exact = getattr(computed, name)
        assert SpecBudget(SPACE, {name: exact}).feasible(smallest)
        assert not SpecBudget(SPACE, {name: exact - 1}).feasible(smallest)
    assert DRAWS >= 100  # of random candidates, one in a hundred of which is within the limits


def test_a_network_that_cannot_be_built_is_not_feasible() -> None:
    stages = tuple(StageSpec((BlockSpec(stride=2, out_channels=8),), 1) for _ in range(6))
    deep = SearchSpace("deep", ArchSpec(OneOf((8, 16)), stages, 32, resolution=16, num_classes=2))
    assert not SpecBudget(deep, {"macs": 1e15}).feasible({"stem_channels": 0})


@pytest.fixture(scope="module")
def latency_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of SPACE in which a block takes as many microseconds as it has size."""
    blocks = []
    for key in distinct_blocks(SPACE, "int8"):
        us = float(sum(size_of(operator) * count for operator, count in operators_of(key).items()))
        blocks.append(BlockLatency(key.text, us, us, us, 50))
    path = tmp_path_factory.mktemp("table") / "table.json"
    write_latency_table(path, LatencyTable(SPACE.name, "int8", {}, "tool", "2026-01-31", tuple(blocks)))
    return path


def by_table(table: Path, **changes: object) -> SearchConfig:
    values = {"cost": "latency_us", "latency_table": str(table), "max_macs": None, "max_params": None}
    return config("random", **{**values, **changes})


def test_a_latency_limit_by_table_holds_for_every_suggestion(latency_table: Path) -> None:
    predict = table_latency(by_table(latency_table))
    assert predict is not None
    free = Strategy(by_table(latency_table), SPACE, seed=1)
    drawn = [free.suggest() for _ in range(9)]
    latencies = sorted(predict(SPACE.decode(suggestion.genotype)) for suggestion in drawn if suggestion)
    limit = latencies[3]
    bound = Strategy(by_table(latency_table, max_latency_us=limit), SPACE, seed=1)
    for _ in range(9):
        suggestion = bound.suggest()
        assert suggestion is not None
        assert predict(SPACE.decode(suggestion.genotype)) <= limit


def test_a_table_for_other_images_is_refused(latency_table: Path) -> None:
    check_latency_table(by_table(latency_table), SPACE)
    with pytest.raises(UsageError, match=r"lacks \d+ blocks of the space mobilenet_v2_small"):
        check_latency_table(by_table(latency_table), space("mobilenet_v2_small", 64, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_latency_us": 5.0, "latency_table": None}, "config.search.max_latency_us"),
        ({"cost": "macs"}, "config.search.latency_table"),
        ({"recipe": "{ptq,qat}"}, "config.search.latency_table"),
        ({"max_latency_us": 0.0}, "config.search.max_latency_us"),
    ],
)
def test_contradictory_latency_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        by_table(Path("table.json"), **changes)


def test_a_predicted_latency_may_be_an_objective_but_measured_ones_not() -> None:
    pareto = {"objective": "pareto", "oracle": "nsga2"}
    SearchConfig(latency_table="t.json", objectives=("val_accuracy max", "latency_us min"), **pareto)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="size_bytes"):
        SearchConfig(latency_table="t.json", objectives=("val_accuracy max", "size_bytes min"), **pareto)  # type: ignore[arg-type]
