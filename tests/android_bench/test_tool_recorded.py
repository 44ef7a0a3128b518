"""Every recorded output: its figures exactly as they are printed, or the precise failure."""

from __future__ import annotations

import pytest

from android_bench.tool.parse import parse_output
from android_bench.tool.values import DelegateUse, Timing, ToolFailure
from tests.android_bench.tool_logs import RECORDED, recorded

KIB = 1024
# The warm-up's and the runs' count, first, curr, min, max, avg, std, p5, median and p95; the last line's Init, First
# inference, Warmup and Inference; the model's bytes; the memory in KiB after initialization and at the end.
FIGURES = {
    "30_xnnpack-f32": (
        "24 7139 4029 4027 7139 4207.38 612 4029 4072 4203",
        "50 4101 4038 3999 4232 4058.12 43 4007 4056 4167",
        "50536 7139 4207.38 4058.12",
        (25828, 3484, 3868),
    ),
    "31_cpu-noxnn-f32": (
        "11 33974 6788 5036 33974 9353.55 7894 5036 6798 33974",
        "27 8432 5142 5090 10966 7497.33 1673 5142 7018 10663",
        "33422 33974 9353.55 7497.33",
        (25828, 2716, 4764),
    ),
    "32_xnn-explicit": (
        "4 28268 25650 21167 28268 25326.5 2591 21167 26221 28268",
        "10 22978 34171 21823 34171 25836.4 3217 21823 25679 34171",
        "65016 28268 25326.5 25836.4",
        (12688, 4112, 4496),
    ),
    "33_opprof": (
        "11 32860 7472 4645 32860 9029 7759 4645 7472 32860",
        "19 13067 10942 4778 21206 9773.68 4127 4778 9191 21206",
        "35111 32860 9029 9773.68",
        (25828, 2844, 5276),
    ),
    "34_opprof-xnn": (
        "24 7712 4093 4032 7712 4262.62 720 4033 4112 4190",
        "46 4299 4106 4098 8296 4234.09 606 4103 4143 4231",
        "52230 7712 4262.62 4234.09",
        (25828, 3612, 3996),
    ),
    "35_opprof-csv-stdout": (
        "16 29534 4590 4590 29534 6223.81 6019 4590 4676 29534",
        "40 4894 4639 4568 5370 4679.07 129 4580 4645 4894",
        "34613 29534 6223.81 4679.07",
        (25828, 2844, 5276),
    ),
    "36_opprof-proto-file": (
        "24 7787 4049 4038 7787 4246.75 738 4042 4102 4137",
        "48 4227 4116 4045 4227 4099.12 35 4048 4097 4153",
        "50792 7787 4246.75 4099.12",
        (25828, 3612, 3996),
    ),
    "37_peakmem": (
        "24 7281 4115 4034 7281 4228.83 637 4040 4101 4237",
        "49 4106 4110 4044 4314 4100.67 42 4056 4091 4157",
        "47193 7281 4228.83 4100.67",
        (25828, 3228, 3740),
    ),
    "40_nnapi": (
        "24 7102 4062 4049 7102 4203.42 604 4053 4069 4134",
        "42 4086 6716 4032 16238 4778.33 2325 4040 4068 8201",
        "57404 7102 4203.42 4778.33",
        (25828, 3484, 3740),
    ),
    "42_hexagon": (
        "88 4456 1080 1077 4456 1135.74 356 1078 1086 1174",
        "181 1194 1107 1079 2566 1103.88 110 1080 1089 1135",
        "60111 4456 1135.74 1103.88",
        (12688, 3472, 3856),
    ),
    "46_badflag": (
        "24 7207 3996 3991 7207 4166.21 635 3991 4026 4154",
        "50 4134 4016 3990 4150 4025.32 30 3998 4016 4074",
        "48400 7207 4166.21 4025.32",
        (25828, 3484, 3868),
    ),
    "50_dyn-badlayer": (
        "109 2312 877 876 2312 915.147 183 877 882 929",
        "231 912 881 853 967 866.455 14 854 859 894",
        "43508 2312 915.147 866.455",
        (1960, 3332, 3460),
    ),
    "53_maxsecs": (
        "1 7597 7597 7597 7597 7597 0 7597 7597 7597",
        "72 4253 4047 4002 12126 4171.96 944 4012 4054 4112",
        "51045 7597 7597 4171.96",
        (25828, 3484, 3868),
    ),
    "54_verbose": (
        "24 7164 4080 4024 7164 4211.38 616 4028 4082 4134",
        "49 4156 4035 4023 4305 4081.39 45 4031 4075 4142",
        "49367 7164 4211.38 4081.39",
        (25828, 3484, 3868),
    ),
    "55_dryrun": ("", "", "48405", (25828, 3484, 3484)),
    "57_single": ("", "1 7126 7126 7126 7126 7126 0 7126 7126 7126", "49292 None None 7126", (25828, 3484, 3868)),
    "58_printstate": (
        "18 24925 4615 4583 24925 5770.78 4646 4583 4635 24925",
        "43 4724 4641 4598 4795 4643.37 35 4605 4634 4714",
        "37685 24925 5770.78 4643.37",
        (25828, 2588, 5020),
    ),
}

