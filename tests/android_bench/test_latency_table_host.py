"""Latency tables on this computer: real conversions, real processes, no judgement of their figures."""

from __future__ import annotations

import os

import pytest

from android_bench.latency_table.batch_worker import undisturbed
from android_bench.latency_table.build import build_table
from android_bench.latency_table.meters import File, HostMeter
from android_bench.session import MeasurementError, SessionPlan
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.latency.reachable import distinct_blocks
from search.space import SearchSpace

CONFIG = BenchConfig(processes=2, warmup_runs=1, runs=5)
PLAN = SessionPlan(warmup_runs=1, runs=6, min_seconds=0.0, max_seconds=60.0)


def space() -> SearchSpace:
    """Two networks of four different blocks, one of which can follow itself."""
    first = BlockSpec("ir", stride=2, expand_ratio=2, out_channels=8)
    stage = StageSpec((first, BlockSpec("ir", expand_ratio=2, out_channels=8)), OneOf((1, 2)))
    return SearchSpace("tiny", ArchSpec(8, (stage,), 16, 1.0, 32, 10))


@pytest.mark.parametrize("scheme", ["full_integer", "float32"])
def test_table_of_a_tiny_space(tmp_path, scheme):
    target = resolve_target("host", CONFIG)
    table = build_table(space(), scheme, target, CONFIG, tmp_path, whole_networks=2)
    keys = distinct_blocks(space(), table.data_type)
    assert [block.key for block in table.blocks] == [key.text for key in keys]
    assert not table.missing(keys)
    assert "Interpreter" in table.tool
    assert table.target["host_cpu"]
    assert table.overhead.networks == 2
    files = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert len(files) == len(keys) + 1 + 2  # one of the blocks twice, and two networks
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    again = build_table(space(), scheme, target, CONFIG, tmp_path, whole_networks=2)
    assert again.blocks == table.blocks
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_every_model_of_a_batch_is_timed(tiny_models):
    names = ("small", "large", "medium")
    meter = HostMeter(resolve_target("host", CONFIG), PLAN)
    timings = meter.time([File(tiny_models[name], name) for name in names], seed=1)
    by_name = dict(zip(names, timings, strict=True))
    # Their MACs differ by a factor of 20 and more; medians in one process keep that order on any machine.
    assert by_name["small"].median_us < by_name["medium"].median_us < by_name["large"].median_us
    assert all(5 <= timing.runs <= 6 for timing in timings)


def test_compiled_model_is_timed_too(tiny_models):
    meter = HostMeter(resolve_target("host_compiled", CONFIG), PLAN)
    (timing,) = meter.time([File(tiny_models["small_uint8"], "small")], seed=1)
    assert timing.median_us > 0


def test_model_that_cannot_be_loaded_is_named(tmp_path, tiny_models):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0\0\0\0TFL3" + b"\0" * 40)
    files = [File(tiny_models["small"], "small"), File(broken, "int8 8x8x8 ir")]
    with pytest.raises(UsageError, match=r"LiteRT cannot load this model.*int8 8x8x8 ir"):
        HostMeter(resolve_target("host", CONFIG), PLAN).time(files, seed=1)


def test_model_without_xnnpack_where_it_was_asked_for_is_refused(monkeypatch, tiny_models):
    meter = HostMeter(resolve_target("host", CONFIG), PLAN)
    answer = {"durations_ns": [[1000] * 5], "delegate_partitions": [0]}
    monkeypatch.setattr(HostMeter, "_answer", lambda self, request: answer)
    with pytest.raises(MeasurementError, match="small: host: fell back to CPU: XNNPACK took no part of it"):
        meter.time([File(tiny_models["small"], "small")], seed=1)


def test_workers_die_with_their_parent_and_say_so(monkeypatch, tiny_models):
    meter = HostMeter(resolve_target("host", CONFIG), PLAN)
    monkeypatch.setattr(os, "getpid", lambda: 1)  # another process than the worker's parent
    with pytest.raises(MeasurementError, match="1 models: the process that measured it on host gave no answer"):
        meter.time([File(tiny_models["small"], "small")], seed=1)


def test_interrupted_runs_do_not_count_unless_there_are_few_others():
    quiet, away = [100, 101, 102, 103, 104], 1_000_000
    assert undisturbed([*quiet, 5000], [0, 0, 300, 0, 0, away]) == quiet
    assert sorted(undisturbed([*quiet[:4], 5000, 9000], [0] * 4 + [away, 2 * away])) == [*quiet[:4], 5000]
    assert undisturbed([7], [away]) == [7]
