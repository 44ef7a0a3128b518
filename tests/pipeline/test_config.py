from __future__ import annotations

import pytest
from ml_collections import ConfigDict

from android_bench.settings import BenchConfig
from core.errors import UsageError
from core.spec_io import canonical_json, from_plain, to_plain
from core.values import Target
from pipeline.config import Config, default_config, validated
from pipeline.overrides import normalized, unset
from pipeline.release_config import ReleaseConfig


def test_the_defaults_are_legal_and_equal_the_values() -> None:
    assert validated(default_config()) == Config()


def test_the_keys_that_others_rely_on_are_there() -> None:
    config = default_config()
    keys = [
        "seed",
        "data.name",
        "search.space",
        "search.oracle",
        "search.max_trials",
        "search.epochs",
        "search.objective",
    ]
    keys += ["search.target_latency_us", "compress.recipes", "bench.targets", "release.name"]
    for key in keys:
        node = config
        for part in key.split("."):
            assert part in node, key
            node = node[part]


def test_an_unknown_key_in_a_config_file_is_an_error() -> None:
    with pytest.raises(AttributeError):
        default_config().search.spce = 1


def test_wrong_types_are_refused_by_name() -> None:
    config = ConfigDict({"search": {"max_trials": "many"}})
    with pytest.raises(UsageError, match=r"config\.search\.max_trials: 'many' has the wrong type; expected int"):
        validated(config)


def test_optional_keys_can_be_set_and_unset() -> None:
    config = default_config()
    config.data.resolution = 32
    config.search.train_images = 10
    unset(config, ["teacher.network", "search.train_images"])
    found = validated(config)
    assert (found.data.resolution, found.teacher.network, found.search.train_images) == (32, None, None)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--config.teacher.network=None", "--unset=teacher.network"),
        ("--config.data.resolution=none", "--unset=data.resolution"),
        ("--config.compress.recipes=ptq, prune:0.7+qat", "--config.compress.recipes=('ptq', 'prune:0.7+qat')"),
        ("--config.compress.recipes=('a',)", "--config.compress.recipes=('a',)"),
        ("--config.release.name=None", "--config.release.name=None"),  # a text, and not optional
        ("--config.seed=3", "--config.seed=3"),
        ("--workdir=a,b", "--workdir=a,b"),
        ("run", "run"),
    ],
)
def test_overrides_are_put_as_config_flags_reads_them(argument: str, expected: str) -> None:
    assert normalized([argument]) == [expected]


def test_the_search_measures_on_a_target_of_the_benchmark() -> None:
    config = default_config()
    config.bench.targets = ("host_cpu",)
    with pytest.raises(UsageError, match=r"config\.search\.target: 'host' .*host_cpu"):
        validated(config)


def test_own_targets_pass_through_a_configuration_file() -> None:
    config = default_config()
    config.bench.own = (Target("phone", kind="android"), {"name": "board", "kind": "ssh"})
    config.bench.targets = ("host", "phone", "board")
    checked = validated(config).bench
    assert checked.own == (Target("phone", kind="android"), Target("board", kind="ssh"))
    assert from_plain(BenchConfig, to_plain(checked)) == checked
    assert canonical_json(checked)
    config.bench.own = ({"name": "board", "sort": "ssh"},)
    with pytest.raises(UsageError, match=r"config\.bench\.own\[0\]\.sort: unknown key"):
        validated(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a/b"),
        ("channel", "Latest"),
        ("channel", ""),
        ("store", ""),
        ("sign_key", ""),
        ("golden_images", -1),
        ("android_package", "example"),
        ("android_package", "com.example.new"),
        ("android_package", "com.Example.app"),
        ("max_accuracy_loss", 1.5),
        ("max_size_growth", -0.1),
        ("max_latency_growth", float("nan")),
        ("allow_regression", "yes"),
    ],
)
def test_settings_of_a_release_are_checked(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^config\.release\.{key}: ") as caught:
        from_plain(ReleaseConfig, {key: value}, "config.release")
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)
