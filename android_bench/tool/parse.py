"""The output of a benchmark tool as values: benchmark_model in any build, also as an APK, and LiteRT's tool.

Either a ToolResult, all of whose figures have a known unit and agree with each other, or ToolFailure with the reason.
Nothing is guessed: of a line that begins like one of the tool's, every part must be known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from android_bench.tool.delegates import asked_delegates, delegate_uses, fall_back
from android_bench.tool.failures import check_exit, missing_figures
from android_bench.tool.lines import LogLine, at_most_one, memory_bytes, model_bytes, read_lines, shorten, unreadable
from android_bench.tool.litert import has_litert_block, read_litert_block, shown
from android_bench.tool.profile_table import read_op_profile
from android_bench.tool.timings import Summary, check_against, check_init, read_summary, read_timing
from android_bench.tool.values import Timing, ToolFailure, ToolResult

_MODEL_SIZE = re.compile(r"The input model file size \((.*?)\): (\S+)")
_FOOTPRINT = re.compile(
    r"(Peak memory footprint|Memory footprint delta from the start of the tool) \((.*?)\): init=(\S+) overall=(\S+)"
)
_PEAK = re.compile(r"Overall peak memory footprint \((.*?)\) via periodic monitoring: (\S+)")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags:(.*)")


@dataclass(frozen=True, slots=True)
class _Footprint:
    kind: Literal["", "peak", "delta"] = ""
    init_bytes: int | None = None
    overall_bytes: int | None = None


def parse_output(
    stdout: str, stderr: str, exit_code: int | None, delegate: str = "", *, exact_elsewhere: bool = False
) -> ToolResult:
    """What one run of benchmark_model or litert-benchmark said. Either text may hold everything.

    `exit_code` is the shell's (137) or subprocess's (-9); None if it is not known, as with the APK, whose output is the
    text of `adb logcat` (of its process alone). `delegate` (cpu, xnnpack, gpu, nnapi, hexagon, npu) is the one that was
    asked for; with "" it is what the log's echo of the flags says. With `exact_elsewhere` litert-benchmark's latencies,
    which it rounds, may be 0. Raises ToolFailure.
    """
    lines = read_lines(stdout) + read_lines(stderr)
    asked = asked_delegates(lines, delegate)
    check_exit(lines, exit_code, asked)
    if has_litert_block(lines):
        result = read_litert_block(lines, delegate)
        return result if exact_elsewhere else shown(result)
    summary = read_summary(lines)
    if summary is None:
        raise missing_figures(lines, exit_code)
    warmup, runs = _timings(lines, summary, exit_code)
    return _result(lines, summary, warmup, runs, asked)


def _timings(
    lines: tuple[LogLine, ...], summary: Summary, exit_code: int | None
) -> tuple[Timing | None, Timing | None]:
    """The warm-up's and the runs' timing; the APK's log has none."""
    texts = [line.text for line in lines if line.text.startswith("count=")]
    if not texts and exit_code is None:
        return None, None
    if len(texts) != 2:
        text = f"the output has {len(texts)} lines with count=, not two (warm-up and runs)"
        raise ToolFailure("truncated" if len(texts) < 2 else "unreadable", text)
    warmup, runs = (read_timing(text) for text in texts)
    if warmup and runs and (warmup.median_us is None) != (runs.median_us is None):
        raise unreadable("only one of two lines with count= has percentiles, so that the other is cut", texts[0])
    check_against(summary, warmup, runs)
    return warmup, runs


def _result(
    lines: tuple[LogLine, ...],
    summary: Summary,
    warmup: Timing | None,
    runs: Timing | None,
    asked: tuple[str, ...],
) -> ToolResult:
    check_init(lines, summary.init_us)
    footprint = _footprint(lines)
    return ToolResult(
        tool="benchmark_model",
        resolution_us=1.0,
        runs=runs,
        warmup=warmup,
        init_us=summary.init_us,
        first_inference_us=summary.first_us or (warmup.first_us if warmup else None),
        warmup_avg_us=summary.warmup_us or None,
        inference_avg_us=summary.inference_us or None,
        model_size_bytes=_size(lines, _MODEL_SIZE, model_bytes, "The input model file size"),
        init_memory_bytes=footprint.init_bytes,
        overall_memory_bytes=footprint.overall_bytes,
        memory_kind=footprint.kind,
        peak_memory_bytes=_size(lines, _PEAK, memory_bytes, "Overall peak memory footprint"),
        profile=read_op_profile(lines),
        delegates_asked=asked,
        delegates=delegate_uses(lines),
        fell_back=fall_back(lines, asked),
        unconsumed_flags=_unconsumed(lines),
        warnings=tuple(shorten(line.text) for line in _warnings(lines)),
    )


def _size(
    lines: tuple[LogLine, ...], pattern: re.Pattern[str], in_bytes: Callable[[str, str], int], start: str
) -> int | None:
    """The size in MB of the line that begins with `start`; None if there is no such line."""
    sizes = []
    for line in lines:
        if line.text.startswith(start):
            found = pattern.fullmatch(line.text)
            if not found or found[1] != "MB":
                raise unreadable("a size that is not in MB", line.text)
            sizes.append(in_bytes(found[2], line.text))
    return at_most_one(sizes, f"the line {start!r}")


def _footprint(lines: tuple[LogLine, ...]) -> _Footprint:
    found = [
        _read_footprint(line.text)
        for line in lines
        if line.text.startswith(("Peak memory footprint", "Memory footprint delta"))
    ]
    return at_most_one(found, "the line with the memory footprint") or _Footprint()


def _read_footprint(text: str) -> _Footprint:
    found = _FOOTPRINT.fullmatch(text)
    if not found or found[2] != "MB":
        raise unreadable("a memory footprint that is not in MB", text)
    init, overall = (memory_bytes(figure, text) for figure in (found[3], found[4]))
    if found[1].startswith("Memory"):
        return _Footprint("delta", init, overall)
    # A process has a peak: 0 means that the platform does not tell.
    return _Footprint("peak", init, overall) if overall else _Footprint()


def _unconsumed(lines: tuple[LogLine, ...]) -> tuple[str, ...]:
    return tuple(flag for line in lines if (found := _UNCONSUMED.fullmatch(line.text)) for flag in found[1].split())


def _warnings(lines: tuple[LogLine, ...]) -> tuple[LogLine, ...]:
    return tuple(line for line in lines if line.level == "WARN" and not _UNCONSUMED.fullmatch(line.text))
