"""Wordings of other builds, the APK's log, units, delegates and failures, in short outputs of our own."""

from __future__ import annotations

import pytest

from android_bench.tool.parse import parse_output
from android_bench.tool.timings import read_timing
from android_bench.tool.values import DelegateUse, Timing, ToolFailure
from tests.android_bench.tool_logs import LITERT, OLD, RECENT

NEW_LAST = "INFO: Inference timings in us: Init: 12500, First inference: 300, Warmup (avg): 200, Inference (avg): 115"


def failure(stdout: str, code: int | None = 0, stderr: str = "") -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        parse_output(stdout, stderr, code)
    assert "\n" not in str(caught.value)
    return caught.value


def test_recent_build() -> None:
    result = parse_output(RECENT, "", 0)
    assert result.runs == Timing(
        count=4,
        first_us=100,
        current_us=130,
        min_us=100,
        max_us=130,
        avg_us=115,
        std_us=11,
        p5_us=100,
        median_us=120,
        p95_us=130,
    )
    assert (result.init_us, result.first_inference_us) == (12500.0, 300.0)
    assert (result.model_size_bytes, result.peak_memory_bytes) == (1_250_000, 20 * 2**20)
    assert (result.init_memory_bytes, result.overall_memory_bytes) == (2.5 * 2**20, 4 * 2**20)


def test_old_build_without_levels_and_percentiles() -> None:
    result = parse_output(OLD, "", 0)
    assert result.runs == Timing(
        count=50, first_us=137789, current_us=137254, min_us=137079, max_us=143416, avg_us=137722, std_us=896
    )
    assert result.runs.median_us is None
    assert (result.init_us, result.warmup_avg_us, result.first_inference_us) == (4452.0, 146161.0, 146161.0)
    assert result.delegates_asked == ()


@pytest.mark.parametrize(
    "last",
    [
        "Average inference timings in us: Warmup: 200, Init: 12500, no stats: 115",
        "Average inference timings in us: Warmup: 200, Init: 12500, Inference: 115",
        "Inference timings in us: Init: 12500, First inference: 300, Warmup (avg): 2e+02, Inference (avg): 1.15e2",
    ],
)
def test_wordings_of_the_last_line(last: str) -> None:
    known = parse_output(RECENT, "", 0)
    for text in (last, f"INFO: {last}"):
        assert parse_output(RECENT.replace(NEW_LAST, text), "", 0) == known


@pytest.mark.parametrize(
    ("text", "timing"),
    [
        ("count=1 curr=7", Timing(count=1, avg_us=7, first_us=7, current_us=7, min_us=7, max_us=7, std_us=0)),
        ("count=9 curr=4(all same)", Timing(count=9, avg_us=4, first_us=4, current_us=4, min_us=4, max_us=4, std_us=0)),
        ("count=0", None),
        ("count=0 p5=0 median=0 p95=0", None),
    ],
)
def test_short_timing_lines(text: str, timing: Timing | None) -> None:
    assert read_timing(text) == timing


@pytest.mark.parametrize(
    "text",
    [
        "count=2 curr=7",
        "count=-1 curr=7",
        "count=1 curr=nan",
        "count=1 curr=7 curr=8",
        "count=1 curr=٧",  # a digit, but not one that the tool prints
        "count=1 curr=7us",
        "count=2 first=3 curr=2 min=1 max=3 avg=4 std=1",
        "count=2 first=9 curr=2 min=1 max=3 avg=2 std=1",
        "count=2 first=3 curr=2 min=1 max=3 avg=2 std=7",
        "count=2 first=3 curr=2 min=1 max=3 avg=2 std=1 p5=1 median=9 p95=3",
        "count=2 first=3 curr=2 min=1 max=3 avg=2",
        "count=2 first=3 curr=2 min=1 max=3 avg=2 std=1 mode=2",
    ],
)
def test_damaged_timing_lines_are_shown(text: str) -> None:
    with pytest.raises(ToolFailure) as caught:
        read_timing(text)
    assert caught.value.kind == "unreadable" and text.split()[-1] in str(caught.value)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("Inference timings in us", "Inference timings in ms"),
        ("Inference timings in us", "Inference timings in seconds"),
        ("session in 12.5ms", "session in 12.5s"),
        ("session in 12.5ms", "session in 12.5us"),
        ("session in 12.5ms", "session in 12.5"),
        ("size (MB)", "size (KB)"),
        ("tool (MB)", "tool (KB)"),
        ("footprint (MB)", "footprint (GB)"),
        ("[avg ms]", "[avg us]"),
        ("[mem KB]", "[mem MB]"),
        ("(microseconds)", "(milliseconds)"),
        ("first=100 curr=130 min=100 max=130 avg=115", "first=100ms curr=130ms min=100ms max=130ms avg=115ms"),
        # The same figures in another unit than the last line, which says us.
        (
            "count=4 first=100 curr=130 min=100 max=130 avg=115 std=11 p5=100 median=120 p95=130",
            "count=4 first=.1 curr=.13 min=.1 max=.13 avg=.115 std=.011 p5=.1 median=.12 p95=.13",
        ),
        (
            "count=4 first=100 curr=130 min=100 max=130 avg=115 std=11 p5=100 median=120 p95=130",
            "count=4 first=0.1 curr=0.13 min=0.1 max=0.13 avg=0.115 std=0.011 p5=0.1 median=0.12 p95=0.13",
        ),
        ("Init: 12500", "Init: 12.5"),
        ("First inference: 300", "First inference: 301"),
    ],
)
def test_other_units_are_refused(known: str, other: str) -> None:
    assert known in RECENT
    assert failure(RECENT.replace(known, other)).kind == "unreadable"