FAILURES = {
    "38_gpu": (
        "crashed",
        "the tool crashed while it prepared the model with the gpu delegate (SIGABRT, exit code 134); it said: "
        "Can not open OpenCL library on this device - undefined symbol: clEnqueueReleaseEGLObjectsKHR",
    ),
    "39_gpu-cl": (
        "delegate refused",
        "the delegate cannot be used: Failed to apply GPU delegate. (TfLiteGpuDelegate Init: Can not open OpenCL "
        "library on this device - undefined symbol: clEnqueueReleaseEGLObjectsKHR)",
    ),
    "41_nnapi-require": (
        "delegate refused",
        "the delegate does not run the whole model: Disallowed CPU fallback detected. "
        "(NNAPI acceleration is unsupported on this platform.)",
    ),
    "43_nofile": ("no model", "the model is not on the target: Could not open 'nofile.tflite'."),
    "44_nograph": (
        "bad flag",
        "a flag is missing: Please specify the name of your TF Lite input file with --graph",
    ),
    "45_badmodel": ("not a model", "the file is not a model: The model is not a valid Flatbuffer buffer"),
    "47_badvalue": (
        "bad flag",
        "a flag has a bad value: Failed to parse flag 'num_runs' against argv '--num_runs=abc'",
    ),
    "48_flex": (
        "unsupported operator",
        "the tool lacks an operator: Select TensorFlow op(s), included in the given model, is(are) not supported by "
        "this interpreter. Make sure you apply/... (FlexMatrixInverse)",
    ),
    "49_dyn-noshape": ("crashed", "the tool crashed in the warm-up (SIGSEGV, exit code 139)"),
    "51_badrank": (
        "wrong input",
        "an input does not fit the model: Input tensor #0 should have 4 dimensions!",
    ),
    "52_extdel": (
        "crashed",
        "the tool crashed while it prepared the model with the external delegate (SIGSEGV, exit code 139)",
    ),
    "56_listsig": ("no benchmark", "the tool listed the signatures: The Model contains 1 signature key(s)."),
    "59_help": ("no benchmark", "the tool printed its usage: usage: ./benchmark_model <flags>"),
}
# Read by test_tool_profile.py and test_tool_litert.py.
OTHERS = {"60_op-profiling-csv-file-cpu-noxnn", "61_op-profiling-csv-file-xnnpack", "62_litert-benchmark-python-x86"}


def timing(text: str) -> Timing | None:
    """A Timing from the figures of a count= line, in their order."""
    if not text:
        return None
    runs, *us = text.split()
    first, current, low, high, average, std, p5, median, p95 = map(float, us)
    return Timing(
        count=int(runs),
        first_us=first,
        current_us=current,
        min_us=low,
        max_us=high,
        avg_us=average,
        std_us=std,
        p5_us=p5,
        median_us=median,
        p95_us=p95,
    )


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_a_recorded_run(name: str) -> None:
    result = parse_output(*recorded(name))
    warmup, runs, last, (model_bytes, init_kib, overall_kib) = FIGURES[name]
    assert (result.warmup, result.runs) == (timing(warmup), timing(runs))
    us = [None if word == "None" else float(word) for word in (*last.split(), "None", "None", "None")[:4]]
    assert [
        result.init_us,
        result.first_inference_us,
        result.warmup_avg_us,
        result.inference_avg_us,
    ] == us
    assert result.model_size_bytes == model_bytes
    assert (result.memory_kind, result.tool, result.resolution_us) == ("delta", "benchmark_model", 1.0)
    assert (result.init_memory_bytes, result.overall_memory_bytes) == (init_kib * KIB, overall_kib * KIB)


