"""Operator profiles: tables, csv and protobuf, recorded and our own, and the graph as it ran."""

from __future__ import annotations

import math
from typing import Any

import pytest

from android_bench.tool import profile_messages
from android_bench.tool.parse import parse_output
from android_bench.tool.profile_proto import parse_model_runtime_info, parse_op_profile_proto
from android_bench.tool.profile_table import parse_op_profile
from android_bench.tool.values import DelegateUse, ModelNode, NodeTypeTime, OpProfile, OpTime, Timing, ToolFailure
from tests.android_bench.tool_logs import CSV, OLD, RECENT, recorded, recorded_file

# Per run of the model: node type, name, first and average in us, percent, cumulated percent; no memory, called once.
OPS = {
    "33_opprof": (
        (
            "CONV_2D",
            "[functional_1/re_lu_1/Relu6;functional_1/conv2d_1/convolution]:0",
            1483,
            2895,
            29.759,
            29.759,
        ),
        (
            "DEPTHWISE_CONV_2D",
            "[functional_1/re_lu_1_2/Relu6;functional_1/depthwise_conv2d_1/depthwise]:1",
            529,
            540,
            5.552,
            35.311,
        ),
        (
            "CONV_2D",
            "[functional_1/re_lu_2_1/Relu6;functional_1/conv2d_1_2/convolution]:2",
            9551,
            3786,
            38.921,
            74.232,
        ),
        (
            "DEPTHWISE_CONV_2D",
            "[functional_1/re_lu_3_1/Relu6;functional_1/depthwise_conv2d_1_2/depthwise]:3",
            270,
            477,
            4.907,
            79.139,
        ),
        (
            "CONV_2D",
            "[functional_1/re_lu_4_1/Relu6;functional_1/conv2d_2_1/convolution]:4",
            1006,
            1747,
            17.956,
            97.096,
        ),
        (
            "DEPTHWISE_CONV_2D",
            "[functional_1/re_lu_5_1/Relu6;functional_1/depthwise_conv2d_2_1/depthwise]:5",
            96,
            205,
            2.109,
            99.205,
        ),
        ("MEAN", "[functional_1/global_average_pooling2d_1/Mean]:6", 34, 36, 0.365, 99.570),
        ("FULLY_CONNECTED", "[functional_1/dense_1/MatMul2]:7", 17, 21, 0.214, 99.784),
        ("SOFTMAX", "[StatefulPartitionedCall_1:0]:8", 19, 21, 0.216, 100.0),
    ),
    "34_opprof-xnn": (
        (
            "Convolution (NHWC, F32) IGEMM",
            "Delegate/Convolution (NHWC, F32) IGEMM:0",
            935,
            951,
            22.785,
            22.785,
        ),
        (
            "Convolution (NHWC, F32) DWConv",
            "Delegate/Convolution (NHWC, F32) DWConv:1",
            544,
            557,
            13.335,
            36.120,
        ),
        (
            "Convolution (NHWC, F32) IGEMM",
            "Delegate/Convolution (NHWC, F32) IGEMM:2",
            1248,
            1248,
            29.902,
            66.022,
        ),
        (
            "Convolution (NHWC, F32) DWConv",
            "Delegate/Convolution (NHWC, F32) DWConv:3",
            357,
            295,
            7.063,
            73.085,
        ),
        (
            "Convolution (NHWC, F32) IGEMM",
            "Delegate/Convolution (NHWC, F32) IGEMM:4",
            921,
            992,
            23.756,
            96.841,
        ),
        (
            "Convolution (NHWC, F32) DWConv",
            "Delegate/Convolution (NHWC, F32) DWConv:5",
            112,
            114,
            2.742,
            99.582,
        ),
        ("Mean (ND) Mean", "Delegate/Mean (ND) Mean:6", 13, 10, 0.233, 99.816),
        (
            "Fully Connected (NC, F32) GEMM",
            "Delegate/Fully Connected (NC, F32) GEMM:7",
            5,
            4,
            0.102,
            99.918,
        ),
        ("Softmax (NC, F32)", "Delegate/Softmax (NC, F32):8", 6, 3, 0.082, 100.0),
    ),
}
XNN_NAMES = [name for _, name, *_ in OPS["34_opprof-xnn"]]
CPU_NAMES = [name for _, name, *_ in OPS["33_opprof"]]


