"""The protobuf messages of benchmark_model's files, in a descriptor pool of their own.

TensorFlow and ai-edge-litert each register these messages in protobuf's default pool, which holds a name once: a
process that has imported the one cannot import the other's. The field numbers are those of TensorFlow's
profiling_info.proto and model_runtime_info.proto; enumerations are read as the numbers that they are, and fields that
nobody here asks for are left out.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tflite.profiling"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _FIELD.TYPE_STRING, "int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64}
# "name number type"; "*" before the type: repeated; a type that is not in _TYPES is a message.
_MESSAGES = {
    "BenchmarkProfilingData": ("init_profile 2 ModelProfilingData", "runtime_profile 3 ModelProfilingData"),
    "ModelProfilingData": (
        "subgraph_profiles 1 *SubGraphProfilingData",
        "delegate_profiles 2 *DelegateProfilingData",
    ),
    "SubGraphProfilingData": ("subgraph_index 2 int32", "per_op_profiles 3 *OpProfileData"),
    "DelegateProfilingData": ("delegate_name 1 string", "per_op_profiles 2 *OpProfileData"),
    "OpProfilingStat": (
        *("first 1 int64", "avg 3 int64", "min 6 int64", "max 7 int64", "sum 8 int64", "count 9 int64"),
    ),
    "OpProfileData": (
        *("node_type 1 string", "inference_microseconds 2 OpProfilingStat", "mem_kb 3 OpProfilingStat"),
        *("times_called 4 int64", "name 5 string", "run_order 6 int64"),
    ),
    "ModelRuntimeDetails": ("subgraphs 2 *RuntimeSubgraph",),
    "RuntimeSubgraph": (
        *("subgraph_id 1 int32", "nodes 3 *Node", "execution_plan 4 *int32", "subgraph_type 5 int32", "name 6 string"),
    ),
    "Node": (
        *("id 1 int32", "name 2 string", "type 3 string"),
        *("delegate_node_details 8 DelegateNodeDetails delegate", "delegated_to_node_id 9 int32 delegate"),
    ),
    "DelegateNodeDetails": ("delegate_name 1 string", "tflite_node_ids_replaced 2 *int32"),
}


def message(name: str) -> Any:
    """An empty message of a name in _MESSAGES."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="profiling.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for text in fields:
            _add_field(described, *text.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message_type: Any, name: str, number: str, kind: str, oneof: str = "") -> None:
    label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
    field = message_type.field.add(name=name, number=int(number), label=label)
    kind = kind.removeprefix("*")
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    if oneof:
        if not message_type.oneof_decl:
            message_type.oneof_decl.add(name=oneof)
        field.oneof_index = 0


_POOL = _pool()
