"""What the stand-in tools answer: runs of benchmark_model as they are recorded, and short ones in the same words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tests.android_bench.standin.device import StandinDevice

TOOL = Path(__file__).parent / "benchmark_model"  # in the place of the user's file


@dataclass(frozen=True)
class Run:
    """`code` is the tool's exit code; "137" and "139" are by signal, and "hang" never ends."""

    stdout: str
    stderr: str = ""
    code: str = "0"


_START = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [10]
INFO: Graph: [net.tflite]
{flags}INFO: Loaded model net.tflite
"""
_END = """\
INFO: The input model file size (MB): 0.025828
INFO: Initialized session in 50.5ms.
INFO: Running benchmark for at least 20 iterations and at least 0 seconds but terminate if exceeding 60 seconds.
INFO: count=20 first=700 curr=410 min=400 max=700 avg=420 std=60 p5=402 median=410 p95=500

INFO: Running benchmark for at least 10 iterations and at least 0.2 seconds but terminate if exceeding 60 seconds.
INFO: count=50 first=410 curr=403 min=399 max=423 avg=405.5 std=4 p5=400 median=405 p95=416

INFO: Inference timings in us: Init: 50500, First inference: 700, Warmup (avg): 420, Inference (avg): 405.5
INFO: Memory footprint delta from the start of the tool (MB): init=3.5 overall=4
"""
_XNNPACK = """\
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 9 out of 9 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
"""
_NO_NNAPI = "WARN: NNAPI acceleration is unsupported on this platform.\n"

GOOD = Run(_START.format(flags="") + _END, _XNNPACK)
FELL_BACK = Run(_START.format(flags="INFO: Use NNAPI: [1]\n") + _NO_NNAPI + _END, _XNNPACK)
REFUSED = Run(
    _START.format(flags="INFO: Require full delegation: [1]\nINFO: Use NNAPI: [1]\n") + _NO_NNAPI,
    "ERROR: Disallowed CPU fallback detected.\nERROR: Benchmarking failed.\n",
    "1",
)
NOT_A_MODEL = Run(
    "INFO: STARTING!\n",
    "ERROR: The model is not a valid Flatbuffer buffer\nERROR: Failed to load model x\nERROR: Benchmarking failed.\n",
    "1",
)
KILLED = replace(GOOD, stdout=_START.format(flags=""), code="137")
CRASHED = replace(KILLED, code="139")
HANGING = replace(KILLED, code="hang")
CUT = replace(GOOD, stdout=GOOD.stdout[: GOOD.stdout.index("INFO: Inference timings")])

APP_LOG = """\
01-02 03:04:05.100  1234  1234 I ActivityManager: Start proc 5678:org.tensorflow.lite.tools.benchmark/u0a1 for activity
01-02 03:04:05.200  5678  5678 I tflite  : Graph: [net.tflite]
01-02 03:04:05.201  5678  5678 I tflite  : Loaded model net.tflite
01-02 03:04:05.202  5678  5678 I tflite  : Created TensorFlow Lite XNNPACK delegate for CPU.
01-02 03:04:05.203  5678  5678 V tflite  : Replacing 9 out of 9 node(s) with delegate (TfLiteXNNPackDelegate) node, \
yielding 1 partitions for subgraph 0.
01-02 03:04:06.100  5678  5678 I tflite  : Inference timings in us: Init: 5685, First inference: 18535, \
Warmup (avg): 14462.3, Inference (avg): 14575.2
01-02 03:04:06.101  1234  1300 W tflite_not_ours: another process
"""
CRASHED_APP_LOG = """\
01-02 03:04:05.200  5678  5678 I tflite  : Graph: [net.tflite]
01-02 03:04:05.300  5678  5690 F libc    : Fatal signal 11 (SIGSEGV), code 1 (SEGV_MAPERR), fault addr 0x0
"""


def answer(device: StandinDevice, run: Run, *then: Run) -> None:
    """Has the device's benchmark_model answer with `run` at first, then with those of `then`, the last one for ever."""
    runs = (run, *then)
    done = len(calls(device))
    for number, each in enumerate(runs[:-1], done + 1):
        _write(device.root / f"tool/next/{number}", each)
    _write(device.root / "tool/run", runs[-1])


def calls(device: StandinDevice) -> list[str]:
    """The arguments of every call of the tool so far."""
    return _lines(device.root / "tool/calls")


def masks(device: StandinDevice) -> list[str]:
    """What taskset was told, call by call."""
    return _lines(device.root / "tool/masks")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _write(folder: Path, run: Run) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stdout").write_text(run.stdout)
    (folder / "stderr").write_text(run.stderr)
    (folder / "code").write_text(run.code)
