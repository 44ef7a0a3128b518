"""The protobuf files of benchmark_model: the operator profile and the graph as it ran.

Their messages are tflite.profiling.BenchmarkProfilingData and tflite.profiling.ModelRuntimeDetails. The profile is the
reliable form of the tables: whole microseconds, and names as they are. There is no signature in a protobuf file, so any
file that parses and holds no operator is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from android_bench.tool.lines import shorten
from android_bench.tool.profile_messages import message
from android_bench.tool.values import DelegateUse, ModelGraph, ModelNode, NodeTypeTime, OpProfile, OpTime, ToolFailure

_MAX_US = 10**12
_MAX_COUNT = 10**9
Parsed = TypeVar("Parsed")


def parse_op_profile_proto(data: bytes) -> OpProfile:
    """The profile in a file of --op_profiling_output_mode=proto. Raises ToolFailure if it is not one."""
    return _guarded(data, message("BenchmarkProfilingData"), _profile, "an operator profile")


def parse_model_runtime_info(data: bytes) -> tuple[ModelGraph, ...]:
    """The subgraphs in a file of --export_model_runtime_info. Raises ToolFailure if it is not one."""
    return _guarded(data, message("ModelRuntimeDetails"), _graphs, "a model's runtime information")


def _guarded(data: bytes, message: Any, convert: Callable[[Any], Parsed], what: str) -> Parsed:
    try:
        message.ParseFromString(data)
        return convert(message)
    except (DecodeError, UnicodeDecodeError) as error:  # the latter from protobuf's pure Python implementation
        raise ToolFailure("unreadable", f"not the protobuf file of {what} ({len(data)} bytes): {error}") from error


def _text(value: object) -> str:
    """A string field: one that is no UTF-8 comes as bytes."""
    if not isinstance(value, str):
        raise ToolFailure("unreadable", f"a name in the protobuf file is not text: {value!r:.60}")
    return value


def _profile(message: Any) -> OpProfile:
    runs = _main_ops(message.runtime_profile)
    if not runs:
        raise ToolFailure("truncated", "the protobuf file holds no operators of the measured runs")
    delegate = [op for profile in message.runtime_profile.delegate_profiles for op in profile.per_op_profiles]
    return OpProfile(
        ops=_ops(runs),
        by_node_type=_by_type(_ops(runs)),
        init_ops=_ops(_main_ops(message.init_profile)),
        delegate_ops=_ops(delegate),
    )


def _main_ops(profile: Any) -> list[Any]:
    """The operators of the primary subgraph: those of the others are inside of the operators that call them."""
    mains = [graph for graph in profile.subgraph_profiles if graph.subgraph_index == 0]
    if len(mains) > 1:
        raise ToolFailure("unreadable", "the protobuf file holds two profiles of subgraph 0")
    return sorted((op for graph in mains for op in graph.per_op_profiles), key=lambda op: op.run_order)


def _ops(profiles: list[Any]) -> tuple[OpTime, ...]:
    averages = [_average_us(op) for op in profiles]
    total = sum(averages) or 1.0  # all zero: 0 %
    ops, cumulated = [], 0.0
    for op, average in zip(profiles, averages, strict=True):
        cumulated += average
        ops.append(
            OpTime(
                node_type=_text(op.node_type),
                name=_text(op.name),
                first_us=_checked(op.inference_microseconds.first, _MAX_US, op),
                avg_us=average,
                percent=100.0 * average / total,
                cdf_percent=100.0 * cumulated / total,
                memory_kb=float(op.mem_kb.avg),
                times_called=int(_checked(op.times_called, _MAX_COUNT, op)),
            )
        )
    return tuple(ops)


def _average_us(op: Any) -> float:
    """The sum by the count, because the file's own average is cut to whole microseconds."""
    stat = op.inference_microseconds
    runs = _checked(stat.count, _MAX_COUNT, op)
    if runs < 1:
        raise ToolFailure("unreadable", f"operator {shorten(_text(op.name))!r} has no runs in the protobuf file")
    average = _checked(stat.sum, _MAX_US, op) / runs
    low, high = _checked(stat.min, _MAX_US, op), _checked(stat.max, _MAX_US, op)
    if not low <= average <= high or not low <= stat.first <= high or int(average) != stat.avg:
        raise ToolFailure("unreadable", f"the times of operator {shorten(_text(op.name))!r} contradict each other")
    return average


def _checked(value: int, limit: int, op: Any) -> float:
    if not 0 <= value <= limit:
        raise ToolFailure(
            "unreadable", f"operator {shorten(_text(op.name))!r}: {value} is not a number from 0 to {limit}"
        )
    return float(value)


def _by_type(ops: Iterable[OpTime]) -> tuple[NodeTypeTime, ...]:
    groups: dict[str, list[OpTime]] = {}
    for op in ops:
        groups.setdefault(op.node_type, []).append(op)
    slowest = sorted(groups.items(), key=lambda item: -sum(op.avg_us for op in item[1]))
    rows, cumulated = [], 0.0
    for node_type, group in slowest:
        percent = sum(op.percent for op in group)
        cumulated += percent
        rows.append(
            NodeTypeTime(
                node_type=node_type,
                count=len(group),
                avg_us=sum(op.avg_us for op in group),
                percent=percent,
                cdf_percent=cumulated,
                memory_kb=sum(op.memory_kb for op in group),
                times_called=sum(op.times_called for op in group),
            )
        )
    return tuple(rows)


def _graphs(message: Any) -> tuple[ModelGraph, ...]:
    graphs = tuple(_graph(subgraph) for subgraph in message.subgraphs)
    if not any(graph.executed for graph in graphs):
        raise ToolFailure("truncated", "the protobuf file holds no nodes that ran")
    return graphs


def _graph(subgraph: Any) -> ModelGraph:
    nodes = {node.id: node for node in subgraph.nodes}
    if len(nodes) != len(subgraph.nodes) or not set(subgraph.execution_plan) <= set(nodes):
        raise ToolFailure("unreadable", "the nodes of the protobuf file and its execution plan contradict each other")
    executed = tuple(_node(nodes[node_id]) for node_id in subgraph.execution_plan)
    plain = [node for node in nodes.values() if not node.HasField("delegate_node_details")]
    return ModelGraph(
        name=_text(subgraph.name),
        executed=executed,
        nodes_total=len(plain),
        delegates=_delegates([nodes[node_id] for node_id in subgraph.execution_plan], subgraph.subgraph_id, len(plain)),
        not_delegated=tuple(node for node in executed if not nodes[node.node_id].HasField("delegate_node_details")),
    )


def _node(node: Any) -> ModelNode:
    return ModelNode(
        node_id=node.id,
        name=_text(node.name),
        nodes_replaced=len(node.delegate_node_details.tflite_node_ids_replaced),
    )


def _delegates(nodes: list[Any], subgraph: int, total: int) -> tuple[DelegateUse, ...]:
    groups: dict[str, list[Any]] = {}
    for node in nodes:
        if node.HasField("delegate_node_details"):
            groups.setdefault(_text(node.delegate_node_details.delegate_name), []).append(node.delegate_node_details)
    return tuple(
        DelegateUse(
            name=name,
            nodes_replaced=sum(len(part.tflite_node_ids_replaced) for part in parts),
            nodes_total=total,
            partitions=len(parts),
            subgraph=subgraph,
        )
        for name, parts in groups.items()
    )