def failure(text: str) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        parse_op_profile(text)
    return caught.value


def op(node_type: str, name: str, first: float, average: float, percent: float, cdf: float) -> OpTime:
    return OpTime(
        node_type=node_type,
        name=name,
        first_us=first,
        avg_us=average,
        percent=percent,
        cdf_percent=cdf,
        memory_kb=0,
        times_called=1,
    )


@pytest.mark.parametrize("name", OPS)
def test_recorded_tables(name: str) -> None:
    profile = parse_output(*recorded(name)).profile
    assert profile is not None
    assert profile.ops == tuple(op(*row) for row in OPS[name])
    assert profile.delegate_ops == ()


def test_recorded_types_totals_and_initialization() -> None:
    cpu = parse_output(*recorded("33_opprof")).profile
    xnn = parse_output(*recorded("34_opprof-xnn")).profile
    assert cpu and xnn
    assert [(row.node_type, row.count, row.avg_us, row.percent, row.times_called) for row in cpu.by_node_type] == [
        ("CONV_2D", 3, 8426.0, 86.652, 3),
        ("DEPTHWISE_CONV_2D", 3, 1222.0, 12.567, 3),
        ("MEAN", 1, 35.0, 0.360, 1),
        ("SOFTMAX", 1, 21.0, 0.216, 1),
        ("FULLY_CONNECTED", 1, 20.0, 0.206, 1),
    ]
    assert cpu.total == Timing(
        count=19, first_us=13005, current_us=10893, min_us=4745, max_us=21150, avg_us=9727.37, std_us=4121
    )
    assert [(row.name, row.avg_us, row.memory_kb) for row in xnn.init_ops] == [
        ("ModifyGraphWithDelegate/0", 12788.0, 512.0),
        ("AllocateTensors/0", 6605.0, 128.0),
    ]


@pytest.mark.parametrize(
    ("name", "average_us", "names", "by_type", "total_us"),
    [
        (
            "60_op-profiling-csv-file-cpu-noxnn",
            [1435.46, 512.744, 1375.51, 248.667, 958.846, 91.4359, 21.0256, 10.1795, 12.1795],
            CPU_NAMES,
            ("CONV_2D", 3, 3768.0),
            4666.05,
        ),
        (
            "61_op-profiling-csv-file-xnnpack",
            [952.583, 546.667, 1235.62, 290.687, 886.375, 109.792, 9.79167, 4.625, 4.35417],
            XNN_NAMES,
            ("Convolution (NHWC, F32) IGEMM", 3, 3073.0),
            4040.5,
        ),
        (
            "35_opprof-csv-stdout",
            [1423.25, 511.85, 1364.72, 249.875, 946.7, 92.3, 23.525, 10.1, 28.225],
            CPU_NAMES,
            ("CONV_2D", 3, 3733.0),
            4650.55,
        ),
    ],
)
def test_recorded_csv(
    name: str, average_us: list[float], names: list[str], by_type: tuple[str, int, float], total_us: float
) -> None:
    profile = parse_op_profile(recorded(name)[0])
    assert [row.avg_us for row in profile.ops] == average_us, "exact: the decimals as printed, times 1000"
    assert [row.name for row in profile.ops] == names, "commas are back in the names"
    slowest = profile.by_node_type[0]
    assert (slowest.node_type, slowest.count, slowest.avg_us) == by_type
    assert profile.total and profile.total.avg_us == total_us


