"""Measures on this machine: LiteRT's Interpreter or CompiledModel in a fresh, pinned process per session."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from android_bench.connections import Connections
from android_bench.session import NOISY, Concern, MeasurementError, Session, SessionPlan, TargetState
from android_bench.settings import TOOLS, check_target, tool_of
from android_bench.worker import (
    GRACE_SECONDS,
    TOOL_NAMES,
    WORKER,
    WORKER_ENVIRONMENT,
    worker_answer,
    worker_request,
    worker_session,
)
from core import process
from core.checks import in_choices
from core.errors import LitesmithError
from core.process import ProcessError
from core.values import Target

# -P: the script's own folder must not come first on the module path, where its neighbours could hide other modules.
WORKER_COMMAND = (sys.executable, "-P", str(WORKER))

# A core counts as busy above this share; an idle one shows 0-5 % over this interval.
MAX_BUSY = 0.20
BUSY_SAMPLE_SECONDS = 0.2

_LIBRARY = "ai-edge-litert"


def make(target: Target, connections: Connections) -> HostRunner:
    """The runner of a target of kind "host", with the target's tool; nothing has to be connected."""
    return HostRunner(tool=tool_of(target))


class HostRunner:
    """The runner of target kind "host" (see android_bench.session.Runner).

    `tool` is "interpreter" or "compiled_model". Neither tells what its single operators take: sessions have no `ops`.
    `command` starts the worker and `grace_seconds` is added to a session's own limit before it is stopped; tests
    replace both.
    """

    def __init__(
        self,
        command: Sequence[str] = WORKER_COMMAND,
        grace_seconds: float = GRACE_SECONDS,
        tool: str = TOOLS["host"][0],
    ) -> None:
        self._tool = tool
        self._command = tuple(command)
        self._grace_seconds = grace_seconds

    @property
    def tool(self) -> str:
        """LiteRT's Interpreter or CompiledModel with the package's version."""
        return f"{_LIBRARY} {importlib.metadata.version(_LIBRARY)} {TOOL_NAMES[self._tool]}"

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
            "load_average": " ".join(f"{value:.2f}" for value in os.getloadavg()),
            "busy": ", ".join(f"core {core} {share:.0%}" for core, share in busy.items()),
            "parent_threads": str(psutil.Process().num_threads()),
        }
        concerns = [
            Concern(NOISY, f"core {core} was {share:.0%} busy while nothing was measured (limit {MAX_BUSY:.0%})")
            for core, share in busy.items()
            if share > MAX_BUSY
        ]
        return TargetState(conditions, tuple(concerns))

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process; it leaves no process behind, whatever happens."""
        check_target(target, f"target {target.name}")
        in_choices(f"tool of target {target.name}", tool_of(target), (self._tool,))
        request = worker_request(self._tool, str(model_path), target, target.cpu_mask, plan)
        request["parent_pid"] = os.getpid()
        timeout_s = 2 * plan.max_seconds + self._grace_seconds  # warm-up and timed part have max_seconds each
        stdin, env = json.dumps(request), WORKER_ENVIRONMENT
        try:
            done = process.run(self._command, timeout_s=timeout_s, stdin=stdin, env=env, check=False)
        except ProcessError as error:
            raise MeasurementError(f"{model_path}: host measurement: {error}") from error
        return worker_session(target, self._tool, worker_answer(model_path, "host", done))


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
