"""Values that cross rooms: model artifacts, targets and measurements. Frozen; units are in the names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor of a .tflite: real = scale * (quantized - zero_point); scale 0: not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file and where it came from. `quantization` is one of deploy.convert's schemes."""

    path: str
    sha256: str
    size_bytes: int
    quantization: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parents: tuple[str, ...] = ()
    tool_versions: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a model is measured. What differs from desk to desk (serial number, host name) is not in it.

    Attributes:
      name: of the target, as configurations and reports say it.
      kind: "host", "android" or "ssh": a key of android_bench.runners.RUNNERS.
      abi: the instruction set, "arm64-v8a" or "x86_64"; "" until it is known.
      num_threads: of the interpreter; 0, in a description only: as many as config.bench.num_threads says.
      cpu_mask: the cores the process is pinned to; empty: as `cores` says.
      delegate: "cpu" (no delegate), "xnnpack", "gpu", "nnapi" or "hexagon".
      tool: the program that measures; "" is the first of its kind in android_bench.settings.TOOLS.
      cores: "big", "middle" or "little" of the target's own layout, or "" for no pinning (the host pins in any case).
      device: what the device must call itself (Android: ro.product.model), "" for any.
    """

    name: str
    kind: str = "host"
    abi: str = ""
    num_threads: int = 1
    cpu_mask: tuple[int, ...] = ()
    delegate: str = "xnnpack"
    tool: str = ""
    cores: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Latency over `runs` invocations in `processes` fresh processes.

    `median_us` is the median of the process medians, `p95_us` the 95th percentile of all runs, and `spread` the
    range of the process medians divided by their median (how far a repeat may lie from this figure). `low_us` to
    `high_us` is the 95 % bootstrap interval of `median_us` (too narrow for fewer than five processes); both are 0 where
    it was not computed. `p95_us` is 0 where the tool does not tell it. `center` is "mean" where the tool prints no
    median: the process medians are means then.
    """

    median_us: float
    p95_us: float
    mean_us: float
    min_us: float
    runs: int
    processes: int
    spread: float
    process_medians_us: tuple[float, ...] = ()
    low_us: float = 0.0
    high_us: float = 0.0
    center: str = "median"


@dataclass(frozen=True, slots=True)
class OpTime:
    """What one operator of a .tflite takes in an inference: `share` is of the whole (0..1); `delegate` is the delegate
    that ran it, "" for the interpreter's own kernels."""

    node_type: str
    name: str
    avg_us: float
    share: float
    delegate: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A latency figure with its conditions. `verdict` is "ok" or the reason not to trust it, which begins with "noisy",
    "throttled" or "fell back to CPU" (then the latency is the CPU's, not that of the target's delegate). `ops` is the
    operator profile of one more, profiled session, if there was one."""

    artifact_sha256: str
    target: Target
    latency: LatencyStats
    peak_memory_bytes: int
    tool: str
    conditions: dict[str, str]
    verdict: str = "ok"
    ops: tuple[OpTime, ...] = ()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
