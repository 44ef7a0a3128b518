"""Weight sharing in the configuration and the plan: what is refused at once, and what is in which key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from compress.distill_config import DistillConfig
from compress.recipe import CompressConfig
from core.errors import UsageError
from pipeline.config import Config, ModelConfig, TeacherConfig, check_mixture, default_config, validated
from pipeline.plan import Extraction, Plan, make_plan
from pipeline.supernet_record import searched_space
from search.cost import cost
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from search.settings import SearchConfig
from search.supernet.genotypes import smallest_genotype
from search.supernet.settings import SupernetConfig

SHARED = SearchConfig(evaluator="supernet", oracle="regularized_evolution")


def plan(search: SearchConfig = SHARED, extraction: Extraction | None = None, **changes: Any) -> Plan:
    config = dataclasses.replace(Config(), search=search, **changes)
    return make_plan(config, "fingerprint", extraction=extraction)


def keys(found: Plan) -> dict[str, str]:
    return {stage.name: stage.key for stage in found.stages}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_the_supernet_is_trained_before_the_search_and_its_winners_begin_with_it() -> None:
    found = plan()
    assert [stage.name for stage in found.stages[:5]] == ["data", "supernet", "search", "teacher", "w0.float"]
    assert found.stage("search").inputs == ("data", "supernet")
    assert "supernet" in found.stage("w0.float").inputs
    passes = [stage for stage in found.stages if stage.kind == "pass"]
    assert passes and not any({"supernet", "search"} & set(stage.inputs) for stage in passes)


def test_without_it_the_supernet_s_settings_are_in_no_key() -> None:
    """What was run before there were supernets is found again."""
    before = keys(plan(SearchConfig()))
    assert "supernet" not in before
    assert not changed(before, keys(plan(SearchConfig(), supernet=SupernetConfig(epochs=30, method="sandwich"))))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"epochs": 30}, {"data", "teacher"}),
        ({"recalibration_images": 500}, {"data", "teacher"}),
        ({"val_images": None}, {"data", "teacher", "supernet"}),
        ({"fine_tune_epochs": 7}, {"data", "teacher", "supernet", "search"}),
    ],
)
def test_a_setting_of_the_supernet_changes_what_depends_on_it(change: dict[str, Any], same: set[str]) -> None:
    before, after = keys(plan()), keys(plan(supernet=SupernetConfig(**change)))
    assert set(before) - changed(before, after) == same


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("sandwich", {"full_epochs": 3}),
        ("progressive", {"controller_steps": 3}),
        ("proxyless", {"controller_steps": 3}),
        ("enas", {"temperature": 2.0}),
        ("darts", {"distill_alpha": 0.1}),
        ("single_path", {"architecture_learning_rate": 0.5}),
        ("progressive", {"warmup_share": 0.5}),
    ],
)
def test_a_setting_that_the_method_never_reads_changes_no_model(method: str, change: dict[str, Any]) -> None:
    before, after = (keys(plan(supernet=SupernetConfig(method=method, **more))) for more in ({}, change))
    assert changed(before, after) == {"report", "release"}  # which tell the whole configuration


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("progressive", {"full_epochs": 3}),
        ("enas", {"controller_steps": 3}),
        ("darts", {"second_order": True}),
        ("darts", {"latency_weight": 0.5}),
        ("proxyless", {"target_latency_us": 9.0}),
        ("proxyless", {"architecture_learning_rate": 0.5}),
        ("darts", {"warmup_share": 0.5}),
    ],
)
def test_a_setting_that_the_method_reads_trains_anew(method: str, change: dict[str, Any]) -> None:
    before, after = (keys(plan(supernet=SupernetConfig(method=method, **more))) for more in ({}, change))
    assert {"supernet", "search"} <= changed(before, after)


@pytest.mark.parametrize(("method", "counts"), [("progressive", True), ("enas", False), ("darts", True)])
def test_images_for_statistics_count_where_the_training_computes_them(method: str, counts: bool) -> None:
    few, many = (keys(plan(supernet=SupernetConfig(method=method, recalibration_images=n))) for n in (100, 200))
    assert (few["supernet"] != many["supernet"]) == counts
    assert few["search"] != many["search"]


def test_how_networks_are_predicted_later_changes_no_model() -> None:
    before, after = keys(plan()), keys(plan(supernet=SupernetConfig(predictor_networks=7)))
    assert changed(before, after) == {"report", "release"}  # which tell the whole configuration


def test_the_validation_images_count_where_the_training_sees_them() -> None:
    few, all_ = (keys(plan(supernet=SupernetConfig(method="enas", val_images=n))) for n in (100, None))
    assert few["supernet"] != all_["supernet"]


def test_other_settings_of_the_search_do_not_train_the_supernet_again() -> None:
    other = dataclasses.replace(SHARED, max_trials=99, target_latency_us=1.0, oracle="local_search", cost="macs")
    before, after = keys(plan()), keys(plan(other))
    assert before["supernet"] == after["supernet"] and before["search"] != after["search"]


def test_searched_resolutions_give_each_winner_images_of_its_own() -> None:
    search = dataclasses.replace(SHARED, num_winners=2)
    found = plan(search, supernet=SupernetConfig(resolutions=(20, 28)), compress=CompressConfig(recipes=("qat",)))
    for stage in found.stages:
        if stage.kind in ("float", "pass", "convert", "validate"):
            own = f"{stage.name.partition('.')[0]}.data"
            assert own in stage.inputs and "data" not in stage.inputs, stage.name
    assert found.stage("w1.data").inputs == ("data", "search")
    assert not [stage for stage in plan(search).stages if stage.kind == "images"]


def extraction(config: SearchConfig, arch: str = "") -> Plan:
    return plan(config, Extraction(arch, Path("log.jsonl"), SHARED))


def test_an_extraction_finds_the_supernet_that_was_trained_and_makes_all_else_anew() -> None:
    limited = dataclasses.replace(SHARED, max_macs=1e6, cost="macs", objective="accuracy")
    run, first, second = keys(plan()), keys(extraction(limited)), keys(extraction(limited, "some network"))
    assert changed(run, first) == set(run) - {"data", "supernet", "teacher"}
    assert changed(first, second) == set(run) - {"data", "supernet", "teacher"}
    assert extraction(limited).stage("search").kind == "extract"


def table(path: Path, median_us: float, space: str = "proxyless_small") -> str:
    block = BlockLatency("int8 1x1x1 x", median_us, median_us, median_us, 1)
    write_latency_table(path, LatencyTable(space, "int8", {}, "tool", "2026-01-31", (block,)))
    return str(path)


def test_a_latency_table_counts_where_the_training_weighs_it(tmp_path: Path) -> None:
    def trained(method: str, median_us: float) -> str:
        path = table(tmp_path / "table.json", median_us)
        search = dataclasses.replace(SHARED, space="proxyless_small", latency_table=path)
        return keys(plan(search, supernet=SupernetConfig(method=method)))["supernet"]

    assert trained("proxyless", 1.0) != trained("proxyless", 2.0)
    assert trained("sandwich", 1.0) == trained("sandwich", 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": ModelConfig(file="own.h5")},
            r"config\.search\.evaluator: 'supernet' .* with config\.model",
        ),
        (
            {"supernet": SupernetConfig(method="darts"), "search": dataclasses.replace(SHARED, num_winners=2)},
            r"config\.search\.num_winners: 2 is not legal; expected 1 with config\.supernet\.method = 'darts'",
        ),
        (
            {"supernet": SupernetConfig(method="proxyless"), "search": dataclasses.replace(SHARED, warm_start=3)},
            r"config\.search\.warm_start: 3 is not legal; expected 0 with config\.supernet\.method = 'proxyless'",
        ),
        (
            {"supernet": SupernetConfig(method="enas"), "search": SearchConfig(evaluator="supernet")},
            r"config\.search\.oracle with config\.supernet\.method = 'enas': 'bayesian' is not legal; expected one of",
        ),
        (
            {"supernet": SupernetConfig(resolutions=(20, 28)), "search": dataclasses.replace(SHARED, warm_start=3)},
            r"config\.search\.warm_start: 3 is not legal; expected 0 with config\.supernet\.resolutions",
        ),
        (
            {"supernet": SupernetConfig(resolutions=(28, 2000))},
            r"config\.supernet\.resolutions: 2000 is not legal; expected a number from 8 to 1024",
        ),
        (
            {"supernet": SupernetConfig(resolutions=(20, 28)), "distill": DistillConfig(features="attention")},
            r"config\.distill\.features: 'attention' is not legal; expected 'none' with config\.supernet\.resolutions",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        Config(**{"search": SHARED, **changes})
    Config(**{**changes, "search": SearchConfig()})  # without a supernet its settings do not matter


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"search.max_macs": 1e6},
            r"config\.search\.max_macs: 1000000\.0 is not legal; expected None with config\.supernet\.method = "
            r"'proxyless', which heeds config\.supernet\.latency_weight or target_latency_us",
        ),
        ({"search.max_params": 1e5}, r"config\.search\.max_params: 100000\.0 is not legal; expected None"),
        ({"search.max_peak_memory_bytes": 1e5}, r"config\.search\.max_peak_memory_bytes: 100000\.0 is not legal"),
        (
            {"supernet.target_latency_us": 90.0},
            r"config\.search\.latency_table: None is not legal; expected a table .* 'proxyless'",
        ),
    ],
)
def test_what_the_training_of_a_mixture_cannot_heed_is_refused(settings: dict[str, Any], message: str) -> None:
    config = default_config()
    config.search.evaluator = "supernet"
    config.supernet.method = "proxyless"
    config.update_from_flattened_dict(settings)
    with pytest.raises(UsageError, match=f"^{message}") as caught:
        validated(config)
    assert "\n" not in str(caught.value)
    config.search.evaluator = "train"
    config.supernet.target_latency_us = None
    validated(config)


def test_an_elastic_supernet_s_search_has_limits() -> None:
    check_mixture(Config(search=dataclasses.replace(SHARED, max_macs=1e6)))


@pytest.mark.parametrize("text", ["README.md", "docs/supernet.md", "configs/fashion_mnist_supernet.py"])
def test_the_budget_that_is_documented_can_be_met(text: str) -> None:
    words = (Path(__file__).parents[2] / text).read_text()
    (budget,) = re.findall(r"main extract [^`]*?--max_macs=(\S+)", words)
    space = searched_space("ofa_small", SupernetConfig(), 28, 10)
    assert cost(space.decode(smallest_genotype(space))).macs <= float(budget)


def test_features_of_a_teacher_that_is_not_there_do_not_matter() -> None:
    Config(
        search=SHARED,
        supernet=SupernetConfig(resolutions=(20, 28)),
        teacher=TeacherConfig(network=None),
        distill=DistillConfig(features="attention", teacher="self"),
    )


@pytest.mark.parametrize("change", [{"oracle": "hyperband", "max_trials": 50}, {"recipe": "{ptq,qat}"}])
def test_a_search_by_shared_weights_trains_nothing_more(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"with config\.search"):
        dataclasses.replace(SHARED, **change)


def test_the_section_can_be_written_in_a_configuration_file() -> None:
    config = default_config()
    config.search.evaluator = "supernet"
    config.supernet.resolutions = (20, 24, 28)
    config.supernet.val_images = 500
    found = validated(config)
    assert (found.supernet.resolutions, found.supernet.val_images) == ((20, 24, 28), 500)
