"""Damaged and arbitrary input: a result whose numbers were printed in the stated unit, or ToolFailure; nothing else."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from android_bench.tool.litert import parse_litert_block, parse_litert_json
from android_bench.tool.parse import parse_output
from android_bench.tool.profile_proto import parse_model_runtime_info, parse_op_profile_proto
from android_bench.tool.profile_table import parse_op_profile
from android_bench.tool.values import OpProfile, Timing, ToolFailure, ToolResult
from tests.android_bench.test_tool_profile import profile_message, runtime_message
from tests.android_bench.tool_logs import CSV, LITERT, LITERT_JSON, OLD, RECENT, RECORDED

NUMBER = re.compile(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?(?![\w.])|(?<==)[0-9.]+(?:e[+-]?[0-9]+)?")
BAD_NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e308",
    "9" * 400,
    "1e-9",
    "0x10",
    "1,5",
    "",
    "٣",
    "1_0",
    "4.",
    "1e999",
)
UNITS = ("us", "ms", "ns", "s", "MB", "KB", "GB", "microseconds", "milliseconds", "%", "avg ms", "avg_ms", "avg us")
PIECES = ("\0", "\r\n", "\x1b[31m", "count=", "INFO: ", "\t", ", ", "=" * 30, "\u2028", "Benchmarking failed.")
# Mostly 0: the others end before any figure is read.
EXIT_CODES = (*[0] * 20, None, 1, 2, 126, 127, 134, 137, 139, 255, -9, -11, 10**12, -(10**12))
DELEGATES = ("", "cpu", "xnnpack", "gpu", "nnapi", "hexagon", "npu", "external")

# The shared logs make the seeds richer where they are present.
OUTPUTS = [RECENT, OLD, LITERT, CSV, LITERT_JSON]
OUTPUTS += [path.read_text() for path in sorted(RECORDED.glob("[0-9]*.txt"))]
MESSAGES = [profile_message().SerializeToString(), runtime_message().SerializeToString()]
MESSAGES += [path.read_bytes() for path in sorted(RECORDED.glob("*.pb"))]

# What to do, where (a share of the text) and with which of the replacements.
STEP = st.tuples(st.integers(0, 9), st.integers(0, 9_999), st.integers(0, 999))
STEPS = st.lists(STEP, max_size=5)
Step = tuple[int, int, int]

fast = settings(max_examples=2_000, suppress_health_check=list(HealthCheck))
short = settings(max_examples=300, suppress_health_check=list(HealthCheck))
slow = settings(max_examples=200_000, suppress_health_check=list(HealthCheck), database=None)
slow_files = settings(max_examples=20_000, suppress_health_check=list(HealthCheck), database=None)


def mutate(text: str, steps: list[Step]) -> str:
    for what, share, pick in steps:
        text = MUTATIONS[what](text, share / 10_000, pick)
    return text


def _cut(text: str, share: float, pick: int) -> str:
    at = int(len(text) * share)
    return text[:at] if pick % 4 else text[at:]


def _flip(text: str, share: float, pick: int) -> str:
    data = bytearray(text.encode())
    if data:
        data[int(len(data) * share)] ^= pick % 255 + 1
    return data.decode(errors="replace")


def _lines(change: Callable[[list[str], int, int], None]) -> Callable[[str, float, int], str]:
    def mutation(text: str, share: float, pick: int) -> str:
        lines = text.split("\n")
        change(lines, int(len(lines) * share), pick % len(lines))
        return "\n".join(lines)

    return mutation


def _drop(lines: list[str], at: int, other: int) -> None:
    del lines[at : at + 1 + other % 3]


def _duplicate(lines: list[str], at: int, other: int) -> None:
    lines.insert(other, lines[at])


def _swap(lines: list[str], at: int, other: int) -> None:
    lines[at], lines[other] = lines[other], lines[at]


def _replace(pattern: re.Pattern[str], choices: tuple[str, ...]) -> Callable[[str, float, int], str]:
    def mutation(text: str, share: float, pick: int) -> str:
        found = list(pattern.finditer(text))
        if not found:
            return text
        place = found[int(len(found) * share)]
        return text[: place.start()] + choices[pick % len(choices)] + text[place.end() :]

    return mutation


def _insert(text: str, share: float, pick: int) -> str:
    at = int(len(text) * share)
    return text[:at] + PIECES[pick % len(PIECES)] + text[at:]


def _other_number(text: str, share: float, pick: int) -> str:
    return _replace(NUMBER, (str(pick), f"{pick / 7:.6g}", f"{pick * 1000}"))(text, share, pick)


MUTATIONS: tuple[Callable[[str, float, int], str], ...] = (
    _cut,
    _flip,
    _lines(_drop),
    _lines(_duplicate),
    _lines(_swap),
    _replace(NUMBER, BAD_NUMBERS),
    _replace(re.compile("|".join(rf"\b{unit}\b" for unit in UNITS if unit != "%") + "|%"), UNITS),
    _insert,
    _other_number,
    _replace(re.compile(r"\b[A-Za-z]\w+"), ("gpu", "Init", "Inference", "median", "count", "delegate", "x")),
)


def printed(text: str) -> set[Decimal]:
    """Every number of a text, however long."""
    return {Decimal(number) for number in re.findall(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", text)}


def figures(timing: Timing | None) -> list[float]:
    if timing is None:
        return []
    values = (timing.avg_us, timing.first_us, timing.current_us, timing.min_us, timing.max_us, timing.median_us)
    return [value for value in (*values, timing.std_us, timing.p5_us, timing.p95_us) if value is not None]


def check_profile(profile: OpProfile) -> None:
    assert profile.ops
    for row in (*profile.ops, *profile.init_ops, *profile.delegate_ops, *profile.by_node_type):
        assert math.isfinite(row.avg_us) and row.avg_us >= 0 and math.isfinite(row.memory_kb)
        assert 0 <= row.percent <= 100.01 and 0 <= row.cdf_percent <= 100.01 and row.times_called >= 0


def check_result(result: ToolResult, text: str) -> None:
    """All that holds of any result: finite, in order, and each figure a printed number times its unit's factor."""
    factor = 1 if result.tool == "benchmark_model" else 1000
    assert factor == 1000 or "timings in us: " in text
    known = {float(number * factor) for number in printed(text)} | {0.0}
    means = (result.init_us, result.first_inference_us, result.warmup_avg_us, result.inference_avg_us)
    said = [value for value in means if value is not None]
    for value in (*figures(result.runs), *figures(result.warmup), *said):
        assert value in known and value >= 0
    for timing in (result.runs, result.warmup):
        if timing is not None:
            assert timing.count >= 1
            if None not in (timing.min_us, timing.median_us, timing.max_us):
                assert timing.min_us <= timing.median_us <= timing.max_us
    for size in (result.model_size_bytes, result.init_memory_bytes, result.overall_memory_bytes):
        assert size is None or size >= 0
    if result.profile is not None:
        check_profile(result.profile)