def test_recorded_protobuf() -> None:
    profile = parse_op_profile_proto(recorded_file("36_op_profile.pb").read_bytes())
    assert [row.name for row in profile.ops] == XNN_NAMES
    assert [row.first_us for row in profile.ops] == [938, 599, 1216, 290, 873, 109, 15, 6, 7]
    sums = [45669, 26868, 58835, 14041, 42289, 5283, 470, 216, 158]  # over 48 runs
    assert [row.avg_us for row in profile.ops] == [us / 48 for us in sums]
    assert [row.percent for row in profile.ops] == pytest.approx([100 * us / sum(sums) for us in sums])
    assert profile.ops[-1].cdf_percent == pytest.approx(100)
    assert [(row.node_type, row.count) for row in profile.by_node_type] == [
        ("Convolution (NHWC, F32) IGEMM", 3),
        ("Convolution (NHWC, F32) DWConv", 3),
        ("Mean (ND) Mean", 1),
        ("Fully Connected (NC, F32) GEMM", 1),
        ("Softmax (NC, F32)", 1),
    ]
    assert profile.by_node_type[0].avg_us == pytest.approx((45669 + 58835 + 42289) / 48)
    assert [(row.node_type, row.avg_us, row.memory_kb) for row in profile.init_ops] == [
        ("ModifyGraphWithDelegate", 12916.0, 512.0),
        ("AllocateTensors", 6568.0, 128.0),
    ]
    assert profile.total is None


def test_recorded_runtime_info() -> None:
    (graph,) = parse_model_runtime_info(recorded_file("36_model_runtime_info.pb").read_bytes())
    name = "TfLiteXNNPackDelegate"
    assert graph.executed == (ModelNode(node_id=9, name=name, nodes_replaced=9),)
    assert (graph.name, graph.nodes_total, graph.not_delegated) == ("main", 9, ())
    assert graph.delegates == (DelegateUse(name=name, nodes_replaced=9, nodes_total=9, partitions=1),)


def test_own_tables() -> None:
    profile = parse_output(RECENT, "", 0).profile
    assert profile and profile.ops[0] == op("TfLiteGpuDelegateV2", "[out]:2", 60, 75, 75, 75)
    assert profile.ops[1].memory_kb == -4
    assert profile.by_node_type[1] == NodeTypeTime(
        node_type="SOFTMAX", count=1, avg_us=25, percent=25, cdf_percent=100, memory_kb=-4, times_called=1
    )
    assert profile == parse_op_profile(RECENT)


def test_own_csv_with_commas_in_types() -> None:
    profile = parse_op_profile(CSV)
    assert [(row.node_type, row.name, row.avg_us) for row in profile.ops] == [
        ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", 625.0),
        ("Softmax (NC, F32)", "Delegate/Softmax (NC, F32):1", 375.0),
    ]
    assert [row.node_type for row in profile.by_node_type] == ["Convolution (NHWC, F32) IGEMM", "Softmax (NC, F32)"]


def with_start(text: str) -> str:
    """The profile as older builds print it: with the start of each operator."""
    for old, new in (
        ("[first]", "[start]\t[first]"),
        ("type, first", "type, start, first"),
        ("\t0.060", "\t0.001\t0.060"),
        ("\t0.020", "\t0.080\t0.020"),
        ("\t5.5\t5.5\t100.000%\t100.000%\t128.000\t1\t", "\t0.000\t5.5\t5.5\t100.000%\t100.000%\t128.000\t1\t"),
        ("IGEMM, 0.5,", "IGEMM, 0.001, 0.5,"),
        ("F32), 0.25,", "F32), 0.080, 0.25,"),
    ):
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("text", [RECENT, CSV])
def test_older_tables_have_a_start_column(text: str) -> None:
    new, old = parse_op_profile(text), parse_op_profile(with_start(text))
    assert [row.start_us for row in old.ops] == [1.0, 80.0]
    assert [row.start_us for row in new.ops] == [None, None]
    assert [row.avg_us for row in old.ops] == [row.avg_us for row in new.ops]
    assert old.by_node_type == new.by_node_type


