"""Outputs of benchmark tools for the tests: the recorded ones beside the clone, and short ones of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "benchmark_model_logs"


def recorded_file(name: str) -> Path:
    """A recorded file; skips where the shared data is absent."""
    if not RECORDED.is_dir():
        pytest.skip("needs ../shared/benchmark_model_logs")
    return RECORDED / name


def recorded(name: str) -> tuple[str, str, int]:
    """Stdout, stderr and exit code of a recorded run; a file without exit code is all stdout, with exit code 0."""
    text = recorded_file(f"{name}.txt").read_text()
    header, _, body = text.partition("# --- stdout ---\n")
    if not body:
        return text, "", 0
    stdout, _, stderr = body.partition("# --- stderr ---\n")
    return stdout, stderr, int(header.rpartition("# exit code: ")[2])


# A whole run of a recent build, with the operator profile; nothing of it was measured.
RECENT = """\
INFO: STARTING!
INFO: Graph: [net.tflite]
INFO: Use gpu: [1]
INFO: Loaded model net.tflite
INFO: GPU delegate created.
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ \
1 delegate kernels.
INFO: The input model file size (MB): 1.25
INFO: Initialized session in 12.5ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=2 first=300 curr=100 min=100 max=300 avg=200 std=100 p5=100 median=300 p95=300

INFO: Running benchmark for at least 4 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=4 first=100 curr=130 min=100 max=130 avg=115 std=11 p5=100 median=120 p95=130

INFO: Inference timings in us: Init: 12500, First inference: 300, Warmup (avg): 200, Inference (avg): 115
INFO: Memory footprint delta from the start of the tool (MB): init=2.5 overall=4
INFO: Overall peak memory footprint (MB) via periodic monitoring: 20
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tAllocateTensors\t5.5\t5.5\t100.000%\t100.000%\t128.000\t1\tAllocateTensors/0

Number of nodes executed: 1
============================== Summary by node type ==============================
\t[Node type]\t[count]\t[avg ms]\t[avg %]\t[cdf %]\t[mem KB]\t[times called]
\tAllocateTensors\t1\t5.5\t100.000%\t100.000%\t128.000\t1

Timings (microseconds): count=1 curr=5500
Memory (bytes): count=0
1 nodes observed

INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tTfLiteGpuDelegateV2\t0.060\t0.075\t75.000%\t75.000%\t0.000\t1\t[out]:2
\tSOFTMAX\t0.020\t0.025\t25.000%\t100.000%\t-4.000\t1\t[Identity]:1

Number of nodes executed: 2
============================== Summary by node type ==============================
\t[Node type]\t[count]\t[avg ms]\t[avg %]\t[cdf %]\t[mem KB]\t[times called]
\tTfLiteGpuDelegateV2\t1\t0.075\t75.000%\t75.000%\t0.000\t1
\tSOFTMAX\t1\t0.025\t25.000%\t100.000%\t-4.000\t1

Timings (microseconds): count=4 first=80 curr=100 min=80 max=110 avg=100 std=11
Memory (bytes): count=0
2 nodes observed

VERBOSE: Replacing 7 out of 8 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions for subgraph 0.
"""

# Builds of 2018 to 2019: no levels, no percentiles, "no stats".
OLD = """\
STARTING!
Num runs: [50]
Graph: [net.tflite]
Use nnapi : [0]
Loaded model net.tflite
resolved reporter
Initialized session in 4.452ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=1 curr=146161

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=137789 curr=137254 min=137079 max=143416 avg=1.37722e+05 std=896

Average inference timings in us: Warmup: 146161, Init: 4452, no stats: 137722
"""

# The csv profile of an XNNPACK run: unescaped commas in types, tabs for commas in names.
CSV = """\
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0.5, 0.625, 62.5%, 62.5%, 0, 1, Delegate/Convolution (NHWC\t F32) IGEMM:0
Softmax (NC, F32), 0.25, 0.375, 37.5%, 100%, 0, 1, Delegate/Softmax (NC\t F32):1

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0.5, 0.625, 62.5%, 62.5%, 0, 1, Delegate/Convolution (NHWC\t F32) IGEMM:0
Softmax (NC, F32), 0.25, 0.375, 37.5%, 100%, 0, 1, Delegate/Softmax (NC\t F32):1

Number of nodes executed: 2
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
Convolution (NHWC, F32) IGEMM, 1, 0.625, 62.5%, 62.5%, 0, 1
Softmax (NC, F32), 1, 0.375, 37.5%, 100%, 0, 1

Timings (microseconds): count=8 first=750 curr=1000 min=750 max=1100 avg=1000 std=90
Memory (bytes): count=0
2 nodes observed
"""

LITERT = """\
2026-01-02 03:04:05 INFO benchmark_litert_model: Model:           net.tflite
2026-01-02 03:04:05 INFO benchmark_litert_model: Accelerators:    CPU
INFO: [cpu_registry.cc:75] XNNPACK CPU accelerator registered.

========================================
 BENCHMARK RESULTS
========================================
Model initialization:  1.25 ms
Warmup (first):        3.50 ms
Warmup (avg):          2.75 ms (2 runs)
Inference (avg):       2.10 ms (10 runs)
Inference (min):       2.00 ms
Inference (max):       2.40 ms
Inference (median):    2.08 ms
Inference (std):       0.12 ms
Inference (p5):        2.01 ms
Inference (p95):       2.35 ms
Throughput:            12.50 MB/s
Fully accelerated:     True
========================================
"""

LITERT_JSON = """\
{"model": "net.tflite", "model_size_mb": 1.25, "accelerators": ["CPU"], "signature": "serving_default",
 "fully_accelerated": true, "num_threads": 1,
 "latency": {"init_ms": 1.25, "warmup_first_ms": 3.5, "warmup_avg_ms": 2.75, "num_warmup_runs": 2, "avg_ms": 2.1,
  "min_ms": 2.0, "max_ms": 2.4, "median_ms": 2.08, "std_ms": 0.12, "p5_ms": 2.01, "p95_ms": 2.35, "num_runs": 10},
 "throughput_mb_s": 12.5}
"""
