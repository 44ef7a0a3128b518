"""One session on this machine: loads a model in a fresh process, warms it up, times its invocations.

Run as a script by android_bench.runners.host: a JSON request on stdin, one JSON line on stdout, in which durations are
nanoseconds. It needs ai-edge-litert and NumPy only (no TensorFlow: the start takes 0.2 s, not 5 s).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

INPUT_SEED = 0
MAX_RUNS = 200_000  # of one session, so that the answer of a microsecond network stays below 2 MB
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

RESOLVERS = {
    "xnnpack": OpResolverType.AUTO,  # LiteRT's default: XNNPACK takes what it can
    "cpu": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


class StepFailed(Exception):
    """A step of the session failed; `step` is "pin", "load", "input" or "invoke"."""

    def __init__(self, step: str, error: Exception) -> None:
        super().__init__(" ".join(str(error).split()) or type(error).__name__)
        self.step = step


def main() -> int:
    """Answers the request on stdin; exit code 1 if a step failed."""
    request = json.load(sys.stdin)
    _die_with_parent(request["parent_pid"])
    try:
        answer = session(request)
    except StepFailed as failure:
        answer = {"failed": failure.step, "message": str(failure)}
    print(json.dumps(answer), flush=True)
    return 1 if "failed" in answer else 0


def session(request: dict[str, Any]) -> dict[str, Any]:
    """Pins the process, then loads, warms up and times the model. Raises StepFailed."""
    _step("pin", lambda: _pin(request["cpu_mask"]))
    before_bytes = _memory_bytes("VmRSS")
    began_ns = time.perf_counter_ns()
    interpreter = _step("load", lambda: _load(request))
    init_ns = time.perf_counter_ns() - began_ns
    _step("input", lambda: fill_inputs(interpreter))
    timed = _step("invoke", lambda: time_runs(interpreter.invoke, request["plan"]))
    return {
        **timed,
        "init_ns": init_ns,
        "memory_before_model_bytes": before_bytes,
        "peak_memory_bytes": _memory_bytes("VmHWM"),
        "cores": sorted(os.sched_getaffinity(0)),
        "delegate_partitions": _delegate_partitions(interpreter),
    }


def time_runs(invoke: Callable[[], None], plan: dict[str, Any]) -> dict[str, Any]:
    """Times single invocations as android_bench.session.SessionPlan says, the garbage collector being off.

    Returns `durations_ns` and the wall and CPU time of the whole timed part.
    """
    clock = time.perf_counter_ns
    latest = clock() + round(plan["max_seconds"] * 1e9)
    for _ in range(plan["warmup_runs"]):
        invoke()
        if clock() > latest:
            break
    gc.collect()
    gc.disable()
    durations: list[int] = []
    cpu_began, began = time.thread_time_ns(), clock()
    enough, latest = began + round(plan["min_seconds"] * 1e9), began + round(plan["max_seconds"] * 1e9)
    end = began
    while end < latest and (len(durations) < plan["runs"] or end < enough) and len(durations) < MAX_RUNS:
        start = clock()
        invoke()
        end = clock()
        durations.append(end - start)
    cpu_ns = time.thread_time_ns() - cpu_began
    gc.enable()
    return {"durations_ns": durations, "wall_ns": end - began, "cpu_ns": cpu_ns}


def fill_inputs(interpreter: Interpreter) -> None:
    """Fills every input with random data that is the same in every session.

    Integers wider than a byte are 0 or 1: they may be indices, for which a large value is out of bounds.
    """
    random = np.random.default_rng(INPUT_SEED)
    for detail in interpreter.get_input_details():
        dtype, shape = np.dtype(detail["dtype"]), tuple(detail["shape"])
        data: np.ndarray[Any, Any]
        if dtype.kind == "f":
            data = random.uniform(-1.0, 1.0, shape)
        elif dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 1):
            data = random.integers(0, 2, shape)
        elif dtype.kind in "iu":
            data = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape)
        else:
            raise ValueError(f"input {detail['name']} has type {dtype}; only numbers and booleans can be filled")
        interpreter.set_tensor(detail["index"], data.astype(dtype))


def _pin(cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _load(request: dict[str, Any]) -> Interpreter:
    resolver = RESOLVERS[request["delegate"]]
    interpreter = Interpreter(
        request["model_path"], num_threads=request["num_threads"], experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    return interpreter


def _delegate_partitions(interpreter: Interpreter) -> int | None:
    """How many parts of the graph a delegate took; None if this LiteRT does not tell (it has no public call for it)."""
    details = getattr(interpreter, "_get_ops_details", None)
    return None if details is None else sum(op["op_name"] == "DELEGATE" for op in details())


def _memory_bytes(field: str) -> int:
    """A field of /proc/self/status. getrusage's peak would be the parent's, if that one is larger: exec inherits it."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent dies, even by SIGKILL; else it would disturb later sessions."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call
        sys.exit(1)


def _step(name: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:
        raise StepFailed(name, error) from error


if __name__ == "__main__":
    sys.exit(main())