@pytest.mark.parametrize("prefix", ["11-21 18:33:07.123  1234  1234 I tflite  : ", "I/tflite  ( 1234): "])
def test_apk_log(prefix: str) -> None:
    last = "Average inference timings in us: Warmup: 91471, Init: 4108, Inference: 80660.1Overall max resident = 9 MB"
    result = parse_output(f"--------- beginning of main\n{prefix}{last}\n", "", None)
    assert (result.init_us, result.warmup_avg_us, result.inference_avg_us) == (4108.0, 91471.0, 80660.1)
    assert (result.runs, result.warmup) == (None, None)
    assert "no line says" in parse_output(f"{prefix}{last}", "", None, "gpu").fell_back
    whole = "".join(f"{prefix}{line.partition(': ')[2] or line}\n" for line in RECENT.splitlines()[:17])
    assert parse_output(whole, "", None).runs == parse_output(RECENT, "", 0).runs


def test_apk_log_without_figures() -> None:
    assert failure("E/libc ( 77): Fatal signal 6 (SIGABRT), code -6", None).kind == "crashed"
    assert failure("I/tflite ( 77): STARTING!", None).kind == "truncated"
    assert failure("E/tflite ( 77): Benchmarking failed.", None).kind == "failed"
    missing = "E/tflite ( 77): Could not open 'a.tflite'."
    assert failure(missing, None).kind == "no model"


def test_memory_wordings() -> None:
    line = "INFO: Memory footprint delta from the start of the tool (MB): init=2.5 overall=4"
    peak = parse_output(RECENT.replace(line, "Peak memory footprint (MB): init=1.5 overall=3"), "", 0)
    assert (peak.memory_kind, peak.init_memory_bytes, peak.overall_memory_bytes) == ("peak", 3 * 2**19, 3 * 2**20)
    unknown = parse_output(RECENT.replace(line, "Peak memory footprint (MB): init=0 overall=0"), "", 0)
    assert (unknown.memory_kind, unknown.overall_memory_bytes) == ("", None)
    assert failure(RECENT.replace(line, f"{line}\n{line}9")).kind == "unreadable"


APPLIED = next(line for line in RECENT.splitlines() if "Explicitly applied" in line)
REPLACED = next(line for line in RECENT.splitlines() if "Replacing" in line)


def test_an_applied_delegate() -> None:
    result = parse_output(RECENT, "", 0)
    gpu = DelegateUse(name="TfLiteGpuDelegateV2", nodes_replaced=7, nodes_total=8, partitions=2)
    assert (result.delegates_asked, result.delegates, result.fell_back) == (("gpu",), (gpu,), "")
    for text in (RECENT.replace(APPLIED, ""), RECENT.replace(REPLACED, "")):
        assert parse_output(text, "", 0).fell_back == "", "either line is evidence"


@pytest.mark.parametrize(
    ("replacing", "total"),
    [
        ("INFO: Replacing 7 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions.", None),
        (
            "VERBOSE: Replacing 7 out of 8 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions "
            "for the whole graph.",
            8,
        ),
    ],
)
def test_older_wordings_of_a_replacement(replacing: str, total: int | None) -> None:
    gpu = DelegateUse(name="TfLiteGpuDelegateV2", nodes_replaced=7, nodes_total=total, partitions=2)
    result = parse_output(RECENT.replace(APPLIED, "").replace(REPLACED, replacing), "", 0)
    assert (result.delegates, result.fell_back) == ((gpu,), "")


@pytest.mark.parametrize(
    ("applied", "replaced", "reason"),
    [
        ("", "", "no line says that the gpu delegate took the model"),
        (
            "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
            "",
            "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
        ),
        (
            "WARN: GPU acceleration is unsupported on this platform.",
            "",
            "GPU acceleration is unsupported on this platform.",
        ),
        (
            "",
            f"{REPLACED}\nERROR: Restored original execution plan after delegate application failure.",
            "Restored original execution plan after delegate application failure.",
        ),
        (
            "",
            "VERBOSE: Replacing 8 out of 8 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions "
            "for subgraph 0.",
            "no line says that the gpu delegate took the model",
        ),
        ("", REPLACED.replace("7 out", "0 out"), "no line says that the gpu delegate took the model"),
    ],
)
def test_a_delegate_that_fell_back(applied: str, replaced: str, reason: str) -> None:
    assert parse_output(RECENT.replace(APPLIED, applied).replace(REPLACED, replaced), "", 0).fell_back == reason


