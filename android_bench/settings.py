"""Settings of a benchmark, checked when they are made. No TensorFlow here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.checks import in_choices, in_range
from core.errors import UsageError, bad_value, one_of
from core.values import Target

MAX_CORE = 1023
MAX_THREADS = 256
TARGET_FOLDER = Path(__file__).resolve().parents[1] / "targets"  # files of target_files, NAME.toml each

# The programs that measure on each kind of target; the first is the one of a target that names none.
TOOLS: dict[str, tuple[str, ...]] = {
    "host": ("interpreter", "compiled_model"),
    "android": ("benchmark_model", "benchmark_apk"),
    "ssh": ("interpreter", "compiled_model", "litert_benchmark", "benchmark_model"),
}
DELEGATES = ("cpu", "xnnpack", "gpu", "nnapi", "hexagon")
# Still measured, because devices in the field use them; what a report says of them.
LEGACY_DELEGATES = {
    "nnapi": "legacy: Android deprecated NNAPI in version 15",
    "hexagon": "legacy: Qualcomm's QNN delegate has taken the place of the Hexagon delegate",
}
# By kind and tool. litert-benchmark has no switch for LiteRT without XNNPACK; NNAPI and Hexagon are Android's.
LEGAL_DELEGATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("host", "interpreter"): ("xnnpack", "cpu"),
    ("host", "compiled_model"): ("xnnpack", "cpu"),
    ("android", "benchmark_model"): DELEGATES,
    ("android", "benchmark_apk"): DELEGATES,
    ("ssh", "interpreter"): ("xnnpack", "cpu"),
    ("ssh", "compiled_model"): ("xnnpack", "cpu"),
    ("ssh", "litert_benchmark"): ("xnnpack", "gpu"),
    ("ssh", "benchmark_model"): ("xnnpack", "cpu", "gpu"),
}
# As `getprop ro.product.cpu.abi` and `uname -m` say them.
ABIS: dict[str, tuple[str, ...]] = {
    "android": ("arm64-v8a", "armeabi-v7a", "x86_64", "x86", "riscv64"),
    "ssh": ("aarch64", "armv7l", "armv6l", "x86_64", "i686", "riscv64"),
}
CORES = ("big", "middle", "little")

# Always there; others come from files and from BenchConfig.own.
TARGETS: dict[str, Target] = {
    "host": Target("host", kind="host", num_threads=0, delegate="xnnpack"),
    "host_cpu": Target("host_cpu", kind="host", num_threads=0, delegate="cpu"),
    "host_compiled": Target("host_compiled", kind="host", num_threads=0, delegate="xnnpack", tool="compiled_model"),
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """How latency is measured.

    A measurement is made of `processes` fresh processes, because one process repeats its own luck: where its memory
    lies changes a small network's latency by a few per cent, for as long as the process lives.

    Attributes:
      targets: names of TARGETS, of `own`, of files in the folder targets/ (without .toml), or paths that end in .toml.
      own: targets that are described here and not in a file.
      num_threads: threads of the interpreter on every target that does not say its own.
      cpu_mask: cores of this computer, for targets of kind "host" without a mask of their own; empty means the first
        cores that this process may use, as many as there are threads. Other devices have other cores: a target's
        `cores` or `cpu_mask` names them.
      processes: fresh processes per measurement.
      warmup_runs: untimed invocations at the start of each process.
      runs: timed invocations per process, at least (a process stops early after session.MAX_SESSION_SECONDS).
      min_seconds: a process goes on until it has also spent this long on timed invocations.
      profile: whether one more session tells what each operator takes, where the tool can.
      max_cool_down_seconds: how long a measurement waits in all for a hot or busy device.
      retries: how often a session is tried again when the connection fails.
    """

    targets: tuple[str, ...] = ("host",)
    own: tuple[Target, ...] = ()
    num_threads: int = 1
    cpu_mask: tuple[int, ...] = ()
    processes: int = 5
    warmup_runs: int = 20
    runs: int = 200
    min_seconds: float = 0.3
    profile: bool = False
    max_cool_down_seconds: float = 300.0
    retries: int = 2

    def __post_init__(self) -> None:
        in_range("config.bench.num_threads", self.num_threads, 1, MAX_THREADS)
        check_cores("config.bench.cpu_mask", self.cpu_mask)
        if self.cpu_mask and len(self.cpu_mask) < self.num_threads:
            legal = f"(), or at least {self.num_threads} cores (config.bench.num_threads)"
            raise bad_value("config.bench.cpu_mask", self.cpu_mask, legal)
        in_range("config.bench.processes", self.processes, 1, 100)
        in_range("config.bench.warmup_runs", self.warmup_runs, 0, 10_000)
        in_range("config.bench.runs", self.runs, 1, 100_000)
        in_range("config.bench.min_seconds", self.min_seconds, 0.0, 60.0)
        in_range("config.bench.max_cool_down_seconds", self.max_cool_down_seconds, 0.0, 86_400.0)
        in_range("config.bench.retries", self.retries, 0, 10)
        self._check_own()
        self._check_targets()

    def _check_targets(self) -> None:
        where = "config.bench.targets"
        for name in self.targets:
            check_target_name(name, self, where)
        stems = [target_stem(name) for name in self.targets]
        if not stems or len(set(stems)) != len(stems):
            raise bad_value(where, self.targets, f"at least one name and none twice, each {one_of(target_names(self))}")

    def _check_own(self) -> None:
        for number, target in enumerate(self.own):
            where = f"config.bench.own[{number}]"
            check_target(target, where)
            if target.name in TARGETS or target.name in [other.name for other in self.own[:number]]:
                legal = f"a name that no other target has (built in are {', '.join(TARGETS)})"
                raise bad_value(f"{where}.name", target.name, legal)


def target_names(config: BenchConfig) -> tuple[str, ...]:
    """All names that `config.targets` can have besides paths: built in, of the configuration, of files."""
    files = sorted(path.stem for path in TARGET_FOLDER.glob("*.toml"))
    return tuple(dict.fromkeys([*TARGETS, *(target.name for target in config.own), *files]))


def check_target_name(name: str, config: BenchConfig, where: str) -> None:
    """Requires `name` to be one of `target_names` or a path that ends in .toml."""
    if not name.endswith(".toml") and name not in target_names(config):
        raise bad_value(where, name, f"{one_of(target_names(config))} (or the path of a .toml file)")


def target_stem(name: str) -> str:
    """The name of the target that a name or a path in `config.targets` stands for."""
    return Path(name).stem if name.endswith(".toml") else name


def check_target(target: Target, where: str) -> None:
    """Requires a target that can be measured on: legal values, and a delegate that its tool can run.

    Raises UsageError naming the key after `where`, the value and the legal values.
    """
    at = {name: f"{where}.{name}" for name in Target.__dataclass_fields__}
    if not _NAME.fullmatch(target.name):
        legal = "letters, digits, '.', '_' and '-', beginning with a letter or a digit"
        raise bad_value(at["name"], target.name, legal)
    in_choices(at["kind"], target.kind, TOOLS)
    if target.tool:
        in_choices(at["tool"], target.tool, TOOLS[target.kind])
    in_range(at["num_threads"], target.num_threads, 0, MAX_THREADS)
    _check_abi(target, at["abi"])
    _check_delegate(target, at["delegate"])
    _check_pinning(target, at)


def tool_of(target: Target) -> str:
    """The program that measures on a target: its own, or the first of its kind."""
    return target.tool or TOOLS[target.kind][0]


def check_cores(where: str, cores: tuple[int, ...]) -> None:
    """Requires core numbers, none twice."""
    for core in cores:
        in_range(where, core, 0, MAX_CORE)
    if len(set(cores)) != len(cores):
        raise bad_value(where, cores, "core numbers, none twice")


def _check_abi(target: Target, where: str) -> None:
    if target.abi and target.kind in ABIS:
        in_choices(where, target.abi, ABIS[target.kind])


def _check_delegate(target: Target, where: str) -> None:
    tool = tool_of(target)
    legal = LEGAL_DELEGATES[target.kind, tool]
    if target.delegate not in legal:
        raise UsageError(
            f"{where}: {target.delegate!r} is not legal with tool {tool!r} on {target.kind}; expected {one_of(legal)}"
        )


def _check_pinning(target: Target, at: Mapping[str, str]) -> None:
    if target.cores and target.kind == "host":
        raise bad_value(at["cores"], target.cores, "'' on host, which is pinned to its cpu_mask")
    if target.cores:
        in_choices(at["cores"], target.cores, CORES)
    check_cores(at["cpu_mask"], target.cpu_mask)
    if target.cores and target.cpu_mask:
        raise bad_value(at["cpu_mask"], target.cpu_mask, f"() together with cores = {target.cores!r}")
    if target.cpu_mask and len(target.cpu_mask) < target.num_threads:
        legal = f"(), or at least {target.num_threads} cores (its num_threads)"
        raise bad_value(at["cpu_mask"], target.cpu_mask, legal)
