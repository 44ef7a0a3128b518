"""Measures on this machine: LiteRT's Interpreter in a fresh, pinned process per session."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from android_bench.session import Concern, MeasurementError, Session, SessionPlan, TargetState
from core import process
from core.checks import in_choices
from core.errors import LitesmithError, UsageError
from core.process import Completed, ProcessError, end_in_words
from core.values import Target

DELEGATES = ("xnnpack", "cpu")

# -P: the script's own folder must not come first on the module path, where its neighbours could hide other modules.
WORKER_COMMAND = (sys.executable, "-P", str(Path(__file__).parent.parent / "host_worker.py"))

# What a session may take beyond its plan: a cold start from a slow disk, loading, and one invocation past the limit.
GRACE_SECONDS = 60.0

# A core counts as busy above this share; an idle one shows 0-5 % over this interval.
MAX_BUSY = 0.20
BUSY_SAMPLE_SECONDS = 0.2

_LIBRARY = "ai-edge-litert"
_MAX_DETAIL = 200  # characters of a runtime's message that a user is shown

# Steps of the worker at which LiteRT refuses the model, whatever the machine.
_REFUSALS = {"load": "LiteRT cannot load this model", "input": "this model's inputs cannot be filled"}


class HostRunner:
    """The runner of target kind "host" (see android_bench.session.Runner).

    `command` starts the worker and `grace_seconds` is added to a session's own limit before it is stopped; tests
    replace both.
    """

    def __init__(self, command: Sequence[str] = WORKER_COMMAND, grace_seconds: float = GRACE_SECONDS) -> None:
        self._command = tuple(command)
        self._grace_seconds = grace_seconds

    @property
    def tool(self) -> str:
        """LiteRT's Interpreter with the package's version."""
        return f"{_LIBRARY} {importlib.metadata.version(_LIBRARY)} Interpreter"

    @contextlib.contextmanager
    def exclusive(self, target: Target) -> Iterator[None]:
        """Holds this user's measurement lock; waits for its turn. The kernel frees it when the process dies."""
        path = Path(tempfile.gettempdir()) / f"litesmith-bench-{os.getuid()}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LitesmithError(f"{path}: the measurement lock cannot be opened ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def state(self, target: Target) -> TargetState:
        """The machine, its versions and its load. Concerned if a core of the target is busy.

        The verdict goes by how busy the cores are now, not by the load average: that one still counts the training that
        ended a minute ago.
        """
        busy = _busy_shares(target.cpu_mask)
        conditions = {
            **_machine(target.cpu_mask),
            "load_average_before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
            "busy_before": ", ".join(f"core {core} {share:.0%}" for core, share in busy.items()),
            "parent_threads": str(psutil.Process().num_threads()),
        }
        concerns = [
            Concern("noisy", f"core {core} was {share:.0%} busy before the start (limit {MAX_BUSY:.0%})")
            for core, share in busy.items()
            if share > MAX_BUSY
        ]
        return TargetState(conditions, tuple(concerns))

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process; it leaves no process behind, whatever happens."""
        in_choices(f"delegate of target {target.name}", target.delegate, DELEGATES)
        request = {
            "model_path": str(model_path),
            "num_threads": target.num_threads,
            "cpu_mask": target.cpu_mask,
            "delegate": target.delegate,
            "plan": asdict(plan),
            "parent_pid": os.getpid(),
        }
        timeout_s = 2 * plan.max_seconds + self._grace_seconds  # warm-up and timed part have max_seconds each
        # NumPy's BLAS would start a thread per core, which this process never uses.
        env = {"OPENBLAS_NUM_THREADS": "1"}
        try:
            done = process.run(self._command, timeout_s=timeout_s, stdin=json.dumps(request), env=env, check=False)
        except ProcessError as error:
            raise MeasurementError(f"{model_path}: host measurement: {error}") from error
        return _session(target, _answer(model_path, done))


def _answer(model_path: Path, done: Completed) -> dict[str, Any]:
    """The worker's answer. Raises UsageError if LiteRT refuses the model, MeasurementError for another failure."""
    if done.returncode < 0:
        raise MeasurementError(f"{model_path}: the process that measured it was {end_in_words(done.returncode)}")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        lines = done.stderr.strip().splitlines() or ["(no message)"]
        detail = f"exit code {done.returncode}: {_shortened(lines[-1])}"
        raise MeasurementError(f"{model_path}: the process that measured it gave no answer; {detail}") from error
    if "failed" not in answer:
        return dict(answer)
    message = _shortened(answer["message"])
    if answer["failed"] in _REFUSALS:
        raise UsageError(f"{model_path}: {_REFUSALS[answer['failed']]}: {message}")
    raise MeasurementError(f"{model_path}: host measurement failed at step {answer['failed']!r}: {message}")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_DETAIL else line[:_MAX_DETAIL] + "..."


def _session(target: Target, answer: Mapping[str, Any]) -> Session:
    partitions = answer["delegate_partitions"]
    concerns: tuple[Concern, ...] = ()
    if target.delegate == "xnnpack" and partitions == 0:
        concerns = (Concern("fell back to CPU", "XNNPACK took no part of the graph"),)
    return Session(
        durations_ns=tuple(answer["durations_ns"]),
        peak_memory_bytes=answer["peak_memory_bytes"],
        cpu_share=answer["cpu_ns"] / answer["wall_ns"] if target.num_threads == 1 else None,
        conditions={
            "cores_allowed": ",".join(map(str, answer["cores"])),
            "delegate_partitions": "unknown" if partitions is None else str(partitions),
            "init_us": f"{answer['init_ns'] / 1e3:.0f}",
            "memory_before_model_bytes": str(answer["memory_before_model_bytes"]),
        },
        concerns=concerns,
    )


def _machine(cores: tuple[int, ...]) -> dict[str, str]:
    cpu = _cpu_fields()
    return {
        "host_cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "virtual_machine": "yes" if "hypervisor" in cpu.get("flags", "").split() else "not seen",
        "cores_online": str(psutil.cpu_count() or "unknown"),
        "governor": _governor(cores[0] if cores else 0),
        "python": platform.python_version(),
        "ai_edge_litert": importlib.metadata.version(_LIBRARY),
    }


def _cpu_fields() -> dict[str, str]:
    """The first processor's fields in /proc/cpuinfo."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _governor(core: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return "not readable"


def _busy_shares(cores: tuple[int, ...]) -> dict[int, float]:
    """Share of a short interval (0..1) in which each of `cores` (all, if empty) was not idle."""
    percents = psutil.cpu_percent(interval=BUSY_SAMPLE_SECONDS, percpu=True)
    return {core: percents[core] / 100 for core in cores or range(len(percents)) if core < len(percents)}
