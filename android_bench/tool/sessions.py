"""From what a benchmark tool said on a device to a session or to an error."""

from __future__ import annotations

from pathlib import Path

from android_bench.session import FELL_BACK, NOISY, Concern, MeasurementError, Session, Summary
from android_bench.tool.values import OpProfile, Timing, ToolFailure, ToolResult
from core.errors import LitesmithError, UsageError
from core.values import OpTime

# Rounding counts as noise above this share of the median; what a report compares differs by 10 % and more.
MAX_ROUNDING = 0.02
_INSIDE = "Delegate/"  # what the names of a delegate's own operators begin with
_REFUSALS = ("not a model", "unsupported operator")
_WORTH_ANOTHER_TRY = ("killed", "truncated")  # by the system, to get memory for something else


def tool_session(result: ToolResult, peak_memory_bytes: int) -> Session:
    """The session of a tool that tells statistics only. `peak_memory_bytes` 0: what the tool itself says counts."""
    if result.runs is None:
        raise ToolFailure("no benchmark", "the tool timed no runs")
    summary = _summary(result.runs)
    conditions = {}
    if result.delegates:
        uses = (f"{use.name} {use.nodes_replaced} nodes in {use.partitions} parts" for use in result.delegates)
        conditions["delegates"] = ", ".join(uses)
    if result.init_us is not None:
        conditions["init_us"] = f"{result.init_us:.0f}"
    if not peak_memory_bytes:
        peak_memory_bytes = result.peak_memory_bytes or result.overall_memory_bytes or 0
        conditions["memory"] = {"delta": "growth since the tool's start"}.get(result.memory_kind, "peak")
    if result.unconsumed_flags:
        conditions["flags_unknown_there"] = " ".join(result.unconsumed_flags)
    return Session(
        durations_ns=(),
        peak_memory_bytes=peak_memory_bytes,
        conditions=conditions,
        concerns=_concerns(result, summary),
        summary=summary,
        ops=op_times(result.profile, ", ".join(use.name for use in result.delegates)) if result.profile else (),
    )


def failure_on(where: str, model: Path, failure: ToolFailure) -> LitesmithError:
    """The failure with the model and the target in its line: a UsageError if the runtime there refuses the model."""
    message = f"{where}: {model}: {failure}"
    if failure.kind in _REFUSALS:
        return UsageError(message)
    worth_another = failure.kind in _WORTH_ANOTHER_TRY
    return MeasurementError(message, transient=failure.transient or worth_another, of_model=worth_another)


def op_times(profile: OpProfile, delegate: str = "") -> tuple[OpTime, ...]:
    """The operators with their share of all. Where a delegate tells of its inside, that stands in its place.

    `delegate` is the name of the one in use, which a profile of its inside may leave out.
    """
    total = sum(op.avg_us for op in profile.ops) or 1.0
    found = []
    delegates = [op.node_type for op in profile.ops if "Delegate" in op.node_type]
    for op in profile.ops:
        if op.name.startswith(_INSIDE):
            name = op.name.removeprefix(_INSIDE)
            found.append(OpTime(op.node_type, name, op.avg_us, op.avg_us / total, delegate or "delegate"))
        elif op.node_type not in delegates:
            found.append(OpTime(op.node_type, op.name, op.avg_us, op.avg_us / total))
        elif not profile.delegate_ops:
            found.append(OpTime(op.node_type, op.name, op.avg_us, op.avg_us / total, op.node_type))
    inside = ", ".join(dict.fromkeys(delegates))
    found += [OpTime(op.node_type, op.name, op.avg_us, op.avg_us / total, inside) for op in profile.delegate_ops]
    return tuple(found)


def _summary(runs: Timing) -> Summary:
    return Summary(
        runs=runs.count,
        median_us=runs.avg_us if runs.median_us is None else runs.median_us,
        mean_us=runs.avg_us,
        min_us=runs.avg_us if runs.min_us is None else runs.min_us,
        max_us=runs.avg_us if runs.max_us is None else runs.max_us,
        p95_us=runs.p95_us,
        center="mean" if runs.median_us is None else "median",
    )


def _concerns(result: ToolResult, summary: Summary) -> tuple[Concern, ...]:
    found = []
    if result.fell_back:
        found.append(Concern(FELL_BACK, result.fell_back))
    rounding = result.resolution_us / 2 / summary.median_us if summary.median_us else 1.0
    if rounding > MAX_ROUNDING:
        found.append(Concern(NOISY, f"the tool rounds to {result.resolution_us:g} us, which is +-{rounding:.0%} here"))
    return tuple(found)
