"""What litert-benchmark writes: its BENCHMARK RESULTS block and its JSON file, both in milliseconds.

Both are rounded to 0.01 ms, so the block and the file say the same, and a model of 100 us is known to 5 %.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from android_bench.tool.delegates import asked_delegates, delegate_uses, fall_back
from android_bench.tool.lines import LogLine, count, microseconds, read_lines, shorten, unreadable
from android_bench.tool.timings import check_order
from android_bench.tool.values import Timing, ToolFailure, ToolResult

RESOLUTION_US = 10.0
_MS = 1000  # microseconds in one
_TITLE = re.compile(r"=* ?BENCHMARK RESULTS ?=*")
_ROW = re.compile(r"(Model initialization|Warmup \(\w+\)|Inference \(\w+\)): +(.*)")
_VALUE = re.compile(r"(\S+) ms(?: \(([0-9]+) runs\))?")
_ACCELERATED = re.compile(r"Fully accelerated: +(True|False)")
# The fields of the JSON file's "latency", by the row of the block.
_JSON_NAMES = {
    "Model initialization": "init_ms",
    "Warmup (first)": "warmup_first_ms",
    "Warmup (avg)": "warmup_avg_ms",
    "Inference (avg)": "avg_ms",
    "Inference (min)": "min_ms",
    "Inference (max)": "max_ms",
    "Inference (median)": "median_ms",
    "Inference (std)": "std_ms",
    "Inference (p5)": "p5_ms",
    "Inference (p95)": "p95_ms",
}
_COUNTS = {"Warmup (avg)": "num_warmup_runs", "Inference (avg)": "num_runs"}
_NEEDED = ("Model initialization", "Warmup (avg)", "Inference (avg)")


def has_litert_block(lines: tuple[LogLine, ...]) -> bool:
    """Whether an output has a results block at all."""
    return any(_TITLE.fullmatch(line.text.strip()) for line in lines)


def parse_litert_block(text: str) -> ToolResult:
    """The results block of litert-benchmark, with what the log around it says of delegates; times become us.

    Raises ToolFailure for an output without a whole block and for units other than ms.
    """
    return shown(read_litert_block(read_lines(text), ""))


def read_litert_block(lines: tuple[LogLine, ...], delegate: str) -> ToolResult:
    """The same from lines, latencies that are rounded to 0 included; `delegate` is one that was asked for, or ""."""
    title = [index for index, line in enumerate(lines) if _TITLE.fullmatch(line.text.strip())]
    if len(title) != 1:
        raise ToolFailure("unreadable" if title else "truncated", f"the output has {len(title)} blocks of results")
    values: dict[str, float] = {}
    runs: dict[str, int] = {}
    for line in lines[title[0] + 1 :]:
        if found := _ROW.fullmatch(line.text.strip()):
            _read_row(found[1], found[2], line.text, values, runs)
    accelerated = [found[1] == "True" for line in lines if (found := _ACCELERATED.fullmatch(line.text.strip()))]
    asked = asked_delegates(lines, delegate)
    return _result(
        values,
        runs,
        fully_accelerated=accelerated[-1] if accelerated else None,
        delegates_asked=asked,
        delegates=delegate_uses(lines),
        fell_back=fall_back(lines, asked),
        warnings=tuple(shorten(line.text) for line in lines if line.level == "WARN"),
    )


def _read_row(name: str, value: str, line: str, values: dict[str, float], runs: dict[str, int]) -> None:
    found = _VALUE.fullmatch(value)
    if name not in _JSON_NAMES or name in values or not found or bool(found[2]) != (name in _COUNTS):
        raise unreadable("a row of results that we do not know, or not in ms", line)
    values[name] = microseconds(found[1], line, _MS)
    if found[2]:
        runs[name] = count(found[2], line)


def parse_litert_json(text: str) -> ToolResult:
    """The file of litert-benchmark's --result_json; times become us.

    It does not tell a delegate that ran from one that fell back: with the CPU among its accelerators `fell_back` says
    so. Raises ToolFailure for anything else than such a file.
    """
    try:
        document = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        latency = document["latency"]
        fields = {name: str(_number(latency[field])) for name, field in _JSON_NAMES.items()}
        counts = {name: str(_number(latency[field])) for name, field in _COUNTS.items()}
        accelerators, accelerated = document["accelerators"], document["fully_accelerated"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ToolFailure("unreadable", f"not a result file of litert-benchmark: {error!r:.100}") from error
    if not isinstance(accelerators, list) or not all(name in ("CPU", "GPU", "NPU") for name in accelerators):
        raise unreadable("accelerators that we do not know in a result file of litert-benchmark", f"{accelerators!r}")
    if not isinstance(accelerated, bool):
        raise unreadable("fully_accelerated is not true or false", f"{accelerated!r:.100}")
    lines = (LogLine(f"Accelerators: {' | '.join(accelerators)}"),)
    asked = asked_delegates(lines)
    result = _result(
        {name: microseconds(value, f"{_JSON_NAMES[name]}: {value}", _MS) for name, value in fields.items()},
        {name: count(value, f"{_COUNTS[name]}: {value}") for name, value in counts.items()},
        fully_accelerated=accelerated,
        delegates_asked=asked,
        fell_back=fall_back(lines, asked),
    )
    return shown(result)


def shown(result: ToolResult) -> ToolResult:
    """The result, if its latency is one that the tool can show; else raises ToolFailure."""
    if result.runs is None or result.runs.count < 1 or not result.runs.avg_us:
        known = f"{result.runs.avg_us:g} us over {result.runs.count} runs" if result.runs else "no run"
        raise ToolFailure("unreadable", f"{known} is below what the tool can show ({RESOLUTION_US:g} us)")
    return result


def _number(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError(f"{value!r} is not a number")
    return value


def _result(values: dict[str, float], runs: dict[str, int], **facts: Any) -> ToolResult:
    if missing := [name for name in _NEEDED if name not in values]:
        raise ToolFailure("truncated", f"the block of results has no {' and no '.join(missing)}")
    average_us = values["Inference (avg)"]
    timing = Timing(
        count=runs["Inference (avg)"],
        avg_us=average_us,
        min_us=values.get("Inference (min)"),
        max_us=values.get("Inference (max)"),
        std_us=values.get("Inference (std)"),
        p5_us=values.get("Inference (p5)"),
        median_us=values.get("Inference (median)"),
        p95_us=values.get("Inference (p95)"),
    )
    check_order(timing, f"Inference (avg): {average_us:g} us")
    warmup = _warmup(values, runs["Warmup (avg)"])
    return ToolResult(
        tool="litert",
        resolution_us=RESOLUTION_US,
        runs=timing,
        warmup=warmup,
        init_us=values["Model initialization"],
        first_inference_us=warmup.first_us if warmup else None,
        warmup_avg_us=warmup.avg_us if warmup else None,
        inference_avg_us=average_us,
        **facts,
    )


def _warmup(values: dict[str, float], runs: int) -> Timing | None:
    if not runs:
        return None
    return Timing(count=runs, avg_us=values["Warmup (avg)"], first_us=values.get("Warmup (first)"))