def test_delegates_and_subgraphs_have_tables_of_their_own() -> None:
    tables = CSV.partition("\n")[2]
    text = f"{CSV}\nSubgraph (index: 1, name: body):\n{tables}\nDelegate internal:\n{tables}"
    named = text.replace("Runs:\n", "Runs:\nPrimary graph (name: main):\n")
    profile = parse_op_profile(CSV)
    for several in (text, named):
        both = parse_op_profile(several)
        assert both.ops == both.delegate_ops == profile.ops
        assert both.by_node_type == profile.by_node_type


def test_no_profile() -> None:
    assert parse_output(OLD, "", 0).profile is None
    assert failure(OLD).kind == "truncated"


@pytest.mark.parametrize(
    ("known", "other", "kind"),
    [
        ("0.375, 37.5%", "0.375, 37.5", "unreadable"),
        ("0.375, 37.5%", "nan, 37.5%", "unreadable"),
        ("0.375, 37.5%", "inf, 37.5%", "unreadable"),
        ("0.375, 37.5%", "-1, 37.5%", "unreadable"),
        ("0.375, 37.5%", "0.375, 375%", "unreadable"),
        ("0.375, 37.5%, 100%, 0, 1,", "0.375,", "unreadable"),
        ("avg_ms, %", "avg_us, %", "unreadable"),
        ("avg_ms, %", "avg, %", "unreadable"),
        ("executed: 2", "executed: 3", "truncated"),
        ("executed: 2", "executed: two", "unreadable"),
        ("Number of nodes executed: 2\n", "", "truncated"),
        ("Softmax (NC, F32), 1, 0.375, 37.5%, 100%, 0, 1\n", "", "truncated"),
    ],
)
def test_damaged_tables(known: str, other: str, kind: str) -> None:
    assert known in CSV
    error = failure(CSV.replace(known, other))
    assert error.kind == kind
    if kind == "unreadable" and "\n" not in other:
        assert other.split(",")[0].split()[-1] in str(error), "the line is shown"


def test_a_message_in_the_middle_of_a_table() -> None:
    """Standard error is not in step with standard output when both go to one pipe."""
    message = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    lines = CSV.splitlines(keepends=True)
    for index in range(len(lines)):
        assert parse_op_profile("".join([*lines[:index], message, *lines[index:]])) == parse_op_profile(CSV)


def profile_message() -> Any:
    """Two operators over four runs, which take 10 and 30 us on average."""
    message = profile_messages.message("BenchmarkProfilingData")
    graph = message.runtime_profile.subgraph_profiles.add(subgraph_index=0)
    for order, average in ((1, 30), (0, 10)):
        row = graph.per_op_profiles.add(node_type="ADD", name=f"op:{order}", run_order=order, times_called=1)
        stat = row.inference_microseconds
        stat.first, stat.avg, stat.min, stat.max = average + 1, average, average - 1, average + 1
        stat.sum, stat.count = 4 * average, 4
    return message


def test_own_protobuf() -> None:
    profile = parse_op_profile_proto(profile_message().SerializeToString())
    assert [(row.name, row.first_us, row.avg_us, row.percent) for row in profile.ops] == [
        ("op:0", 11.0, 10.0, 25.0),
        ("op:1", 31.0, 30.0, 75.0),
    ]
    assert profile.by_node_type == (
        NodeTypeTime(node_type="ADD", count=2, avg_us=40, percent=100, cdf_percent=100, memory_kb=0, times_called=2),
    )


