"""One session on this machine: loads a model in a fresh process, warms it up, times its invocations.

Two tools: LiteRT's Interpreter, and its CompiledModel, which newer apps use. Run as a script by
android_bench.runners.host: a JSON request on stdin, one JSON line on stdout, in which durations are nanoseconds. It
needs ai-edge-litert and NumPy only (no TensorFlow: the start takes 0.2 s, not 5 s).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

INPUT_SEED = 0
MAX_RUNS = 200_000  # of one session, so that the answer of a microsecond network stays below 2 MB
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

# How each tool is asked for a delegate.
RESOLVERS = {
    "xnnpack": OpResolverType.AUTO,  # LiteRT's default: XNNPACK takes what it can
    "cpu": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
KERNEL_MODES = {"xnnpack": "DELEGATE", "cpu": "BUILTIN"}  # members of ai_edge_litert's CpuKernelMode


class StepFailed(Exception):
    """A step of the session failed; `step` is "pin", "load", "input" or "invoke"."""

    def __init__(self, step: str, error: Exception) -> None:
        super().__init__(" ".join(str(error).split()) or type(error).__name__)
        self.step = step


def respond(serve: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Answers the request on stdin by `serve`; exit code 1 if a step failed."""
    request = json.load(sys.stdin)
    _die_with_parent(request["parent_pid"])
    try:
        answer = serve(request)
    except StepFailed as failure:
        answer = {"failed": failure.step, "message": str(failure)}
    print(json.dumps(answer), flush=True)
    return 1 if "failed" in answer else 0


def session(request: dict[str, Any]) -> dict[str, Any]:
    """Pins the process, then loads, warms up and times the model. Raises StepFailed."""
    _step("pin", lambda: _pin(request["cpu_mask"]))
    tool = TOOLS[request["tool"]]
    before_bytes = _memory_bytes("VmRSS")
    began_ns = time.perf_counter_ns()
    loaded = _step("load", lambda: tool(request))
    init_ns = time.perf_counter_ns() - began_ns
    run = _step("input", loaded.ready)
    timed = _step("invoke", lambda: time_runs(run, request["plan"]))
    return {
        **timed,
        "init_ns": init_ns,
        "memory_before_model_bytes": before_bytes,
        "peak_memory_bytes": _memory_bytes("VmHWM"),
        "cores": sorted(os.sched_getaffinity(0)),
        "delegate_partitions": loaded.delegate_partitions(),
    }


class InterpreterTool:
    """A model in LiteRT's Interpreter. Making one loads the model and allocates its tensors."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._interpreter = Interpreter(
            request["model_path"],
            num_threads=request["num_threads"],
            experimental_op_resolver_type=RESOLVERS[request["delegate"]],
        )
        self._interpreter.allocate_tensors()

    def ready(self) -> Callable[[], None]:
        """Fills the inputs; returns what runs the model once."""
        for detail, data in _random_inputs(self._interpreter.get_input_details()):
            self._interpreter.set_tensor(detail["index"], data)
        invoke: Callable[[], None] = self._interpreter.invoke
        return invoke

    def delegate_partitions(self) -> int | None:
        """How many parts of the graph a delegate took; None if this LiteRT does not tell (it has no public call)."""
        details = getattr(self._interpreter, "_get_ops_details", None)
        return None if details is None else sum(op["op_name"] == "DELEGATE" for op in details())


class CompiledModelTool:
    """A model in LiteRT's CompiledModel on the CPU accelerator; its first signature is run."""

    def __init__(self, request: dict[str, Any]) -> None:
        from ai_edge_litert import compiled_model as litert  # the other tool starts faster without

        self._request = request
        kernels = litert.CpuKernelMode[KERNEL_MODES[request["delegate"]]]
        options = litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.CPU,
            cpu_options=litert.CpuOptions(num_threads=request["num_threads"], kernel_mode=kernels),
        )
        self._model = litert.CompiledModel.from_file(request["model_path"], options=options)

    def ready(self) -> Callable[[], None]:
        """Fills the input buffers; returns what runs the model once, without copying inputs or outputs."""
        model = self._model
        key, names = next(iter(model.get_signature_list().items()))
        details = model.get_input_tensor_details(key)
        inputs = [model.create_input_buffer_by_name(key, name) for name in names["inputs"]]
        outputs = [model.create_output_buffer_by_name(key, name) for name in names["outputs"]]
        filled = _random_inputs([details[name] for name in names["inputs"]])
        for buffer, (_, data) in zip(inputs, filled, strict=True):
            buffer.write(data)
        index = model.get_signature_index(key)
        return lambda: model.run_by_index(index, inputs, outputs)

    def delegate_partitions(self) -> int | None:
        """1 if a delegate took the whole graph. Of a part CompiledModel does not tell more: then it is what the
        Interpreter, which has the same delegate, says of the same file.
        """
        return 1 if self._model.is_fully_accelerated() else InterpreterTool(self._request).delegate_partitions()


TOOLS: dict[str, type[InterpreterTool] | type[CompiledModelTool]] = {
    "interpreter": InterpreterTool,
    "compiled_model": CompiledModelTool,
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


def _random_inputs(details: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """Each input with random data that is the same in every session.

    Integers wider than a byte are 0 or 1: they may be indices, for which a large value is out of bounds.
    """
    random = np.random.default_rng(INPUT_SEED)
    for detail in details:
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
        yield detail, data.astype(dtype)


def _pin(cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


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
    sys.exit(respond(session))