@pytest.mark.parametrize(
    "echo", ["Use NNAPI: [1]", "Use nnapi : [1]", "Use legacy nnapi : [1]", "External delegate path: [/d/lib.so]"]
)
def test_wordings_of_a_delegate_that_was_asked_for(echo: str) -> None:
    assert parse_output(OLD.replace("Use nnapi : [0]", echo), "", 0).fell_back.startswith("no line says")


def test_an_external_delegate_has_any_kernel() -> None:
    text = OLD.replace("Use nnapi : [0]", "External delegate path: [/data/libvx.so]")
    kernel = "Replacing 3 node(s) with delegate (Vx Delegate) node, yielding 1 partitions."
    assert parse_output(text, kernel, 0).fell_back == ""
    assert parse_output(text, kernel.replace("Vx Delegate", "TfLiteXNNPackDelegate"), 0).fell_back


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (137, "killed", "SIGKILL"),
        (-9, "killed", "SIGKILL"),
        (143, "killed", "SIGTERM"),
        (139, "crashed", "SIGSEGV"),
        (-11, "crashed", "SIGSEGV"),
        (134, "crashed", "SIGABRT"),
        (132, "crashed", "SIGILL"),  # a build for a newer processor
        (255, "failed", "exit code 255"),
        (3, "failed", "exit code 3"),
    ],
)
def test_exit_codes(code: int, kind: str, words: str) -> None:
    stages = {5: "it prepared the model", 8: "after the initialization", 9: "in the warm-up", 12: "in the runs"}
    lines = RECENT.splitlines()
    for end, stage in stages.items():
        error = failure("\n".join(lines[:end]), code)
        assert error.kind == kind and words in str(error)
        assert kind == "failed" or (stage in str(error) and "gpu" in str(error))
    assert failure(RECENT, code).kind == kind, "an exit code counts, whatever was printed before"


@pytest.mark.parametrize(
    ("stderr", "code", "kind"),
    [
        ("/system/bin/sh: ./benchmark_model: not found", 127, "no tool"),
        ("/system/bin/sh: ./benchmark_model: inaccessible or not found", 127, "no tool"),
        ("/system/bin/sh: ./benchmark_model: can't execute: Permission denied", 126, "no tool"),
        ("bash: line 1: litert-benchmark: command not found", 127, "no tool"),
        ("taskset: failed to execute ./benchmark_model: No such file or directory", 127, "no tool"),
        ('CANNOT LINK EXECUTABLE "./benchmark_model": library "libc++_shared.so" not found', 1, "no tool"),
        ("./benchmark_model: cannot execute binary file: Exec format error", 126, "no tool"),
        ("", 127, "no tool"),
        ("write: No space left on device", 1, "no space"),
        ("ERROR: Encountered unresolved custom op: Foo.\nERROR: Benchmarking failed.", 1, "unsupported operator"),
        (
            "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '9'.\nERROR: Benchmarking failed.",
            1,
            "unsupported operator",
        ),
        ("ERROR: Failed to allocate tensors!\nERROR: Benchmarking failed.", 1, "failed"),
    ],
)
def test_other_failures(stderr: str, code: int, kind: str) -> None:
    error = failure("", code, stderr)
    assert error.kind == kind
    assert not stderr or max(stderr.splitlines()[0].removeprefix("ERROR: ").split(), key=len) in str(error)


def test_a_failure_with_exit_code_0_is_one() -> None:
    """adb of old clients ends with 0 whatever the tool did."""
    assert failure("", 0, "ERROR: Failed to allocate tensors!\nERROR: Benchmarking failed.").kind == "failed"
    assert failure("", 0, "/system/bin/sh: ./benchmark_model: not found").kind == "no tool"


def test_truncated_output() -> None:
    lines = RECENT.splitlines(keepends=True)
    whole = parse_output(RECENT, "", 0)
    last = next(index for index, line in enumerate(lines) if "Inference timings in us" in line)
    for end in range(last):
        assert failure("".join(lines[:end])).kind == "truncated"
    tables = range(last + 5, next(index for index, line in enumerate(lines) if "nodes observed" in line))
    for end in tables:
        assert failure("".join(lines[:end])).kind == "truncated"
    assert parse_output("".join(lines[: last + 1]), "", 0).runs == whole.runs
    assert "it is empty" in str(failure(""))


def test_two_runs_in_one_text_are_refused() -> None:
    assert failure(OLD + RECENT).kind == "unreadable"
    assert failure(OLD + OLD).kind == "unreadable"
    assert failure(LITERT + LITERT).kind == "unreadable"


def test_a_long_line_is_shortened() -> None:
    text = RECENT.replace("count=4", "count=" + "4" * 10_000 + "\x1b[31m")
    assert len(str(failure(text))) < 400 and "\x1b" not in str(failure(text))
