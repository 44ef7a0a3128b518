from __future__ import annotations

import dataclasses

from compress.recipe import CompressConfig
from core.spec_io import content_id, to_plain
from pipeline.config import Config, TeacherConfig
from pipeline.plan import COMMANDS, VERSIONS, make_plan, tool_versions
from search.settings import SearchConfig


def _plan(**changes: object):  # type: ignore[no-untyped-def]
    return make_plan(dataclasses.replace(Config(), **changes), "fingerprint")


def _keys(plan) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {stage.name: stage.key for stage in plan.stages}


def test_inputs_come_before_the_stages_that_read_them() -> None:
    seen: set[str] = set()
    for stage in _plan().stages:
        assert set(stage.inputs) <= seen
        seen.add(stage.name)


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
    params = {"search": {name: plain[name] for name in names}, "seed": 1, "bench": Config().bench}
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
