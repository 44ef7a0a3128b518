from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from android_bench.settings import BenchConfig
from compress.distill_config import DistillConfig
from compress.recipe import CompressConfig
from core.errors import UsageError
from core.spec_io import content_id, to_plain
from pipeline.config import Config, ModelConfig, TeacherConfig
from pipeline.plan import COMMANDS, VERSIONS, Plan, make_plan
from pipeline.planner import tool_versions
from search.grammar import to_text
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from search.named import space
from search.settings import SearchConfig
from search.trials import OK, Trial, TrialLog


def _plan(**changes: object):  # type: ignore[no-untyped-def]
    return make_plan(dataclasses.replace(Config(), **changes), "fingerprint")


def _keys(plan) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {stage.name: stage.key for stage in plan.stages}


def test_inputs_come_before_the_stages_that_read_them() -> None:
    seen: set[str] = set()
    for stage in _plan().stages:
        assert set(stage.inputs) <= seen
        seen.add(stage.name)


def test_the_search_comes_before_the_training_of_the_teacher() -> None:
    """Limits that no network keeps end the run there: not after minutes of training."""
    assert [stage.name for stage in _plan().stages[:4]] == ["data", "search", "teacher", "w0.float"]


def test_a_teacher_file_is_checked_before_the_search() -> None:
    plan = _plan(teacher=TeacherConfig(file="teacher.h5"))
    assert [stage.name for stage in plan.stages[:4]] == ["data", "teacher", "search", "w0.float"]


def test_a_joint_search_ends_in_recipes_that_it_finds() -> None:
    joint = SearchConfig(recipe="prune:{none,0.5}+{ptq,qat}", num_winners=2)
    plan = _plan(search=joint, compress=CompressConfig(recipes=()))
    assert [a.name for a in plan.artifacts] == ["w0.float.float32", "w0.found", "w1.float.float32", "w1.found"]
    assert "search" in plan.stage("w1.found").inputs
    keys = _keys(plan)
    other = _keys(_plan(search=joint, compress=CompressConfig(recipes=(), number_of_clusters=8)))
    assert keys["search"] != other["search"]  # its trials were compressed with other settings


def test_rounds_have_short_names_and_near_recipes_are_told_apart_or_refused() -> None:
    plan = _plan(compress=CompressConfig(recipes=("structured:0.5+ptq",), structured_rounds=20))
    assert plan.artifacts[-1].node == "w0.structured0.965936x20"
    both = _plan(compress=CompressConfig(recipes=("structured:0.5+ptq", "structured:0.5004+ptq")))
    assert len({artifact.name for artifact in both.artifacts if artifact.recipe}) == 3
    with pytest.raises(UsageError, match="differ too little"):
        _plan(compress=CompressConfig(recipes=("structured:0.5+ptq", "structured:0.50000001+ptq")))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{none,prune}+{none,ptq}", "a recipe that is never empty"),
        ("cluster:{none,16}+prune:{none,0.5}+ptq", "'prune' cannot come after 'cluster'"),
        ("share+{ptq,qat}", "'qat' cannot come after 'share'"),
        ("prune:{none,1.5}+ptq", "prune:1.5"),
    ],
)
def test_an_illegal_recipe_of_a_joint_search_is_refused_at_once(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=r"^config.search.recipe: ") as caught:
        Config(search=SearchConfig(recipe=text))
    assert named in str(caught.value)


def test_a_model_of_the_users_takes_the_place_of_search_and_teacher() -> None:
    plan = _plan(model=ModelConfig(file="own.h5"), distill=DistillConfig(teacher="self"))
    assert [stage.name for stage in plan.stages[:3]] == ["data", "w0.float", "w0.qat"]
    assert plan.stage("w0.float").kind == "own_model"
    assert plan.stage("w0.prune0.5-cluster16").inputs == ("data", "w0.prune0.5", "w0.float")  # its teacher
    moved = make_plan(dataclasses.replace(Config(), model=ModelConfig(file="elsewhere.h5")), "f", "", "same")
    here = make_plan(dataclasses.replace(Config(), model=ModelConfig(file="own.h5")), "f", "", "same")
    assert _keys(moved)["w0.float"] == _keys(here)["w0.float"] != _keys(plan)["w0.float"]


