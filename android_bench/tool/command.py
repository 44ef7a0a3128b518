"""Command lines of the benchmark tools: benchmark_model as a program or an APK, and litert-benchmark.

The programs take `--flag=value`; what runs through a shell (adb, ssh) is quoted for a POSIX sh, which Android's is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from android_bench.session import SessionPlan
from core.checks import in_choices, in_range
from core.errors import bad_value

# The flags of each delegate. XNNPACK is applied even where it is not asked for, unless its flag says false.
_DELEGATE_FLAGS = {
    "cpu": ("--use_xnnpack=false",),
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
    "hexagon": ("--use_hexagon=true",),
}
_LITERT_FLAGS: dict[str, tuple[str, ...]] = {"xnnpack": (), "gpu": ("--use_gpu",), "npu": ("--use_npu",)}
_ACCELERATORS = ("gpu", "nnapi", "hexagon", "npu")
DELEGATES = tuple(_DELEGATE_FLAGS)
LITERT_DELEGATES = tuple(_LITERT_FLAGS)

_APK_ACTIVITY = "org.tensorflow.lite.tools.benchmark/.BenchmarkModelActivity"
_MAX_THREADS = 256


def taskset_mask(cores: Iterable[int]) -> str:
    """The hexadecimal mask of some cores, as taskset takes it on Android (toybox) and on Linux: (4, 5) is "30"."""
    return f"{sum(1 << core for core in set(cores)):x}"


def _pinned(cpu_mask: tuple[int, ...]) -> tuple[str, ...]:
    return ("taskset", taskset_mask(cpu_mask)) if cpu_mask else ()


@dataclass(frozen=True, slots=True)
class BenchmarkCommand:
    """One run of benchmark_model.

    Attributes:
      tool_path, model_path: on the target.
      plan: warm-up and runs. Warm-up is counted in runs alone.
      num_threads: of the CPU kernels.
      delegate: one of DELEGATES.
      op_profile_path: where on the target the operator profile (protobuf) goes; "" for none. Profiling costs speed.
      runtime_info_path: where the graph as it ran goes (protobuf); "" for none.
      peak_memory: watch the footprint with a thread of its own, which may slow a model down.
      require_full_delegation: let the tool fail if gpu, nnapi or hexagon does not run the whole model.
      cpu_mask: cores to pin to; empty: not pinned.
      extra_flags: more flags, such as "--gpu_backend=cl"; they come last, so they win.

    Raises UsageError for another delegate, number of threads or path than the tool can take.
    """

    tool_path: str
    model_path: str
    plan: SessionPlan
    num_threads: int = 1
    delegate: str = "xnnpack"
    op_profile_path: str = ""
    runtime_info_path: str = ""
    peak_memory: bool = False
    require_full_delegation: bool = True
    cpu_mask: tuple[int, ...] = ()
    extra_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        in_choices("delegate of benchmark_model", self.delegate, DELEGATES)
        in_range("threads of benchmark_model", self.num_threads, 1, _MAX_THREADS)

    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return (*_pinned(self.cpu_mask), self.tool_path, *self._flags())

    def shell_line(self) -> str:
        """The same as one line for the target's shell."""
        return shlex.join(self.argv())

    def apk_argv(self) -> tuple[str, ...]:
        """The activity manager's command that starts the APK; the tool's output is then in logcat, without exit code.

        The APK splits its arguments at white space, so a path with some raises UsageError; it cannot be pinned.
        """
        for flag in self._flags():
            if flag.split() != [flag]:
                raise bad_value("argument of the benchmark APK", flag, "text without white space")
        return ("am", "start", "-S", "-n", _APK_ACTIVITY, "--es", "args", " ".join(self._flags()))

    def apk_shell_line(self) -> str:
        """The same as one line for the device's shell."""
        return shlex.join(self.apk_argv())

    def _flags(self) -> tuple[str, ...]:
        return (
            f"--graph={self.model_path}",
            f"--num_threads={self.num_threads}",
            *_DELEGATE_FLAGS[self.delegate],
            *self._delegation(),
            f"--warmup_runs={self.plan.warmup_runs}",
            "--warmup_min_secs=0",
            f"--num_runs={self.plan.runs}",
            f"--min_secs={_decimal(self.plan.min_seconds)}",
            f"--max_secs={_decimal(self.plan.max_seconds)}",
            *self._profiling(),
            *(("--report_peak_memory_footprint=true",) if self.peak_memory else ()),
            *self.extra_flags,
        )

    def _delegation(self) -> tuple[str, ...]:
        required = self.require_full_delegation and self.delegate in _ACCELERATORS
        return ("--require_full_delegation=true",) if required else ()

    def _profiling(self) -> tuple[str, ...]:
        flags: tuple[str, ...] = ()
        if self.op_profile_path:
            flags = (
                "--enable_op_profiling=true",
                "--op_profiling_output_mode=proto",
                f"--op_profiling_output_file={self.op_profile_path}",
                # A network of more operators than the buffer's 1024 entries would lose some.
                "--allow_dynamic_profiling_buffer_increase=true",
            )
        if self.runtime_info_path:
            info = f"--model_runtime_info_output_file={self.runtime_info_path}"
            flags += ("--export_model_runtime_info=true", info)
        return flags


def _decimal(seconds: float) -> str:
    """Without an exponent, which the tool's flags take, but no reader of a log."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class LitertCommand:
    """One run of litert-benchmark (ai-edge-litert), which uses LiteRT's CompiledModel.

    It knows runs, not seconds: `plan`'s min_seconds and max_seconds are the caller's to keep. `delegate` is one of
    LITERT_DELEGATES: the CPU always has XNNPACK. With gpu or npu, `require_full_delegation` leaves the CPU out, so that
    there is nothing to fall back to. Raises UsageError for another delegate or number of threads.
    """

    model_path: str
    plan: SessionPlan
    tool_path: str = "litert-benchmark"
    num_threads: int = 1
    delegate: str = "xnnpack"
    result_json_path: str = ""
    require_full_delegation: bool = True
    cpu_mask: tuple[int, ...] = ()
    extra_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        in_choices("delegate of litert-benchmark", self.delegate, LITERT_DELEGATES)
        in_range("threads of litert-benchmark", self.num_threads, 1, _MAX_THREADS)
        in_range("runs of litert-benchmark", self.plan.runs, 1, 10**9)

    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        required = self.require_full_delegation and self.delegate in _ACCELERATORS
        return (
            *_pinned(self.cpu_mask),
            self.tool_path,
            f"--model={self.model_path}",
            f"--num_threads={self.num_threads}",
            *_LITERT_FLAGS[self.delegate],
            *(("--require_full_delegation",) if required else ()),
            f"--warmup_runs={self.plan.warmup_runs}",
            f"--num_runs={self.plan.runs}",
            *((f"--result_json={self.result_json_path}",) if self.result_json_path else ()),
            *self.extra_flags,
        )

    def shell_line(self) -> str:
        """The same as one line for the target's shell."""
        return shlex.join(self.argv())
