"""Timings of benchmark_model: the `count=` lines and the last line, in every wording since 2018.

The `count=` lines name no unit. They are in microseconds, and the last line, which says "in us", repeats their
averages: both must agree, or the output is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from android_bench.tool.lines import LogLine, at_most_one, count, microseconds, unreadable
from android_bench.tool.values import Timing, ToolFailure

_SPREAD = ("first", "curr", "min", "max", "avg", "std")
_PERCENTILES = ("p5", "median", "p95")
_ALL_SAME = "(all same)"
_SUMMARY = re.compile(r"(?:Average inference|Inference) timings\b(.*)")
_IN_US = re.compile(r" in us: (.*?)(?:Overall\b.*)?")  # an APK's line goes on with the memory
_INITIALIZED = re.compile(r"Initialized session in (?:(\S*?)ms\.?$)?")
# Doubles are printed with 6 significant digits, so that two printed figures differ by at most 1e-5 of their value.
_PRINTED = 1e-5


@dataclass(frozen=True, slots=True)
class Summary:
    """The last line. `first_us` None: the wording has no first inference. 0 or NaN: there was no such run."""

    init_us: float
    warmup_us: float
    inference_us: float
    first_us: float | None = None


def read_timing(text: str) -> Timing | None:
    """A `count=…` text in microseconds; None for count=0. Raises ToolFailure for anything that contradicts itself."""
    fields = _fields(text)
    runs = count(fields.pop("count", ""), text)
    values = {name: microseconds(value, text) for name, value in fields.items()}
    names = tuple(name for name in values if name not in _PERCENTILES)
    if runs == 0 and not names and not any(values.values()):
        return None
    if names == ("curr",) and (runs == 1 or _ALL_SAME in text):
        values.update(dict.fromkeys(_SPREAD, values["curr"]), std=0.0)
    elif names != _SPREAD or runs < 2:
        raise unreadable("a timing line with other figures than count, first, curr, min, max, avg and std", text)
    timing = _timing(runs, values)
    check_order(timing, text)
    return timing


def _fields(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.replace(_ALL_SAME, "").split()]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs) or not set(fields) <= {"count", *_SPREAD, *_PERCENTILES}:
        raise unreadable("not a timing line", text)
    return fields


def _timing(runs: int, values: dict[str, float]) -> Timing:
    return Timing(
        count=runs,
        avg_us=values["avg"],
        first_us=values["first"],
        current_us=values["curr"],
        min_us=values["min"],
        max_us=values["max"],
        std_us=values["std"],
        p5_us=values.get("p5"),
        median_us=values.get("median"),
        p95_us=values.get("p95"),
    )


def check_order(timing: Timing, line: str) -> None:
    """Requires min <= p5 <= median <= p95 <= max and the others between min and max; shows `line` if not."""
    ranks = (timing.min_us, timing.p5_us, timing.median_us, timing.p95_us, timing.max_us)
    said = [value for value in ranks if value is not None]
    if said != sorted(said):
        raise unreadable("minimum, percentiles and maximum are not in order", line)
    if timing.min_us is None or timing.max_us is None:
        return
    low, high = timing.min_us * (1 - _PRINTED), timing.max_us * (1 + _PRINTED)
    for value in (timing.first_us, timing.current_us, timing.avg_us):
        if value is not None and not low <= value <= high:
            raise unreadable("a figure lies outside of minimum and maximum", line)
    if timing.std_us is not None and timing.std_us > high - low:
        raise unreadable("the standard deviation is greater than the range", line)


def read_summary(lines: tuple[LogLine, ...]) -> Summary | None:
    """The last line of the tool; None if it is not there. Raises ToolFailure for another unit than us."""
    found = [line.text for line in lines if _SUMMARY.match(line.text)]
    return at_most_one((_read_summary(text) for text in found), "the line with the inference timings")


def _read_summary(text: str) -> Summary:
    found = _SUMMARY.fullmatch(text)
    body = _IN_US.fullmatch(found[1]) if found else None
    if not body:
        raise unreadable("inference timings in another unit than us", text)
    pairs = [item.partition(": ") for item in body[1].split(", ")]
    fields = {name: _or_none(value.strip(), text) for name, _, value in pairs}
    if len(fields) == len(pairs):
        match set(fields):
            case names if names == {"Init", "First inference", "Warmup (avg)", "Inference (avg)"}:
                averages = fields["Warmup (avg)"], fields["Inference (avg)"]
                return Summary(fields["Init"], *averages, fields["First inference"])
            case names if names in ({"Warmup", "Init", "Inference"}, {"Warmup", "Init", "no stats"}):
                return Summary(fields["Init"], fields["Warmup"], fields.get("Inference", fields.get("no stats", 0.0)))
    raise unreadable("inference timings in a wording that we do not know", text)


def _or_none(value: str, text: str) -> float:
    """0.0 for an average of nothing, which older builds print as nan."""
    return 0.0 if value in ("nan", "-nan") else microseconds(value, text)


def check_init(lines: tuple[LogLine, ...], init_us: float) -> None:
    """Requires "Initialized session in 1.5ms" lines to say the same as the last line."""
    for line in lines:
        if found := _INITIALIZED.match(line.text):
            if not found[1]:
                raise unreadable("an initialization time in another unit than ms", line.text)
            printed_us = microseconds(found[1], line.text, 1000)
            if not _same(printed_us, init_us):
                raise unreadable(f"the inference timings say Init: {init_us:g} us, another line", line.text)


def check_against(summary: Summary, warmup: Timing | None, runs: Timing | None) -> None:
    """Requires the last line to repeat the averages of the two `count=` lines, which gives those their unit."""
    stated = ((summary.warmup_us, warmup), (summary.inference_us, runs))
    for average_us, timing in stated:
        if not _same(average_us, timing.avg_us if timing else 0.0):
            raise ToolFailure(
                "unreadable",
                f"the inference timings say {average_us:g} us on average, the count= line "
                f"{timing.avg_us if timing else 0:g}: not one run's output, or another unit",
            )
    first = warmup.first_us if warmup else 0.0
    if summary.first_us is not None and first is not None and not _same(summary.first_us, first):
        raise ToolFailure(
            "unreadable", f"the inference timings say First inference: {summary.first_us:g} us, count= says {first:g}"
        )


def _same(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=_PRINTED)
