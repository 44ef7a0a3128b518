"""litert-benchmark: its block and its JSON file, recorded, of our own, and of the real tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from android_bench.session import SessionPlan
from android_bench.tool.command import LitertCommand
from android_bench.tool.litert import parse_litert_block, parse_litert_json
from android_bench.tool.parse import parse_output
from android_bench.tool.values import Timing, ToolFailure
from tests.android_bench.tool_logs import LITERT, LITERT_JSON, recorded

TOOL = Path(sys.executable).with_name("litert-benchmark")


def test_recorded_block() -> None:
    result = parse_output(*recorded("62_litert-benchmark-python-x86"))
    assert result.runs == Timing(count=20, avg_us=20, min_us=20, max_us=30, median_us=20, std_us=0, p5_us=20, p95_us=20)
    assert result.warmup == Timing(count=5, avg_us=30, first_us=80)
    assert (result.init_us, result.first_inference_us, result.inference_avg_us) == (1150.0, 80.0, 20.0)
    assert (result.tool, result.resolution_us, result.fully_accelerated) == ("litert", 10.0, True)
    assert (result.delegates_asked, result.fell_back) == ((), "")


def test_own_block_and_json_say_the_same() -> None:
    block, document = parse_litert_block(LITERT), parse_litert_json(LITERT_JSON)
    assert block == document
    assert block.runs == Timing(
        count=10, avg_us=2100, min_us=2000, max_us=2400, median_us=2080, std_us=120, p5_us=2010, p95_us=2350
    )
    assert parse_output("", LITERT, 0) == block


@pytest.mark.parametrize(
    ("known", "other", "kind"),
    [
        ("2.08 ms", "2080 us", "unreadable"),
        ("2.08 ms", "2.08", "unreadable"),
        ("2.08 ms", "2.08 s", "unreadable"),
        ("2.08 ms", "nan ms", "unreadable"),
        ("2.08 ms", "-2.08 ms", "unreadable"),
        ("2.08 ms", "9.08 ms", "unreadable"),
        ("(median)", "(mode)", "unreadable"),
        ("(10 runs)", "(0 runs)", "unreadable"),
        ("2.10 ms (10 runs)", "2.10 ms", "unreadable"),
        ("Inference (avg):       2.10 ms (10 runs)\n", "", "truncated"),
        (" BENCHMARK RESULTS", " RESULTS", "truncated"),
    ],
)
def test_damaged_blocks(known: str, other: str, kind: str) -> None:
    assert known in LITERT
    with pytest.raises(ToolFailure) as caught:
        parse_litert_block(LITERT.replace(known, other))
    assert caught.value.kind == kind


def test_a_latency_below_the_resolution_is_no_figure() -> None:
    text = LITERT
    for figure in ("2.10", "2.00", "2.40", "2.08", "0.12", "2.01", "2.35"):
        text = text.replace(f"{figure} ms", "0.00 ms")
    with pytest.raises(ToolFailure, match="below what the tool can show"):
        parse_litert_block(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"latency": 3}',
        "[" * 100_000,
        LITERT_JSON.replace("2.08", "NaN"),
        LITERT_JSON.replace("2.08", '"2.08"'),
        LITERT_JSON.replace("2.08", "-2.08"),
        LITERT_JSON.replace("2.08", "1e400"),
        LITERT_JSON.replace("2.08", "9"),
        LITERT_JSON.replace("median_ms", "median_us"),
        LITERT_JSON.replace('"num_runs": 10', '"num_runs": 10.5'),
        LITERT_JSON.replace('["CPU"]', '"CPU"'),
        LITERT_JSON.replace('["CPU"]', '["TPU"]'),
        LITERT_JSON.replace("true", "1"),
    ],
)
def test_other_json(text: str) -> None:
    with pytest.raises(ToolFailure):
        parse_litert_json(text)


@pytest.mark.parametrize("accelerator", ["GPU", "NPU"])
def test_an_accelerator_beside_the_cpu_may_have_fallen_back(accelerator: str) -> None:
    both, alone = f"{accelerator} | CPU", accelerator
    assert parse_litert_block(LITERT.replace("    CPU", f"    {both}")).fell_back.startswith("no line says")
    assert parse_litert_block(LITERT.replace("    CPU", f"    {alone}")).fell_back == ""
    assert parse_litert_json(LITERT_JSON.replace('"CPU"', f'"{accelerator}", "CPU"')).fell_back
    assert parse_litert_json(LITERT_JSON.replace('"CPU"', f'"{accelerator}"')).fell_back == ""


def test_an_accelerator_that_is_not_there() -> None:
    missing = "NPU accelerator could not be loaded and registered: kLiteRtStatusErrorNotFound."
    text = f"WARNING: [npu_registry.cc:34] {missing}\n" + LITERT.replace("    CPU", "    NPU | CPU")
    assert parse_litert_block(text).fell_back == missing


def run(command: LitertCommand) -> tuple[str, str, int]:
    done = subprocess.run(command.argv(), capture_output=True, text=True, check=False)
    return done.stdout, done.stderr, done.returncode


def test_the_real_tool(shared_model, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    command = LitertCommand(
        str(shared_model("vww_96_int8.tflite")),
        SessionPlan(warmup_runs=2, runs=5, min_seconds=0.0),
        tool_path=str(TOOL),
        result_json_path=str(path),
    )
    result = parse_output(*run(command))
    saved = parse_litert_json(path.read_text())
    assert result.runs and result.runs.count == 5 and result.warmup and result.warmup.count == 2
    assert (saved.runs, saved.warmup, saved.init_us) == (result.runs, result.warmup, result.init_us)
    assert result.runs.median_us == pytest.approx(json.loads(path.read_text())["latency"]["median_ms"] * 1000)


@pytest.mark.parametrize(
    ("model", "flags", "kind", "words"),
    [
        ("missing.tflite", (), "no model", "missing.tflite"),
        ("broken.tflite", (), "not a model", "Failed to build flatbuffer model"),
        ("broken.tflite", ("--num_runs=abc",), "bad flag", "'abc'"),
        ("broken.tflite", ("--no_such_flag",), "bad flag", "--no_such_flag"),
    ],
)
def test_failures_of_the_real_tool(tmp_path: Path, model: str, flags: tuple[str, ...], kind: str, words: str) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"hello\n")
    plan = SessionPlan(warmup_runs=0, runs=1, min_seconds=0.0)
    command = LitertCommand(str(tmp_path / model), plan, tool_path=str(TOOL), extra_flags=flags)
    with pytest.raises(ToolFailure) as caught:
        parse_output(*run(command))
    assert caught.value.kind == kind and words in str(caught.value)


def test_python_errors_of_the_tool() -> None:
    """Tracebacks as the tool ended with when recorded: the last error and its cause."""
    gpu = (
        "ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found\n"
        "Traceback (most recent call last):\n  File ...\nRuntimeError: ERROR: [./litert/cc/x.h:1961]\n"
    )
    npu = (
        "RuntimeError: ERROR: [./litert/cc/litert_compiled_model.h:1961]\n"
        "└ Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation accelerator set to allow it.\n"
    )
    signature = '2026-01-02 03:04:05 ERROR benchmark_litert_model: Signature "x" not found.\n'
    other = "Traceback (most recent call last):\nstatistics.StatisticsError: mean requires at least one data point\n"
    expected = {
        gpu: ("delegate refused", "No adapters found"),
        npu: ("delegate refused", "Some ops are not accelerated"),
        signature: ("wrong input", '"x"'),
        other: ("failed", "mean requires at least one data point"),
    }
    for stderr, (kind, words) in expected.items():
        with pytest.raises(ToolFailure) as caught:
            parse_output("", stderr, 1)
        assert caught.value.kind == kind and words in str(caught.value)
