"""Why a benchmark tool gave no figures, from its exit code and its messages."""

from __future__ import annotations

import re
import signal

from android_bench.tool.delegates import denial_line
from android_bench.tool.lines import LogLine, shorten
from android_bench.tool.values import FailureKind, ToolFailure

_GAVE_UP = "Benchmarking failed."
_STOPPED = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# The first entry that a line matches is the reason: what causes others stands before them.
_REASONS: tuple[tuple[FailureKind, str, re.Pattern[str]], ...] = (
    ("no tool", "the tool cannot be started", re.compile(r"CANNOT LINK EXECUTABLE|Exec format error")),
    (
        "no tool",
        "the tool cannot be started",
        re.compile(
            r"^(?:\S*sh|env|taskset|timeout|nohup)\b.*(?:not found|No such file|[Pp]ermission denied|not executable)"
        ),
    ),
    ("no space", "the target has no space left", re.compile(r"No space left on device")),
    ("bad flag", "a flag has a bad value", re.compile(r"Failed to parse flag|error: argument ")),
    ("bad flag", "a flag is not known", re.compile(r"error: (?:unrecognized|the following) arguments")),
    ("bad flag", "a flag is missing", re.compile(r"Please specify the name of your TF Lite input file")),
    ("no model", "the model is not on the target", re.compile(r"Could not open '|Model file not found")),
    (
        "not a model",
        "the file is not a model",
        re.compile(r"not a valid Flatbuffer|Failed to build flatbuffer model|Model provided has model identifier"),
    ),
    (
        "unsupported operator",
        "the tool lacks an operator",
        re.compile(r"Select TensorFlow op\(s\)|unresolved custom op|Didn't find op for builtin opcode"),
    ),
    (
        "wrong input",
        "an input does not fit the model",
        re.compile(r"Input tensor #\S+ should have|Inputs mismatch|Signature \".*\" not found"),
    ),
    (
        "delegate refused",
        "the delegate does not run the whole model",
        re.compile(r"Disallowed CPU fallback|Some ops are not accelerated|Model is not fully accelerated"),
    ),
    ("delegate refused", "the delegate cannot be used", re.compile(r"Failed to (?:apply|create) \w+ delegate")),
    ("delegate refused", "the GPU cannot be used", re.compile(r"Failed to (?:get or create|initialize) .*WebGPU")),
    ("no benchmark", "the tool listed the signatures", re.compile(r"The Model contains .* signature key")),
    ("no benchmark", "the tool printed its usage", re.compile(r"^usage: ")),
    ("crashed", "the tool crashed", re.compile(r"Fatal signal [0-9]+")),  # logcat, which has no exit code
)
_NODE = re.compile(r"Node number [0-9]+ \((\w+)\) failed")
_PYTHON_ERROR = re.compile(r"^\w+(?:\.\w+)*(?:Error|Exception): ")


def check_exit(lines: tuple[LogLine, ...], exit_code: int | None, asked: tuple[str, ...]) -> None:
    """Raises ToolFailure if the tool failed: exit codes of a shell (137), of subprocess (-9), None for not known."""
    if exit_code and (stopped := _signal(exit_code)):
        raise _killed(lines, exit_code, stopped, asked)
    if exit_code or any(line.text.startswith(_GAVE_UP) for line in lines):
        raise _reason(lines, exit_code)


def missing_figures(lines: tuple[LogLine, ...], exit_code: int | None) -> ToolFailure:
    """The error for an output without its last line, although the tool did not say that it failed."""
    known = _reason(lines, exit_code)
    if known.kind != "failed":
        return known
    last = _last(lines)
    end = f"; its last line: {last!r}" if last else ", it is empty"
    return ToolFailure("truncated", f"the output has no inference timings{end}")


def _signal(exit_code: int) -> signal.Signals | None:
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number)
    except ValueError:
        return None


def _killed(lines: tuple[LogLine, ...], exit_code: int, number: signal.Signals, asked: tuple[str, ...]) -> ToolFailure:
    killed = number in _STOPPED
    what = "was killed" if killed else "crashed"
    hint = ", which the kernel also sends when memory runs out" if number == signal.SIGKILL else ""
    beside = f" with the {' and '.join(asked)} delegate" if asked else ""
    said = f"; it said: {error}" if (error := _first_error(lines)) else ""
    text = f"the tool {what} {_stage(lines)}{beside} ({number.name}{hint}, exit code {exit_code}){said}"
    return ToolFailure("killed" if killed else "crashed", text)


def _stage(lines: tuple[LogLine, ...]) -> str:
    """How far the tool had come, wherever stdout and stderr stand in the lines."""
    texts = [line.text for line in lines]
    timed = sum(text.startswith("Running benchmark for") for text in texts)
    stages = (
        (any(text.startswith(("Inference timings", "Average inference timings")) for text in texts), "after the runs"),
        (timed > 1, "in the runs"),
        (timed == 1, "in the warm-up"),
        (any(text.startswith("Initialized session") for text in texts), "after the initialization"),
        (any(text.startswith("Loaded model") for text in texts), "while it prepared the model"),
    )
    return next((stage for reached, stage in stages if reached), "before it had loaded the model")


def _reason(lines: tuple[LogLine, ...], exit_code: int | None) -> ToolFailure:
    for kind, what, pattern in _REASONS:
        for line in lines:
            if pattern.search(line.text):
                return ToolFailure(kind, f"{what}: {shorten(line.text)}{_addition(lines, kind)}")
    if exit_code in (126, 127):
        return ToolFailure("no tool", f"the tool cannot be started (exit code {exit_code}): {_last(lines)}")
    said = _first_error(lines) or _python_error(lines) or _last(lines) or "nothing"
    code = "" if exit_code is None else f" (exit code {exit_code})"
    return ToolFailure("failed", f"the tool failed{code} and said: {said}")


def _addition(lines: tuple[LogLine, ...], kind: FailureKind) -> str:
    """What another line adds to the reason: the operator's name, the delegate's own error."""
    if kind == "unsupported operator":
        return next((f" ({found[1]})" for line in lines if (found := _NODE.match(line.text))), "")
    if kind == "delegate refused":
        more = next((shorten(line.text) for line in lines if line.text.startswith("TfLite") and line.level), "")
        return f" ({more})" if (more := more or denial_line(lines)) else ""
    return ""


def _first_error(lines: tuple[LogLine, ...]) -> str:
    errors = (line.text for line in lines if line.level == "ERROR" and not line.text.startswith(_GAVE_UP))
    return next((shorten(text) for text in errors), "")


def _python_error(lines: tuple[LogLine, ...]) -> str:
    """The last exception with the line below it, where LiteRT puts the cause."""
    texts = [line.text for line in lines]
    found = [index for index, text in enumerate(texts) if _PYTHON_ERROR.match(text)]
    return shorten(" ".join(texts[found[-1] : found[-1] + 2])) if found else ""


def _last(lines: tuple[LogLine, ...]) -> str:
    return next((shorten(line.text) for line in reversed(lines) if line.text.strip()), "")
