"""Settings of a benchmark, checked when they are made. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

from core.checks import in_range
from core.errors import bad_value, one_of
from core.registry import check_name
from core.values import Target

MAX_CORE = 1023

# What can be measured on, by name; android_bench.runners.RUNNERS has the runner of each kind.
TARGETS: dict[str, Target] = {
    "host": Target("host", kind="host", delegate="xnnpack"),
    "host_cpu": Target("host_cpu", kind="host", delegate="cpu"),
}


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """How latency is measured.

    A measurement is made of `processes` fresh processes, because one process repeats its own luck: where its memory
    lies changes a small network's latency by a few per cent, for as long as the process lives.

    Attributes:
      targets: names of TARGETS.
      num_threads: threads of the interpreter.
      cpu_mask: cores to pin to; empty means the first `num_threads` cores that this process may use.
      processes: fresh processes per measurement.
      warmup_runs: untimed invocations at the start of each process.
      runs: timed invocations per process, at least (a process stops early after session.MAX_SESSION_SECONDS).
      min_seconds: a process goes on until it has also spent this long on timed invocations.
    """

    targets: tuple[str, ...] = ("host",)
    num_threads: int = 1
    cpu_mask: tuple[int, ...] = ()
    processes: int = 5
    warmup_runs: int = 20
    runs: int = 200
    min_seconds: float = 0.3

    def __post_init__(self) -> None:
        self._check_targets()
        in_range("config.bench.num_threads", self.num_threads, 1, 256)
        self._check_cpu_mask()
        in_range("config.bench.processes", self.processes, 1, 100)
        in_range("config.bench.warmup_runs", self.warmup_runs, 0, 10_000)
        in_range("config.bench.runs", self.runs, 1, 100_000)
        in_range("config.bench.min_seconds", self.min_seconds, 0.0, 60.0)

    def _check_targets(self) -> None:
        where = "config.bench.targets"
        for name in self.targets:
            check_name(TARGETS, name, where)
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise bad_value(where, self.targets, f"at least one name and none twice, each {one_of(TARGETS)}")

    def _check_cpu_mask(self) -> None:
        where = "config.bench.cpu_mask"
        for core in self.cpu_mask:
            in_range(where, core, 0, MAX_CORE)
        if len(set(self.cpu_mask)) != len(self.cpu_mask):
            raise bad_value(where, self.cpu_mask, "core numbers, none twice")
        if self.cpu_mask and len(self.cpu_mask) < self.num_threads:
            legal = f"(), or at least {self.num_threads} cores (config.bench.num_threads)"
            raise bad_value(where, self.cpu_mask, legal)