def _with_log(path: Path) -> Plan:
    return _plan(search=SearchConfig(oracle="transfer", space="mobilenet_v2_small", past_logs=(str(path),)))


def _write_log(path: Path, count: int, arch_id: str = "") -> Path:
    named, random, log = space("mobilenet_v2_small", 28, 10), np.random.default_rng(0), TrialLog(path)
    for index in range(count):
        genotype = tuple(int(random.integers(len(gene.choices))) for gene in named.genes)
        arch = named.decode(genotype)
        identity = arch_id or content_id(arch)
        log.append(Trial(index, str(index), genotype, to_text(arch), identity, 1, 0, OK, index / count))
    return path


def test_past_logs_are_read_before_anything_runs(tmp_path: Path) -> None:
    wrong = tmp_path / "page.md"
    wrong.write_text("# A page\n")
    refused = {
        tmp_path / "nowhere.jsonl": r"nowhere.jsonl' is not legal; expected the trial log",
        wrong: r"page.md: not a trial log \(",
        _write_log(tmp_path / "other.jsonl", 6, "0" * 16): "trial 0 is of another space than mobilenet_v2_small",
        _write_log(tmp_path / "few.jsonl", 1): "expected at least 5 trials",
    }
    for path, message in refused.items():
        with pytest.raises(UsageError, match=f"^config.search.past_logs: .*{message}") as caught:
            _with_log(path)
        assert "\n" not in str(caught.value)


def test_the_key_of_a_search_is_of_its_past_logs_contents(tmp_path: Path) -> None:
    logs = [_write_log(tmp_path / f"{number}.jsonl", count) for number, count in enumerate((6, 6, 7))]
    first, same, other = (_keys(_with_log(path))["search"] for path in logs)
    assert first == same != other


def test_a_setting_changes_the_keys_of_what_depends_on_it_only() -> None:
    before = _keys(_plan())
    after = _keys(_plan(compress=CompressConfig(final_sparsity=0.6)))
    assert before["data"] == after["data"]
    assert before["search"] == after["search"]
    assert before["w0.qat"] == after["w0.qat"]
    assert "w0.prune0.5" in before and "w0.prune0.6" in after
    assert before["release"] != after["release"]


def test_settings_that_came_later_change_the_key_of_searches_that_use_them_only() -> None:
    """What an earlier version has searched is found again."""
    first = (
        "space oracle max_trials epochs batch_size learning_rate train_images objective cost target target_latency_us"
    )
    names = [*first.split(), "target_macs", "num_winners"]
    plain = to_plain(SearchConfig())
    measuring = ("targets", "num_threads", "cpu_mask", "processes", "warmup_runs", "runs", "min_seconds")
    bench = {"bench": {name: to_plain(Config().bench)[name] for name in measuring}}
    params = {"search": {name: plain[name] for name in names}, "seed": 1, "bench": bench}
    as_before = content_id(("search", VERSIONS["search"], tool_versions(), params, [_keys(_plan())["data"]]), length=12)
    assert _keys(_plan())["search"] == as_before
    for change in ({"num_workers": 4}, {"objectives": ("macs min", "params min"), "num_workers": 1}):
        same = _keys(_plan(search=SearchConfig(**change)))["search"] == as_before  # type: ignore[arg-type]
        assert same == ("objectives" not in change)
    others = ({"max_macs": 1e6}, {"max_params": 1e6}, {"objective": "weighted"}, {"cost_weight": 0.2})
    keys = {_keys(_plan(search=SearchConfig(**change)))["search"] for change in others}  # type: ignore[arg-type]
    assert len(keys | {as_before}) == 5


def test_other_data_changes_every_key() -> None:
    before, after = _keys(_plan()), _keys(make_plan(Config(), "other"))
    assert before.keys() == after.keys()
    assert not any(before[name] == after[name] for name in before)