def outcome(parse: Callable[[], ToolResult | OpProfile], text: str) -> None:
    try:
        result = parse()
    except ToolFailure as error:
        assert error.kind and str(error) and "\n" not in str(error) and len(str(error)) < 600
        return
    if isinstance(result, ToolResult):
        check_result(result, text)
    else:
        check_profile(result)


def output(seed: int, steps: list[Step], code: int | None, delegate: str, split: int) -> None:
    text = mutate(OUTPUTS[seed % len(OUTPUTS)], steps)
    at = text.rfind("\n", 0, len(text) * split // 10) + 1
    outcome(lambda: parse_output(text[:at], text[at:], code, delegate), text)


def arbitrary(text: str, code: int | None) -> None:
    for parse in (parse_op_profile, parse_litert_block, parse_litert_json):
        outcome(lambda parse=parse: parse(text), text)
    outcome(lambda: parse_output(text, "", code), text)


def other_text(seed: int, steps: list[Step]) -> None:
    text = mutate(OUTPUTS[seed % len(OUTPUTS)], steps)
    for parse in (parse_op_profile, parse_litert_block, parse_litert_json):
        outcome(lambda parse=parse: parse(text), text)


def message(seed: int, edits: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(MESSAGES[seed % len(MESSAGES)])
    for at, value in edits:
        data[at % len(data)] = value
    damaged = bytes(data[: len(data) - cut % len(data)])
    outcome(lambda: parse_op_profile_proto(damaged), "")
    try:
        graphs = parse_model_runtime_info(damaged)
    except ToolFailure:
        return
    assert any(graph.executed for graph in graphs)


output_input = given(
    st.integers(0, 999), STEPS, st.sampled_from(EXIT_CODES), st.sampled_from(DELEGATES), st.integers(0, 10)
)
arbitrary_input = given(st.text(max_size=400), st.sampled_from(EXIT_CODES))
text_input = given(st.integers(0, 999), STEPS)
message_input = given(
    st.integers(0, 999),
    st.lists(st.tuples(st.integers(0, 9_999), st.integers(0, 255)), max_size=6),
    st.integers(0, 9_999).map(lambda cut: cut if cut % 3 == 0 else 0),
)

test_damaged_outputs = fast(output_input(output))
test_damaged_outputs_200_000 = pytest.mark.slow(slow(output_input(output)))
test_arbitrary_text = short(arbitrary_input(arbitrary))
test_arbitrary_text_20_000 = pytest.mark.slow(slow_files(arbitrary_input(arbitrary)))
test_damaged_profiles_and_blocks = short(text_input(other_text))
test_damaged_profiles_and_blocks_20_000 = pytest.mark.slow(slow_files(text_input(other_text)))
test_damaged_protobuf_files = short(message_input(message))
test_damaged_protobuf_files_20_000 = pytest.mark.slow(slow_files(message_input(message)))


def test_the_fuzz_reaches_results_too() -> None:
    """The seeds parse: a fuzz that only ever saw failures would not check a figure."""
    for text in (RECENT, OLD, LITERT):
        check_result(parse_output(text, "", 0), text)
    check_profile(parse_op_profile(CSV))
    check_profile(parse_op_profile_proto(MESSAGES[0]))


def six_digits(value: float) -> str:
    """As the tool's streams print a double."""
    return f"{value:.6g}"


def count_line(durations: list[int], percentiles: bool) -> str:
    if not durations:
        return "count=0" + " p5=0 median=0 p95=0" * percentiles
    ordered = sorted(durations)
    if ordered[0] == ordered[-1]:
        head = f"count={len(ordered)} curr={ordered[0]}" + "(all same)" * (len(ordered) > 1)
    else:
        std = int(statistics.pstdev(durations))
        head = (
            f"count={len(durations)} first={durations[0]} curr={durations[-1]} min={ordered[0]} max={ordered[-1]} "
            f"avg={six_digits(statistics.fmean(durations))} std={std}"
        )
    ranks = (ordered[len(ordered) // 20], ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100])
    return head + " p5={} median={} p95={}".format(*ranks) * percentiles


def render(warmup: list[int], runs: list[int], init_us: int, wording: int, level: str, percentiles: bool) -> str:
    """An output of one of the tool's three wordings, with what it would print for these durations in us."""
    means = [six_digits(statistics.fmean(durations)) if durations else "0" for durations in (warmup, runs)]
    first = warmup[0] if warmup else 0
    last = (
        f"Inference timings in us: Init: {init_us}, First inference: {first}, Warmup (avg): {means[0]}, "
        f"Inference (avg): {means[1]}",
        f"Average inference timings in us: Warmup: {means[0]}, Init: {init_us}, Inference: {means[1]}",
        f"Average inference timings in us: Warmup: {means[0]}, Init: {init_us}, no stats: {means[1]}",
    )[wording]
    lines = (
        f"Initialized session in {six_digits(init_us / 1000)}ms.",
        count_line(warmup, percentiles),
        "",
        count_line(runs, percentiles),
        last,
    )
    return "".join(f"{level}{line}\n" if line else "\n" for line in lines)


DURATIONS = st.lists(st.integers(1, 10**7), max_size=12)
OUTPUT = st.tuples(
    DURATIONS, DURATIONS, st.integers(1, 10**7), st.integers(0, 2), st.sampled_from(("", "INFO: ")), st.booleans()
)


@settings(max_examples=300)
@given(OUTPUT)
def test_what_is_printed_in_us_comes_back_in_us(case) -> None:
    warmup, runs, init_us, *_ = case
    result = parse_output(render(*case), "", 0)
    assert result.init_us == init_us
    assert result.first_inference_us == (warmup[0] if warmup else None)
    for durations, timing in ((warmup, result.warmup), (runs, result.runs)):
        assert (timing is None) == (not durations)
        if timing is not None:
            assert (timing.count, timing.first_us, timing.current_us) == (len(durations), durations[0], durations[-1])
            assert (timing.min_us, timing.max_us) == (min(durations), max(durations))
            assert timing.avg_us == pytest.approx(statistics.fmean(durations), rel=1e-5)  # 6 digits are printed
            assert timing.median_us is None or timing.min_us <= timing.median_us <= timing.max_us


@settings(max_examples=200)
@given(OUTPUT, st.sampled_from((10, 1000, 10**6)), st.booleans())
def test_one_line_in_another_unit_is_refused(case, factor: int, of_warmup: bool) -> None:
    """The runs' line, or the warm-up's, times `factor`, and the rest as it was."""
    warmup, runs, _, _, _, percentiles = case
    durations = warmup if of_warmup else runs
    if not durations:
        return
    line, other = (count_line([us * by for us in durations], percentiles) for by in (1, factor))
    text = render(*case)
    assert line in text
    if warmup != runs:  # else one replacement changes both
        with pytest.raises(ToolFailure):
            parse_output(text.replace(line, other), "", 0)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_what_is_printed_in_ms_comes_back_in_us(hundredths: list[int]) -> None:
    """litert-benchmark's rows have two decimals of a millisecond."""
    ordered = sorted(hundredths)
    middle = ordered[len(ordered) // 2]
    rows = {"avg": middle, "min": ordered[0], "max": ordered[-1], "median": middle}
    text = " BENCHMARK RESULTS\nModel initialization:  1.00 ms\nWarmup (avg):          0.00 ms (0 runs)\n"
    for name, value in rows.items():
        text += f"Inference ({name}): {value // 100}.{value % 100:02d} ms{' (8 runs)' * (name == 'avg')}\n"
    runs = parse_litert_block(text).runs
    assert runs and (runs.avg_us, runs.min_us, runs.max_us, runs.median_us) == tuple(10 * us for us in rows.values())
