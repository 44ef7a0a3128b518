"""Targets as values: files, targets of a configuration, which combinations are legal, whose threads and cores count."""

from __future__ import annotations

import os

import pytest

from android_bench import settings
from android_bench.runners import RUNNERS
from android_bench.settings import (
    DELEGATES,
    LEGACY_DELEGATES,
    LEGAL_DELEGATES,
    TARGETS,
    TOOLS,
    BenchConfig,
    check_target,
)
from android_bench.target_files import KEYS, read_target
from android_bench.targets import resolve_target
from core.errors import UsageError
from core.values import Target

USABLE = tuple(sorted(os.sched_getaffinity(0)))


def target_file(folder, text, name="board"):
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_a_file_is_a_target(tmp_path):
    text = (
        'kind = "ssh"\nabi = "aarch64"\ndelegate = "gpu"\ntool = "benchmark_model"\ncpu_mask = [2, 3]\nnum_threads = 2'
    )
    assert read_target(target_file(tmp_path, text)) == Target(
        "board", "ssh", "aarch64", 2, (2, 3), "gpu", "benchmark_model"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = ", "board.toml: not a TOML file: "),
        ("\x00", "board.toml: not a TOML file: "),
        ('threads = 2\nkind = "host"', f"board.toml: threads = 2: unknown key; legal keys are {', '.join(KEYS)}"),
        ('name = "x"', "board.toml: name = 'x': unknown key; legal keys are kind, "),
        ('kind = "toaster"', "board.toml: target.kind: 'toaster' is not legal; expected one of android, host, ssh"),
        ("num_threads = 0", "board.toml: target.num_threads: 0 is not legal; expected a number from 1, or no num_thr"),
        ("num_threads = true", "board.toml: target.num_threads: True has the wrong type; expected int"),
        ("num_threads = 300", "board.toml: target.num_threads: 300 is not legal; expected a number from 0 to 256"),
        ("cpu_mask = 3", "board.toml: target.cpu_mask: 3 has the wrong type; expected a list"),
        ('cpu_mask = ["a"]', "board.toml: target.cpu_mask[0]: 'a' has the wrong type; expected int"),
        ("cpu_mask = [1, 1]", "board.toml: target.cpu_mask: (1, 1) is not legal; expected core numbers, none twice"),
        (
            "cpu_mask = [1]\nnum_threads = 2",
            "board.toml: target.cpu_mask: (1,) is not legal; expected (), or at least 2",
        ),
        ('kind = "android"\ncores = "huge"', "board.toml: target.cores: 'huge' is not legal; expected one of big, "),
        (
            'kind = "android"\ncores = "big"\ncpu_mask = [1]',
            "board.toml: target.cpu_mask: (1,) is not legal; expected ()",
        ),
        ('kind = "host"\ncores = "big"', "board.toml: target.cores: 'big' is not legal; expected '' on host"),
        (
            'kind = "android"\nabi = "arm64"',
            "board.toml: target.abi: 'arm64' is not legal; expected one of arm64-v8a, ",
        ),
        (
            'kind = "android"\ntool = "interpreter"',
            "board.toml: target.tool: 'interpreter' is not legal; expected one of benchmark_apk, benchmark_model",
        ),
        (
            'delegate = "gpu"',
            "board.toml: target.delegate: 'gpu' is not legal with tool 'interpreter' on host; expected one of cpu, x",
        ),
        (
            'kind = "ssh"\ndelegate = "nnapi"',
            "board.toml: target.delegate: 'nnapi' is not legal with tool 'interpreter' on ssh; expected one of c",
        ),
    ],
)
def test_a_bad_file_is_one_line_with_file_key_and_legal_values(tmp_path, text, message):
    with pytest.raises(UsageError) as caught:
        read_target(target_file(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.toml: cannot be read \(No such file"):
        read_target(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match=r"target\.name: 'my phone' is not legal; expected letters, digits"):
        read_target(target_file(tmp_path, 'kind = "android"', "my phone"))
    with pytest.raises(UsageError, match=r"target\.name: 'host' is not legal; expected a file's name other than those"):
        read_target(target_file(tmp_path, "", "host"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: not a TOML file"):
        read_target(tmp_path / "bytes.toml")


@pytest.mark.parametrize("path", sorted(settings.TARGET_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_example_files_are_targets(path):
    if path.stem == "host_compiled_2" and len(USABLE) < 2:
        pytest.skip("needs 2 cores")
    target = resolve_target(path.stem, BenchConfig(targets=(path.stem,)))
    assert target.name == path.stem and target.num_threads >= 1


def test_the_three_sources_of_names(tmp_path):
    path = str(target_file(tmp_path, 'kind = "ssh"'))
    own = Target("mine", kind="android", num_threads=3, cores="big")
    config = BenchConfig(targets=("host_compiled", "mine", "pixel3", path), own=(own,))
    found = [resolve_target(name, config) for name in config.targets]
    assert [target.name for target in found] == ["host_compiled", "mine", "pixel3", "board"]
    assert found[1] == own
    assert (found[0].tool, found[0].kind) == ("compiled_model", "host")


def test_threads_are_the_targets_own_else_the_configurations(tmp_path):
    path = str(target_file(tmp_path, 'kind = "ssh"'))
    config = BenchConfig(
        targets=(path,), num_threads=2, own=(Target("one", "ssh"), Target("free", "ssh", num_threads=0))
    )
    assert resolve_target(path, config).num_threads == 2
    assert resolve_target("one", config).num_threads == 1
    assert resolve_target("free", config).num_threads == 2


def test_cores_of_the_configuration_are_this_computers():
    own = (Target("phone", "android"), Target("mine", cpu_mask=USABLE[-1:]))
    config = BenchConfig(cpu_mask=USABLE[:1], own=own)
    assert resolve_target("phone", config).cpu_mask == ()
    assert resolve_target("mine", config).cpu_mask == USABLE[-1:]
    assert resolve_target("host", config).cpu_mask == USABLE[:1]


def test_threads_of_the_configuration_must_fit_the_targets_cores():
    config = BenchConfig(num_threads=3, own=(Target("phone", "android", num_threads=0, cpu_mask=(4, 5)),))
    with pytest.raises(
        UsageError, match=r"config\.bench\.num_threads: 3 is not legal; expected at most 2, the cores \("
    ):
        resolve_target("phone", config)
    absent = Target("mine", cpu_mask=(max(USABLE) + 1,))
    with pytest.raises(UsageError, match=r"cpu_mask of target mine: \(\d+,\) is not legal"):
        resolve_target("mine", BenchConfig(own=(absent,)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"own": (Target("host"),)}, "config.bench.own[0].name: 'host' is not legal; expected a name that no other"),
        ({"own": (Target("a"), Target("a"))}, "config.bench.own[1].name: 'a' is not legal"),
        ({"own": (Target("a/b"),)}, "config.bench.own[0].name: 'a/b' is not legal; expected letters"),
        ({"own": (Target("a", kind="ssh", delegate="gpu"),)}, "config.bench.own[0].delegate: 'gpu' is not legal with"),
        ({"targets": ("x/pixel3.toml", "pixel3")}, "config.bench.targets: ('x/pixel3.toml', 'pixel3') is not legal"),
        ({"retries": -1}, "config.bench.retries: -1 is not legal"),
        ({"max_cool_down_seconds": -1.0}, "config.bench.max_cool_down_seconds: -1.0 is not legal"),
    ],
)
def test_bad_configurations(values, message):
    with pytest.raises(UsageError) as caught:
        BenchConfig(**values)
    assert str(caught.value).startswith(message)


def test_tables_agree():
    assert set(TOOLS) == set(RUNNERS)
    assert set(LEGAL_DELEGATES) == {(kind, tool) for kind, tools in TOOLS.items() for tool in tools}
    assert all(set(legal) <= set(DELEGATES) for legal in LEGAL_DELEGATES.values())
    assert set(LEGACY_DELEGATES) < set(DELEGATES)
    for name, target in TARGETS.items():
        check_target(target, name)
