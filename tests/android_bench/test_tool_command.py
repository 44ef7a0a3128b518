"""Command lines: the flags exist, a real shell gives back the same arguments, delegates are asked for explicitly."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from android_bench.session import SessionPlan
from android_bench.tool.command import (
    DELEGATES,
    LITERT_DELEGATES,
    BenchmarkCommand,
    LitertCommand,
    taskset_mask,
)
from core.errors import UsageError
from tests.android_bench.tool_logs import recorded

PLAN = SessionPlan(warmup_runs=20, runs=200, min_seconds=0.3, max_seconds=60.0)
NASTY = "/data/local/tmp/a b'c\"$(reboot);`id`\\n\n&&*.tflite"


def command(**settings: object) -> BenchmarkCommand:
    usual: dict[str, object] = {"tool_path": "/d/benchmark_model", "model_path": "/d/net.tflite", "plan": PLAN}
    return BenchmarkCommand(**usual | settings)


def flags_of(arguments: tuple[str, ...]) -> dict[str, str]:
    named = [argument.partition("=") for argument in arguments if argument.startswith("--")]
    assert len({name for name, _, _ in named}) == len(named), "no flag twice"
    return {name: value for name, _, value in named}


def test_plain_command() -> None:
    assert command(num_threads=4).argv() == (
        "/d/benchmark_model",
        "--graph=/d/net.tflite",
        "--num_threads=4",
        "--use_xnnpack=true",
        "--warmup_runs=20",
        "--warmup_min_secs=0",
        "--num_runs=200",
        "--min_secs=0.3",
        "--max_secs=60",
    )


def test_profile_memory_and_cores() -> None:
    everything = command(
        op_profile_path="/d/p.pb",
        runtime_info_path="/d/r.pb",
        peak_memory=True,
        cpu_mask=(4, 5),
        extra_flags=("--x=1",),
    )
    assert everything.argv()[:2] == ("taskset", "30")
    flags = flags_of(everything.argv())
    assert flags["--op_profiling_output_mode"] == "proto" and flags["--op_profiling_output_file"] == "/d/p.pb"
    assert flags["--enable_op_profiling"] == flags["--export_model_runtime_info"] == "true"
    assert flags["--model_runtime_info_output_file"] == "/d/r.pb"
    assert flags["--report_peak_memory_footprint"] == "true"
    assert everything.argv()[-1] == "--x=1"
    assert not {"--enable_op_profiling", "--report_peak_memory_footprint"} & set(flags_of(command().argv()))


@pytest.mark.parametrize("delegate", DELEGATES)
def test_each_delegate_is_asked_for(delegate: str) -> None:
    flags = flags_of(command(delegate=delegate).argv())
    asked = {name: value for name, value in flags.items() if name.startswith("--use_")}
    assert asked == ({"--use_xnnpack": "false"} if delegate == "cpu" else {f"--use_{delegate}": "true"})
    required = "--require_full_delegation" in flags
    assert required == (delegate in ("gpu", "nnapi", "hexagon"))
    assert "--require_full_delegation" not in flags_of(command(delegate=delegate, require_full_delegation=False).argv())


def test_every_flag_is_one_of_the_tool() -> None:
    _, usage, _ = recorded("59_help")
    known = set(re.findall(r"^\t(--\w+)=", usage, re.MULTILINE))
    assert len(known) > 50
    for delegate in DELEGATES:
        everything = command(delegate=delegate, op_profile_path="p", runtime_info_path="r", peak_memory=True)
        assert set(flags_of(everything.argv())) <= known


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.1, 60.0, 1e6])
def test_seconds_are_plain_decimals(seconds: float) -> None:
    plan = SessionPlan(warmup_runs=0, runs=1, min_seconds=seconds)
    text = flags_of(command(plan=plan).argv())["--min_secs"]
    assert float(text) == seconds and set(text) <= set("0123456789.")


def arguments_by_sh(line: str) -> list[str]:
    """What a real sh makes of a line: each argument, ended by a NUL."""
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_a_shell_gives_back_the_same_arguments() -> None:
    nasty = command(model_path=NASTY, cpu_mask=(0, 7))
    assert tuple(arguments_by_sh(nasty.shell_line())) == nasty.argv()
    litert = LitertCommand(NASTY, PLAN, result_json_path="/tmp/x y.json")
    assert tuple(arguments_by_sh(litert.shell_line())) == litert.argv()


def test_apk() -> None:
    apk = command(delegate="gpu")
    assert apk.apk_argv()[:-1] == (
        "am",
        "start",
        "-S",
        "-n",
        "org.tensorflow.lite.tools.benchmark/.BenchmarkModelActivity",
        "--es",
        "args",
    )
    assert tuple(apk.apk_argv()[-1].split()) == apk.argv()[1:]
    assert tuple(arguments_by_sh(apk.apk_shell_line())) == apk.apk_argv()
    assert shlex.split(apk.apk_shell_line())[-1].startswith("--graph=/d/net.tflite --num_threads=1")
    quoted = command(model_path="/d/$x'.tflite")
    assert tuple(arguments_by_sh(quoted.apk_shell_line())) == quoted.apk_argv()
    with pytest.raises(UsageError, match="white space"):
        command(model_path="/d/a b.tflite").apk_argv()


@pytest.mark.parametrize(
    ("delegate", "flags"),
    [
        ("xnnpack", ()),
        ("gpu", ("--use_gpu", "--require_full_delegation")),
        ("npu", ("--use_npu", "--require_full_delegation")),
    ],
)
def test_litert(delegate: str, flags: tuple[str, ...]) -> None:
    assert delegate in LITERT_DELEGATES
    assert LitertCommand("/d/net.tflite", PLAN, num_threads=2, delegate=delegate).argv() == (
        "litert-benchmark",
        "--model=/d/net.tflite",
        "--num_threads=2",
        *flags,
        "--warmup_runs=20",
        "--num_runs=200",
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: command(delegate="edgetpu"), "'edgetpu'"),
        (lambda: command(num_threads=0), "threads"),
        (lambda: LitertCommand("m", PLAN, delegate="cpu"), "'cpu'"),
        (lambda: LitertCommand("m", SessionPlan(warmup_runs=0, runs=0, min_seconds=0)), "runs"),
    ],
)
def test_settings_that_the_tools_do_not_have(make, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize(("cores", "mask"), [((0,), "1"), ((4, 5, 6, 7), "f0"), ((3, 3), "8"), ((40,), "10000000000")])
def test_taskset_masks(cores: tuple[int, ...], mask: str) -> None:
    assert taskset_mask(cores) == mask
