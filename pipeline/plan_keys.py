"""What of a stage's settings is in its key: all that decides what the stage computes, and nothing else.

Settings that came after a stage's first version are in the key only where they are used: what was computed before is
then found again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from android_bench.settings import TARGETS, BenchConfig, target_stem
from android_bench.targets import described_target
from compress.recipe import CompressConfig, structured_rates
from core.errors import UsageError, bad_value
from core.spec_io import to_plain
from core.values import file_sha256
from pipeline.config import Config
from pipeline.release_config import PUBLICATION, ReleaseConfig
from search.latency.table import read_latency_table
from search.oracles.past import read_log
from search.settings import SUPERNET, SearchConfig
from search.supernet.settings import (
    DARTS,
    ELASTIC_METHODS,
    ENAS,
    MIXED_METHODS,
    PROGRESSIVE,
    PROXYLESS,
    SANDWICH,
    SINGLE_PATH,
    SupernetConfig,
)

# Settings of the search that came after version 1: at their defaults the search does what it did before, and they are
# not in its key. The number of workers never is: like the computer, it says how the trials are evaluated and not which
# search it is, so that a search can go on with more or fewer of them.
LATER_SEARCH_SETTINGS = (
    *("cost_weight", "objectives", "max_macs", "max_params", "max_peak_memory_bytes"),
    *("past_logs", "evaluator", "proxy", "warm_start", "proxy_pool", "recipe", "recipe_epochs"),
    *("max_latency_us", "latency_table"),
)

# Settings that say how a figure is come by, and not which one it is; targets are in the key as they are described.
UNKEYED_BENCH_SETTINGS = ("own", "max_cool_down_seconds", "retries")

# Settings of weight sharing that say what is done with the trained weights.
SPECIALIZATION_SETTINGS = ("predictor_networks", "fine_tune_epochs", "fine_tune_learning_rate")
BLIND_METHODS = (PROGRESSIVE, SANDWICH, SINGLE_PATH)  # whose training sees no validation images
UNCALIBRATED_METHODS = (SANDWICH, SINGLE_PATH, ENAS)  # whose training computes no batch-norm statistics of a network
# Settings of weight sharing that these methods alone read.
SETTINGS_BY_METHOD = {
    "full_epochs": (PROGRESSIVE,),
    "distill_alpha": (PROGRESSIVE, SANDWICH),
    "temperature": (PROGRESSIVE, SANDWICH),
    "networks_per_step": ELASTIC_METHODS,
    "controller_steps": (ENAS,),
    "second_order": (DARTS,),
    "target_latency_us": (PROXYLESS,),
    "latency_weight": MIXED_METHODS,
    "architecture_learning_rate": MIXED_METHODS,
    "warmup_share": MIXED_METHODS,
}


def keyed_search(search: SearchConfig) -> dict[str, Any]:
    """The settings that decide what the search finds."""
    plain: dict[str, Any] = to_plain(search)
    del plain["num_workers"]
    defaults = to_plain(SearchConfig())
    for name in LATER_SEARCH_SETTINGS:
        if plain[name] == defaults[name]:
            del plain[name]
    if search.past_logs:
        plain["past_logs"] = [_log_sha256(path, search.space) for path in search.past_logs]
    if search.latency_table is not None:
        plain["latency_table"] = _table_sha256(search.latency_table, search.space)
    return plain


def _log_sha256(path: str, space_name: str) -> str:
    """Also reads the log: the search would find it wrong too, but only when it begins."""
    if not Path(path).is_file():
        raise bad_value("config.search.past_logs", path, "the trial log of an earlier search (trials.jsonl)")
    try:
        read_log(Path(path), space_name)
    except UsageError as error:
        raise UsageError(f"config.search.past_logs: {error}") from error
    return file_sha256(path)


def keyed_rates(compress: CompressConfig) -> dict[str, Any]:
    """What recipes that a search finds take of `structured_latency_table`; those planned have it in their passes."""
    rates = structured_rates(compress)
    return {} if rates is None else {"rates": rates}


def _table_sha256(path: str, space_name: str) -> str:
    """Also reads the table, which must be one of the space."""
    where = "config.search.latency_table"
    try:
        table = read_latency_table(Path(path))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if table.space != space_name:
        raise bad_value(where, path, f"a table of the space {space_name}; this one is of {table.space}")
    return file_sha256(path)


def keyed_bench(bench: BenchConfig) -> dict[str, Any]:
    """What a measurement depends on; of a target that is described in a file, that file's content."""
    plain: dict[str, Any] = to_plain(bench)
    for name in UNKEYED_BENCH_SETTINGS:
        del plain[name]
    if not plain["profile"]:  # as before there were profiles
        del plain["profile"]
    plain["targets"] = [target_stem(name) for name in bench.targets]
    described = [described_target(name, bench) for name in bench.targets]
    own = [target for target in described if target != TARGETS.get(target.name)]
    return {"bench": plain, **({"described": own} if own else {})}


def keyed_metadata(release: ReleaseConfig) -> dict[str, Any]:
    """What of a release's settings is in a model's metadata, as in the first version."""
    return {"name": release.name, "metadata": release.metadata}


def keyed_config(config: Config) -> dict[str, Any]:
    """A whole configuration, as a report or a release tells it, but for where that is published."""
    plain: dict[str, Any] = to_plain(config)
    for name in PUBLICATION:
        del plain["release"][name]
    if config.search.evaluator != SUPERNET:
        del plain["supernet"]
    return plain


def keyed_training(supernet: SupernetConfig, search: SearchConfig) -> dict[str, Any]:
    """What decides the shared weights. The figures that are told of them say on how many images they were taken."""
    plain = keyed_judging(supernet)
    if supernet.method in BLIND_METHODS:
        del plain["val_images"]
    if supernet.method in UNCALIBRATED_METHODS:
        del plain["recalibration_images"]
    keyed = {"supernet": plain, "space": search.space}
    if supernet.method in MIXED_METHODS and search.latency_table is not None:  # it weighs the expected latency
        keyed["latency_table"] = _table_sha256(search.latency_table, search.space)
    return keyed


def keyed_judging(supernet: SupernetConfig) -> dict[str, Any]:
    """What decides how good a network is by shared weights."""
    plain: dict[str, Any] = to_plain(supernet)
    unread = [name for name, methods in SETTINGS_BY_METHOD.items() if supernet.method not in methods]
    for name in (*SPECIALIZATION_SETTINGS, *unread):
        del plain[name]
    return plain


def keyed_fine_tuning(supernet: SupernetConfig) -> dict[str, Any]:
    """What decides how a network out of the supernet is trained further."""
    used = ("recalibration_images", "fine_tune_epochs", "fine_tune_learning_rate")
    return {name: getattr(supernet, name) for name in used}