@pytest.mark.parametrize("name", FAILURES)
def test_failure_of_a_recorded_run(name: str) -> None:
    with pytest.raises(ToolFailure) as caught:
        parse_output(*recorded(name))
    assert (caught.value.kind, str(caught.value)) == FAILURES[name]


@pytest.mark.parametrize("name", [*FIGURES, *FAILURES])
def test_one_text_for_both_streams_says_the_same(name: str) -> None:
    """As with 2>&1 and with adb's shell protocol v1."""
    stdout, stderr, code = recorded(name)
    outcomes = []
    for texts in ((stdout, stderr), (stderr + stdout, ""), ("", stdout + stderr)):
        try:
            outcomes.append(parse_output(*texts, code))
        except ToolFailure as error:
            outcomes.append((error.kind, str(error)))
    assert all(type(outcome) is type(outcomes[0]) for outcome in outcomes)
    if name in FAILURES:
        assert len(set(outcomes)) == 1
    else:
        assert len({(result.runs, result.fell_back, result.profile) for result in outcomes}) == 1


def test_every_recorded_file_is_tested() -> None:
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared/benchmark_model_logs")
    names = {path.stem for path in RECORDED.glob("*.txt")}
    assert names == {*FIGURES, *FAILURES, *OTHERS}
    assert {path.name for path in RECORDED.glob("*.pb")} == {"36_model_runtime_info.pb", "36_op_profile.pb"}


XNNPACK = "TfLiteXNNPackDelegate"


@pytest.mark.parametrize(
    ("name", "asked", "replaced", "fell_back"),
    [
        ("30_xnnpack-f32", (), (9, 9, 1), ""),
        ("31_cpu-noxnn-f32", (), None, ""),
        ("32_xnn-explicit", ("xnnpack",), (8, 9, 2), ""),
        ("40_nnapi", ("nnapi",), (9, 9, 1), "NNAPI acceleration is unsupported on this platform."),
        (
            "42_hexagon",
            ("hexagon",),
            (8, 9, 2),
            "Could not create Hexagon delegate: platform may not support delegate or required libraries are missing",
        ),
    ],
)
def test_delegates_of_a_recorded_run(
    name: str, asked: tuple[str, ...], replaced: tuple[int, int, int] | None, fell_back: str
) -> None:
    result = parse_output(*recorded(name))
    uses = ()
    if replaced:
        nodes, total, partitions = replaced
        uses = (DelegateUse(name=XNNPACK, nodes_replaced=nodes, nodes_total=total, partitions=partitions),)
    assert (result.delegates_asked, result.delegates, result.fell_back) == (asked, uses, fell_back)


def test_flags_memory_and_warnings_of_recorded_runs() -> None:
    assert parse_output(*recorded("46_badflag")).unconsumed_flags == ("--nosuch_flag=1",)
    assert parse_output(*recorded("37_peakmem")).peak_memory_bytes == 25876 * KIB  # 25.2695 MB
    assert parse_output(*recorded("30_xnnpack-f32")).peak_memory_bytes is None
    assert parse_output(*recorded("50_dyn-badlayer")).warnings == (
        "Tensor # 0 is named serving_default_keras_tensor_19:0 but flags call it foo",
    )


@pytest.mark.parametrize("name", ["30_xnnpack-f32", "33_opprof", "42_hexagon"])
def test_a_delegate_of_the_caller_is_judged_without_an_echo_of_flags(name: str) -> None:
    for delegate in ("gpu", "nnapi", "hexagon"):
        assert parse_output(*recorded(name), delegate).fell_back
    assert parse_output(*recorded("30_xnnpack-f32"), "xnnpack").fell_back == ""
    assert parse_output(*recorded("33_opprof"), "xnnpack").fell_back
