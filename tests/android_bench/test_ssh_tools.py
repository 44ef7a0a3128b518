"""From a benchmark tool's words on a board to sessions and errors, and how long litert-benchmark runs. No ssh here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from android_bench.session import FELL_BACK, NOISY, MeasurementError, SessionPlan
from android_bench.ssh.failures import explain
from android_bench.ssh.find import machines_of
from android_bench.ssh.tools import fitted, pinned
from android_bench.tool.sessions import failure_on, op_times, tool_session
from android_bench.tool.values import DelegateUse, OpProfile, OpTime, Timing, ToolFailure, ToolResult
from core.errors import UsageError
from core.values import OpTime as ReportedTime

MODEL = Path("m.tflite")


def result(median_us: float | None = 400.0, resolution_us: float = 1.0, **changes: object) -> ToolResult:
    runs = Timing(count=20, avg_us=410.0, min_us=390.0, max_us=500.0, median_us=median_us, p95_us=450.0)
    facts = {"tool": "benchmark_model", "runs": runs, "warmup": None, "resolution_us": resolution_us, "init_us": None}
    return ToolResult(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_tool_with_a_median() -> None:
    session = tool_session(result(init_us=1234.4), 0)
    assert session.summary is not None and session.durations_ns == () and session.concerns == ()
    assert (session.summary.median_us, session.summary.mean_us, session.summary.center) == (400.0, 410.0, "median")
    assert (session.summary.runs, session.summary.p95_us, session.conditions["init_us"]) == (20, 450.0, "1234")


def test_a_build_without_a_median_says_mean() -> None:
    summary = tool_session(result(median_us=None), 0).summary
    assert summary is not None and (summary.median_us, summary.center) == (410.0, "mean")


def test_fall_back_and_coarse_figures_are_concerns() -> None:
    session = tool_session(result(median_us=20.0, resolution_us=10.0, fell_back="no GPU"), 0)
    assert [concern.kind for concern in session.concerns] == [FELL_BACK, NOISY]
    assert "rounds to 10 us, which is +-25% here" in session.concerns[1].reason
    assert tool_session(result(median_us=400.0, resolution_us=10.0), 0).concerns == ()


def test_memory_is_named_by_what_it_is() -> None:
    grown = tool_session(result(overall_memory_bytes=5_000, memory_kind="delta"), 0)
    assert (grown.peak_memory_bytes, grown.conditions["memory"]) == (5_000, "growth since the tool's start")
    assert tool_session(result(overall_memory_bytes=5_000, memory_kind="delta"), 7).peak_memory_bytes == 7


def test_delegates_are_told() -> None:
    use = DelegateUse(name="TfLiteXNNPackDelegate", nodes_replaced=9, nodes_total=10, partitions=2)
    assert (
        tool_session(result(delegates=(use,)), 0).conditions["delegates"] == "TfLiteXNNPackDelegate 9 nodes in 2 parts"
    )


def _op(node_type: str, avg_us: float) -> OpTime:
    zero = {"first_us": 0.0, "percent": 0.0, "cdf_percent": 0.0, "memory_kb": 0.0, "times_called": 1}
    return OpTime(node_type=node_type, name="n", avg_us=avg_us, **zero)  # type: ignore[arg-type]


def test_the_inside_of_a_delegate_stands_in_its_place() -> None:
    ops = (_op("TfLiteXNNPackDelegate", 75.0), _op("SOFTMAX", 25.0))
    whole = ReportedTime("TfLiteXNNPackDelegate", "n", 75.0, 0.75, "TfLiteXNNPackDelegate")
    softmax = ReportedTime("SOFTMAX", "n", 25.0, 0.25)
    assert op_times(OpProfile(ops=ops, by_node_type=())) == (whole, softmax)
    inside = OpProfile(ops=ops, by_node_type=(), delegate_ops=(_op("Convolution (NHWC, F32) IGEMM", 50.0),))
    convolution = ReportedTime("Convolution (NHWC, F32) IGEMM", "n", 50.0, 0.5, "TfLiteXNNPackDelegate")
    assert op_times(inside) == (softmax, convolution)


def test_operators_inside_a_delegate_are_told_by_their_names() -> None:
    convolution = replace(_op("CONV", 75.0), name="Delegate/CONV:0")
    profile = OpProfile(ops=(convolution, _op("ADD", 25.0)), by_node_type=())
    assert op_times(profile, "TfLiteXNNPackDelegate") == (
        ReportedTime("CONV", "CONV:0", 75.0, 0.75, "TfLiteXNNPackDelegate"),
        ReportedTime("ADD", "n", 25.0, 0.25),
    )
    assert op_times(profile)[0].delegate == "delegate"


def test_a_refused_model_is_the_users() -> None:
    error = failure_on("target pi (h)", MODEL, ToolFailure("not a model", "the file is not a model"))
    assert isinstance(error, UsageError)
    assert str(error) == "target pi (h): m.tflite: the file is not a model"
    killed = failure_on("target pi (h)", MODEL, ToolFailure("killed", "the tool was killed (SIGKILL)"))
    assert isinstance(killed, MeasurementError)


@pytest.mark.parametrize(
    ("run_us", "runs", "warmup_runs"),
    [
        (1_000.0, 500, 20),  # 0.5 s are 500 runs of 1 ms
        (100_000.0, 200, 20),  # the plan's runs reach its 0.5 s
        (1e6, 60, 20),  # 60 s are up before
        (1e9, 1, 1),  # a run of 1000 s
        (0.0, 200, 20),  # not known
    ],
)
def test_runs_that_fill_the_plan(run_us: float, runs: int, warmup_runs: int) -> None:
    found = fitted(SessionPlan(warmup_runs=20, runs=200, min_seconds=0.5, max_seconds=60.0), run_us)
    assert (found.runs, found.warmup_runs) == (runs, warmup_runs)


def test_pinning() -> None:
    assert pinned(()) == ()
    assert pinned((4, 5)) == ("taskset", "30")


@pytest.mark.parametrize(
    ("stderr", "reason", "transient"),
    [
        ("ssh: Could not resolve hostname pi: Name or service not known", "unknown host", False),
        (
            "ssh: connect to host pi port 22: Connection refused",
            "connection refused: no ssh server on that port",
            False,
        ),
        ("ssh: connect to host pi port 22: Connection timed out", "no answer in time", True),
        ("ssh: connect to host pi port 22: No route to host", "no route to the host", True),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "its host key is not",
            False,
        ),
        ("No ED25519 host key is known\nHost key verification failed.", "its host key is not in known_hosts", False),
        ("pi@h: Permission denied (publickey).", "permission denied: no key that it accepts", False),
        ("kex_exchange_identification: read: Connection reset by peer", "the connection was reset", True),
        ("something new", "ssh failed [something new]", True),
        ("", "the connection dropped", True),
    ],
)
def test_what_ssh_says(stderr: str, reason: str, transient: bool) -> None:
    failure = explain(stderr)
    assert failure.reason.startswith(reason) and failure.transient is transient
    assert "\n" not in failure.reason


def test_the_processor_of_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little"))
    assert machines_of(program) == ("aarch64",)
    program.write_bytes(b"\x7fELF" + bytes(14) + (40).to_bytes(2, "little"))
    assert "aarch64" in machines_of(program)
    program.write_text("#!/bin/sh\n")
    assert machines_of(program) == ()
