"""Measures on Android devices over adb, with TensorFlow's benchmark tool as a program or as an app."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from android_bench.adb import server
from android_bench.adb.choose import choose, look
from android_bench.adb.connection import Connection
from android_bench.adb.device import DeviceFacts
from android_bench.adb.fitness import target_state
from android_bench.adb.lease import Lease
from android_bench.adb.tools import AppTool, DeviceTool, ProgramTool
from android_bench.connections import Connections
from android_bench.cores import Core, pinned_cores
from android_bench.session import MeasurementError, Session, SessionPlan, TargetState
from android_bench.settings import tool_of
from android_bench.tool.job import Job
from core.errors import LitesmithError, UsageError
from core.values import Target

# What a session may take beyond its plan: loading the model, and a delegate that compiles it for a minute or two.
GRACE_SECONDS = 180.0


def make(target: Target, connections: Connections) -> AndroidRunner:
    """The runner for the device that `target` means (see adb.choose) with its tool.

    Raises UsageError for a missing or wrong tool, cores or ABI, MeasurementError for a device that cannot be used.
    """
    connection, facts = choose(server.client(), target, connections)
    if target.abi and facts.abi != target.abi:
        raise UsageError(f"target {target.name}: {connection.label} has ABI {facts.abi!r}, expected {target.abi!r}")
    return AndroidRunner(target, connection, facts, _tool(target, facts, connections))


class AndroidRunner:
    """The runner of target kind "android" (see android_bench.session.Runner).

    Everything of ours leaves the device when `exclusive` ends, and in any case when this process does. Inside
    `with runner:` the tool stays there from one measurement to the next; `close` ends that too. `grace_seconds` is
    added to a session's own limit before it is given up; tests replace it.
    """

    def __init__(
        self,
        target: Target,
        connection: Connection,
        facts: DeviceFacts,
        tool: DeviceTool,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        cores = [Core(core, rank) for rank, group in enumerate(facts.groups) for core in group.cores]
        # The order of the groups is all that counts: a rank from 0 stands for the speed.
        self._cores = pinned_cores(target, cores)
        if self._cores and isinstance(tool, AppTool):
            raise UsageError(f"target {target.name}: tool benchmark_apk cannot be pinned; leave out cores and cpu_mask")
        self._connection, self._tool, self._grace_seconds = connection, tool, grace_seconds
        self._lease: Lease | None = None
        self._is_kept = False

    def __enter__(self) -> AndroidRunner:
        self._is_kept = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_kept = False
        self.close()

    @property
    def tool(self) -> str:
        """The benchmark tool with the beginning of its file's SHA-256, since it has no version."""
        return self._tool.title

    @contextlib.contextmanager
    def exclusive(self, target: Target) -> Iterator[None]:
        """Holds this user's lock on the device; waits for its turn. The kernel frees it when the process dies."""
        descriptor = _opened_lock(self._connection.serial)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._ready_lease()
            yield
        finally:
            try:
                self._tidy_up()
            finally:
                os.close(descriptor)

    def state(self, target: Target) -> TargetState:
        """The device, its temperature, battery, screen, clocks, free space and load now."""
        return target_state(look(self._connection))

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process; it leaves no process behind, whatever happens."""
        job = Job(model_path, target, self._cores, plan, self._grace_seconds)
        try:
            return self._tool.session(self._connection, self._ready_lease(), job)
        except UsageError:
            raise
        except BaseException:
            # The tool may still run: the end of the lease kills it.
            self._abandon()
            raise

    def close(self) -> None:
        """Takes everything of ours off the device."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def _ready_lease(self) -> Lease:
        if self._lease is not None and not self._lease.is_held():
            self._abandon()
        if self._lease is None:
            self._lease = self._tool.lease(self._connection)
        return self._lease

    def _tidy_up(self) -> None:
        if not self._is_kept:
            self.close()
        elif self._lease is not None:
            try:
                self._lease.clear(keep=self._tool.file)
            except MeasurementError:  # results are there: what is left goes with the lease
                self._abandon()

    def _abandon(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.abandon()


def _tool(target: Target, facts: DeviceFacts, connections: Connections) -> DeviceTool:
    if tool_of(target) == "benchmark_apk":
        return AppTool(_file(connections.apk, "--apk") if connections.apk else None)
    given = connections.benchmark_model.get(facts.abi) or connections.benchmark_model.get("", "")
    if not given:
        raise UsageError(
            f"target {target.name}: no benchmark_model for ABI {facts.abi}; expected "
            f"--benchmark_model={facts.abi}=FILE (docs/benchmarking.md says where to get one)"
        )
    return ProgramTool(_file(given, "--benchmark_model"))


def _file(name: str, flag: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{flag}: {name!r}: no such file")
    return path


def _opened_lock(serial: str) -> int:
    name = re.sub(r"[^A-Za-z0-9.-]", "_", serial)
    path = Path(tempfile.gettempdir()) / f"litesmith-bench-{name}-{os.getuid()}.lock"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LitesmithError(f"{path}: the measurement lock cannot be opened ({error.strerror})") from error
