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
    """Where a model is measured. `cpu_mask` lists the cores the process is pinned to; empty means not pinned."""

    name: str
    kind: str = "host"
    abi: str = ""
    num_threads: int = 1
    cpu_mask: tuple[int, ...] = ()
    delegate: str = "xnnpack"


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Latency over `runs` invocations in `processes` fresh processes.

    `median_us` is the median of the process medians, `p95_us` the 95th percentile of all runs, and `spread` the
    range of the process medians divided by their median (how far a repeat may lie from this figure).
    """

    median_us: float
    p95_us: float
    mean_us: float
    min_us: float
    runs: int
    processes: int
    spread: float
    process_medians_us: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A latency figure with its conditions. `verdict` is "ok" or the reason not to trust it."""

    artifact_sha256: str
    target: Target
    latency: LatencyStats
    peak_memory_bytes: int
    tool: str
    conditions: dict[str, str]
    verdict: str = "ok"


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