def test_recipes_that_begin_alike_share_their_passes() -> None:
    plan = _plan(compress=CompressConfig(recipes=("prune+ptq", "prune+qat", "pcqat")))
    passes = [stage.name for stage in plan.stages if stage.kind == "pass"]
    assert passes == ["w0.prune0.5", "w0.prune0.5-qat", "w0.prune0.5-cluster16", "w0.prune0.5-cluster16-qat"]


def test_every_recipe_and_the_float32_parent_are_released_once() -> None:
    plan = _plan(compress=CompressConfig(recipes=("float32", "ptq", "prune", "prune+ptq")))
    released = [(artifact.recipe, artifact.scheme) for artifact in plan.artifacts if artifact.recipe]
    assert released == [
        ("float32", "float32"),
        ("ptq", "full_integer"),
        ("prune", "float32"),
        ("prune+ptq", "full_integer"),
    ]


def test_each_winner_has_its_own_artifacts() -> None:
    plan = _plan(search=SearchConfig(num_winners=2))
    assert {artifact.winner for artifact in plan.artifacts} == {0, 1}
    assert len({artifact.name for artifact in plan.artifacts}) == len(plan.artifacts)


def test_without_a_teacher_nothing_depends_on_one() -> None:
    plan = _plan(teacher=TeacherConfig(network=None))
    assert "teacher" not in _keys(plan)
    assert not any("teacher" in stage.inputs for stage in plan.stages)


def test_a_command_runs_everything_that_its_stages_read() -> None:
    plan = _plan()
    assert set().union(*COMMANDS.values()) == set(VERSIONS)
    for command in COMMANDS:
        names = {stage.name for stage in plan.for_command(command)}
        for stage in plan.for_command(command):
            assert set(stage.inputs) <= names, (command, stage.name)


def test_features_of_a_teacher_need_a_teacher() -> None:
    features = DistillConfig(features="attention")
    assert Config(distill=features).distill == features
    assert Config(distill=dataclasses.replace(features, teacher="self"), teacher=TeacherConfig(network=None))
    for changes in ({"teacher": TeacherConfig(network=None)}, {"model": ModelConfig(file="own.h5")}):
        with pytest.raises(UsageError, match=r"^config\.distill\.features: 'attention'"):
            Config(distill=features, **changes)


def _table(path: Path, space_name: str, median_us: float) -> SearchConfig:
    block = BlockLatency("int8 1x1x1 x", median_us, median_us, median_us, 1)
    write_latency_table(path, LatencyTable(space_name, "int8", {}, "tool", "2026-01-31", (block,)))
    return SearchConfig(latency_table=str(path))


def test_a_search_depends_on_what_its_latency_table_holds(tmp_path: Path) -> None:
    first = _keys(_plan(search=_table(tmp_path / "a.json", "mobilenet_v2_small", 1.0)))["search"]
    assert _keys(_plan(search=_table(tmp_path / "b.json", "mobilenet_v2_small", 1.0)))["search"] == first
    assert _keys(_plan(search=_table(tmp_path / "a.json", "mobilenet_v2_small", 2.0)))["search"] != first
    with pytest.raises(UsageError, match=r"^config\.search\.latency_table: .* this one is of mnasnet"):
        _plan(search=_table(tmp_path / "c.json", "mnasnet", 1.0))
    with pytest.raises(UsageError, match=r"config\.search\.latency_table: .*nowhere"):
        _plan(search=SearchConfig(latency_table="nowhere.json"))


def test_a_measurement_depends_on_what_its_target_s_file_says(tmp_path: Path) -> None:
    path = tmp_path / "phone.toml"

    def key(text: str, **settings: object) -> str:
        path.write_text(text)
        keys = _keys(_plan(bench=BenchConfig(targets=("host", str(path)), **settings)))  # type: ignore[arg-type]
        return next(keys[name] for name in keys if name.endswith(".bench.phone"))

    first = key('kind = "android"')
    assert key('kind = "android"  # the same') == first
    assert key('kind = "android"\ncores = "big"') != first
    assert key('kind = "android"', retries=3) == first
    assert key('kind = "android"', runs=3) != first