def test_protobuf_tells_delegate_operators_apart() -> None:
    message = profile_message()
    inside = message.runtime_profile.delegate_profiles.add(delegate_name="Gpu")
    inside.per_op_profiles.append(message.runtime_profile.subgraph_profiles[0].per_op_profiles[0])
    called = message.runtime_profile.subgraph_profiles.add(subgraph_index=1)
    called.per_op_profiles.append(message.runtime_profile.subgraph_profiles[0].per_op_profiles[0])
    profile = parse_op_profile_proto(message.SerializeToString())
    assert [row.name for row in profile.delegate_ops] == ["op:1"] and len(profile.ops) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("sum", -4), ("count", 0), ("first", 10**13), ("min", 50), ("max", 1), ("avg", 31_000), ("sum", 400)],
)
def test_protobuf_whose_times_contradict_each_other(field: str, value: int) -> None:
    message = profile_message()
    setattr(message.runtime_profile.subgraph_profiles[0].per_op_profiles[0].inference_microseconds, field, value)
    with pytest.raises(ToolFailure, match="op:1"):
        parse_op_profile_proto(message.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\x00", b"INFO: STARTING!\n", b"\xff" * 40])
def test_bytes_that_are_no_protobuf_file_of_the_tool(data: bytes) -> None:
    for parse in (parse_op_profile_proto, parse_model_runtime_info):
        with pytest.raises(ToolFailure):
            parse(data)


@pytest.mark.parametrize("damaged", [b"op:\xff", b"\xffp:1"])
def test_protobuf_names_that_are_no_text(damaged: bytes) -> None:
    """The protobuf library gives such a name back as bytes."""
    with pytest.raises(ToolFailure, match="not text"):
        parse_op_profile_proto(profile_message().SerializeToString().replace(b"op:1", damaged))
    nodes = runtime_message().SerializeToString()
    with pytest.raises(ToolFailure, match="not text"):
        parse_model_runtime_info(nodes.replace(b"OP1", b"OP\xff"))


def test_a_profile_is_no_runtime_info() -> None:
    with pytest.raises(ToolFailure):
        parse_model_runtime_info(profile_message().SerializeToString())


def runtime_message() -> Any:
    """Four nodes; a delegate (node 4) took 0 and 2 in one partition and node 3 in another (node 5); 1 is left."""
    message = profile_messages.message("ModelRuntimeDetails")
    graph = message.subgraphs.add(subgraph_id=0, name="main", execution_plan=[4, 1, 5])
    for node_id in range(4):
        graph.nodes.add(id=node_id, name=f"OP{node_id}")
    for node_id, replaced in ((4, [0, 2]), (5, [3])):
        node = graph.nodes.add(id=node_id, name="Gpu")
        node.delegate_node_details.delegate_name = "Gpu"
        node.delegate_node_details.tflite_node_ids_replaced.extend(replaced)
    return message


def test_own_runtime_info() -> None:
    (graph,) = parse_model_runtime_info(runtime_message().SerializeToString())
    left = ModelNode(node_id=1, name="OP1")
    assert graph.executed == (
        ModelNode(node_id=4, name="Gpu", nodes_replaced=2),
        left,
        ModelNode(node_id=5, name="Gpu", nodes_replaced=1),
    )
    assert (graph.nodes_total, graph.not_delegated) == (4, (left,))
    assert graph.delegates == (DelegateUse(name="Gpu", nodes_replaced=3, nodes_total=4, partitions=2),)


def test_runtime_info_whose_plan_names_no_node() -> None:
    message = runtime_message()
    message.subgraphs[0].execution_plan.append(9)
    with pytest.raises(ToolFailure, match="contradict"):
        parse_model_runtime_info(message.SerializeToString())


def test_percentages_of_tables_and_protobuf_agree() -> None:
    """Both formats of one kind of run: percentages are of the sum of all operators."""
    for profile in (parse_op_profile(CSV), parse_op_profile_proto(profile_message().SerializeToString())):
        assert isinstance(profile, OpProfile)
        total = math.fsum(row.avg_us for row in profile.ops)
        # CSV was written with round figures and the protobuf's are divided: only floating-point error is left.
        assert [row.percent for row in profile.ops] == pytest.approx([100 * row.avg_us / total for row in profile.ops])
