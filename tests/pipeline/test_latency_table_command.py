"""Command `latency_table`: what it refuses before it measures, what it hands on, what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from android_bench.session import MeasurementError
from android_bench.settings import BenchConfig
from core.errors import LitesmithError, UsageError
from pipeline import flag_table
from pipeline.call import Call
from pipeline.commands import latency_table
from pipeline.config import Config
from search.latency.table import BlockLatency, LatencyTable, Overhead, read_latency_table

TABLE = LatencyTable(
    "mobilenet_v2_small",
    "int8",
    {"name": "host", "verdict": "ok"},
    "planted 1.0",
    "2026-01-02",
    (BlockLatency("int8 32x32x3 stem", 10.0, 9.0, 11.0, 90),),
    Overhead(5.0, 1.25, 12, 0.02),
)


def call(flags: dict[str, Any], bench: BenchConfig | None = None, arguments: tuple[str, ...] = ()) -> Call:
    """A call with these flags."""

    def config() -> Config:
        return Config(bench=bench or BenchConfig())

    def workdir() -> Path:
        raise AssertionError("the command has no folder of a run")

    return Call(arguments, flags, config, workdir, has_config=True, has_workdir=False)


def legal(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Flags that are legal but for the changes."""
    flags = {"space": "mobilenet_v2_small", "target": "host", "out": str(tmp_path / "table.json")}
    return {name: value for name, value in {**flags, **changes}.items() if value is not None}


@pytest.fixture
def asked(monkeypatch):
    """Replaces the measuring; what it was asked."""
    found: list[tuple[Any, ...]] = []

    def build_table(space, scheme, target, config, folder, **options):
        found.append((space, scheme, target, config, folder, options))
        folder.mkdir()
        return TABLE

    monkeypatch.setattr(latency_table, "build_table", build_table)
    return found


def test_table_is_written_work_removed_and_use_told(tmp_path, asked, capsys):
    assert latency_table.run(call(legal(tmp_path))) == 0
    out = tmp_path / "table.json"
    assert read_latency_table(out) == TABLE
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
    printed = capsys.readouterr().out
    assert "1 blocks of mobilenet_v2_small in int8 on host: ok" in printed
    assert "5 us + 1.250 x the sum of its blocks; 12 networks measured whole differ from that by 2.0%" in printed
    assert f"--config.search.latency_table={out}" in printed
    assert "config.search.max_latency_us" in printed


def test_what_is_asked_reaches_the_measuring(tmp_path, asked):
    flags = legal(tmp_path, scheme="float32", resolution=64, num_classes=7, serial=["phone=123"])
    latency_table.run(call(flags, BenchConfig(processes=4)))
    ((space, scheme, target, config, folder, options),) = asked
    assert (space.name, scheme, target.name, config.processes) == ("mobilenet_v2_small", "float32", "host", 4)
    assert (space.template.resolution, space.template.num_classes) == (64, 7)
    assert folder == tmp_path / "table.json.work"
    assert options["connections"].serials == {"phone": "123"}
    assert options["seed"] == Config().seed


def test_defaults_are_int8_and_those_of_imagenet(tmp_path, asked):
    latency_table.run(call(legal(tmp_path)))
    ((space, scheme, *_),) = asked
    assert (scheme, space.template.resolution, space.template.num_classes) == ("full_integer", 224, 1000)


def test_folder_of_the_table_is_made(tmp_path, asked):
    latency_table.run(call(legal(tmp_path, out=str(tmp_path / "new" / "table.json"))))
    assert (tmp_path / "new" / "table.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": None}, "--space: missing; expected the name of a search space"),
        ({"space": "mobilenet_v9"}, "search space: 'mobilenet_v9' is not legal"),
        ({"target": None}, "--target: missing; expected the name of a target"),
        ({"target": "pixel99"}, "--target: 'pixel99' is not legal; expected one of"),
        ({"out": None}, "--out: missing; expected a file for the table"),
        ({"out": "."}, "--out: '.' is not legal; expected a file for the table, not a folder"),
        ({"out": "/dev/null/table.json"}, "--out: /dev/null cannot be made"),
        ({"scheme": "float16"}, "--scheme: 'float16' is not legal; expected one of float32, full_integer"),
        ({"resolution": 3}, "3"),
        ({"num_classes": 0}, "0"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, asked, changes, message):
    with pytest.raises(UsageError) as refused:
        latency_table.run(call(legal(tmp_path, **changes)))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not asked
    assert not list(tmp_path.iterdir())


def test_arguments_and_single_sessions_are_refused(tmp_path, asked):
    with pytest.raises(UsageError, match="latency_table: unexpected extra"):
        latency_table.run(call(legal(tmp_path), arguments=("extra",)))
    with pytest.raises(UsageError, match="processes: 1 is not legal; expected 2 or more for a table"):
        latency_table.run(call(legal(tmp_path), BenchConfig(processes=1)))
    assert not asked


def test_work_stays_if_measuring_fails(tmp_path, monkeypatch):
    def build_table(space, scheme, target, config, folder, **options):
        folder.mkdir()
        raise MeasurementError("the phone is gone")

    monkeypatch.setattr(latency_table, "build_table", build_table)
    with pytest.raises(LitesmithError, match="the phone is gone"):
        latency_table.run(call(legal(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["table.json.work"]


def test_flags_of_the_command():
    flag_table.check("latency_table", ("space", "target", "out", "scheme", "resolution", "num_classes", "serial"))
    with pytest.raises(UsageError, match="--models: latency_table does not take it"):
        flag_table.check("latency_table", ("models",))
    with pytest.raises(UsageError, match=r"^--workdir: latency_table does not take it; only run, .* release do$"):
        flag_table.check("latency_table", ("config", "workdir"))
