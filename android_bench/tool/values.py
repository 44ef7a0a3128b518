"""What a benchmark tool reported: timings, operators, memory, delegates; and why it failed. Units are in the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from android_bench.session import MeasurementError

# Why a tool gave no figures. The caller's next step depends on it: "killed" is worth another try, "bad flag" is not.
FailureKind = Literal[
    "no tool",  # missing, not executable, or built for another processor
    "no model",  # the file is not there
    "not a model",
    "unsupported operator",
    "wrong input",  # a shape or a layer name that the model does not have
    "bad flag",
    "delegate refused",  # --require_full_delegation, or a delegate that ends the tool
    "no space",
    "killed",  # SIGKILL or SIGTERM: out of memory, or somebody stopped it
    "crashed",  # any other signal
    "truncated",  # the output ends before the figures
    "unreadable",  # a line that is not what the tool writes
    "no benchmark",  # the tool did something else: --help, --list_signatures
    "failed",  # said so, without a reason that we know
]


class ToolFailure(MeasurementError):
    """A benchmark tool that gave no figures to believe: one line with the reason, and its `kind`."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(" ".join(reason.split()))
        self.kind: FailureKind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Statistics over `count` (at least 1) invocations; None where the tool does not say."""

    count: int
    avg_us: float
    first_us: float | None = None
    current_us: float | None = None  # the last one
    min_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """One operator of the run order. `first_us` is its first run, `avg_us` its mean over all runs of the model.

    `memory_kb` is the growth of the process while it ran, in the kernel's kB (1024 bytes); `start_us` is when it began
    in the model's run (older builds only). Percentages are of the sum of all operators.
    """

    node_type: str
    name: str
    avg_us: float
    first_us: float
    percent: float
    cdf_percent: float
    memory_kb: float
    times_called: int
    start_us: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTypeTime:
    """All operators of one type together: `count` of them, `avg_us` for one run of the model."""

    node_type: str
    count: int
    avg_us: float
    percent: float
    cdf_percent: float
    memory_kb: float
    times_called: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpProfile:
    """The operators of the measured runs in run order, the same by type (slowest first), and the initialization's.

    `delegate_ops` are what a delegate tells of its inside; their time is in the delegate's operator. `total` is the
    time of all operators together in each run, which is less than the model's latency; None where the format does
    not have it (protobuf).
    """

    ops: tuple[OpTime, ...]
    by_node_type: tuple[NodeTypeTime, ...]
    init_ops: tuple[OpTime, ...] = ()
    delegate_ops: tuple[OpTime, ...] = ()
    total: Timing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegateUse:
    """A delegate that took nodes of a graph: `nodes_replaced` out of `nodes_total` (None: not said)."""

    name: str
    nodes_replaced: int
    nodes_total: int | None
    partitions: int
    subgraph: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    """A node that runs: an operator of the model (`nodes_replaced` 0) or a delegate in place of several."""

    node_id: int
    name: str
    nodes_replaced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGraph:
    """One subgraph as the tool ran it: what runs, in order, and how the model's own nodes were shared out."""

    name: str
    executed: tuple[ModelNode, ...]
    nodes_total: int
    delegates: tuple[DelegateUse, ...]
    not_delegated: tuple[ModelNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """Everything that one run of a benchmark tool said.

    Attributes:
      tool: "benchmark_model" or "litert".
      resolution_us: how coarse a printed latency is: 1 (benchmark_model) or 10 (LiteRT rounds to 0.01 ms).
      runs: the timed invocations; None after a dry run, and where the log has only averages (the APK's).
      warmup: the untimed ones; None if there were none, and as above.
      init_us: preparing the model.
      first_inference_us, warmup_avg_us, inference_avg_us: as in the tool's last line; None for what did not happen.
      model_size_bytes: of the file, to 6 significant digits.
      init_memory_bytes, overall_memory_bytes: of the process, after initialization and at the end, of `memory_kind`:
        "peak" is the highest of the process, "delta" its growth since the tool started, "" if there is none.
      peak_memory_bytes: the highest footprint by periodic monitoring (--report_peak_memory_footprint).
      profile: of the operators, if it was printed.
      delegates_asked: as the flags name them (gpu, nnapi, hexagon, xnnpack, external, npu).
      delegates: those that took nodes.
      fell_back: "" or why the figures are the CPU's although a delegate was asked for. Never report such figures as
        the delegate's.
      fully_accelerated: LiteRT's own word, which is True for a model that runs on the CPU alone.
      unconsumed_flags: flags that this build does not know, and ignored.
      warnings: the tool's other warnings.
    """

    tool: Literal["benchmark_model", "litert"]
    resolution_us: float
    runs: Timing | None
    warmup: Timing | None
    init_us: float
    first_inference_us: float | None = None
    warmup_avg_us: float | None = None
    inference_avg_us: float | None = None
    model_size_bytes: int | None = None
    init_memory_bytes: int | None = None
    overall_memory_bytes: int | None = None
    memory_kind: Literal["", "peak", "delta"] = ""
    peak_memory_bytes: int | None = None
    profile: OpProfile | None = None
    delegates_asked: tuple[str, ...] = ()
    delegates: tuple[DelegateUse, ...] = ()
    fell_back: str = ""
    fully_accelerated: bool | None = None
    unconsumed_flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
