"""TensorFlow's benchmark tool on an Android device, as a program and as an app, and its answers as sessions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from android_bench.adb.connection import Connection
from android_bench.adb.lease import Lease
from android_bench.session import MeasurementError, Session
from android_bench.tool.command import BenchmarkCommand
from android_bench.tool.job import Job
from android_bench.tool.parse import parse_output
from android_bench.tool.profile_proto import parse_op_profile_proto
from android_bench.tool.sessions import failure_on, tool_session
from android_bench.tool.values import Timing, ToolFailure, ToolResult
from core.values import file_sha256

PACKAGE = "org.tensorflow.lite.tools.benchmark"

# What ends the waiting for the app: its last line, or how it or Android says that it failed.
_LAST_WORDS = "nference timings in us|Benchmarking failed|Fatal signal|FATAL EXCEPTION|benchmark.* has died"
_LOG_TAG = re.compile(r"^\d\d-\d\d [\d:.]+ +(\d+) +\d+ [VDIWEF] tflite *:", re.MULTILINE)
_LOG_PROCESS = re.compile(r"^\d\d-\d\d [\d:.]+ +(\d+) ")
_APP_SETTLES_SECONDS = 0.5  # the lines on memory follow the last line on timings at once


class DeviceTool(Protocol):
    """A program that measures on a device."""

    @property
    def title(self) -> str:
        """The program, with what tells one build from another."""

    @property
    def file(self) -> Path | None:
        """Its file on this computer, which a lease may keep from one measurement to the next."""

    def lease(self, connection: Connection) -> Lease:
        """A folder on the device with all that the tool needs to be ready."""

    def session(self, connection: Connection, lease: Lease, job: Job) -> Session:
        """One session in a fresh process. Raises UsageError for a refused model, MeasurementError if it fails else."""


@dataclass(frozen=True, slots=True)
class ProgramTool:
    """benchmark_model from a file on this computer."""

    file: Path

    @property
    def title(self) -> str:
        """A build has no version of its own: its content tells it."""
        return f"benchmark_model sha256 {file_sha256(self.file)[:12]}"

    def lease(self, connection: Connection) -> Lease:
        """See DeviceTool: the program is pushed at its first use."""
        return Lease(connection)

    def session(self, connection: Connection, lease: Lease, job: Job) -> Session:
        """See DeviceTool. The operators come as a protobuf file, which alone is reliable under XNNPACK."""
        profile = lease.path("profile.pb") if job.plan.profile else ""
        command = BenchmarkCommand(
            tool_path=lease.put(self.file, "pushing the tool"),
            model_path=lease.put(job.model, "pushing the model"),
            plan=job.plan,
            num_threads=job.target.num_threads,
            delegate=job.target.delegate,
            op_profile_path=profile,
            peak_memory=job.plan.profile,  # its watching thread costs time, which a profiled session may lose
            cpu_mask=job.cores,
        )
        done = lease.run(command.shell_line(), "measuring", job.timeout_s)

        def read() -> ToolResult:
            result = parse_output(done.stdout, done.stderr, done.exit_code, job.target.delegate)
            if not profile:
                return result
            return replace(result, profile=parse_op_profile_proto(_pulled(connection, profile)))

        return _session(connection, job, read)


@dataclass(frozen=True, slots=True)
class AppTool:
    """The benchmark app. With `apk` it is installed, and taken off again if it was not there; else it has to be there.

    An app cannot be pinned, and may not write where its profile could be read.
    """

    apk: Path | None

    @property
    def file(self) -> None:
        """See DeviceTool: an app is installed, not kept in a folder."""
        return

    @property
    def title(self) -> str:
        """The content of the app's file, if it is known."""
        return f"benchmark_apk sha256 {file_sha256(self.apk)[:12]}" if self.apk else "benchmark_apk as installed"

    def lease(self, connection: Connection) -> Lease:
        """See DeviceTool."""
        was_there = "package:" in connection.shell(f"pm path {PACKAGE}", "looking for the app").stdout
        if self.apk is None and not was_there:
            raise connection.error("looking for the app", f"{PACKAGE} is not installed; name its file with --apk")
        stop = f"am force-stop {PACKAGE}"
        lease = Lease(connection, stop if was_there else f"{stop}; pm uninstall {PACKAGE} > /dev/null")
        try:
            if self.apk is not None:
                connection.install(self.apk, "installing the app")
        except BaseException:
            lease.close()
            raise
        return lease

    def session(self, connection: Connection, lease: Lease, job: Job) -> Session:
        """See DeviceTool. The log tells the mean of the runs alone."""
        command = BenchmarkCommand(
            tool_path="",
            model_path=lease.put(job.model, "pushing the model"),
            plan=job.plan,
            num_threads=job.target.num_threads,
            delegate=job.target.delegate,
        )
        step = "starting the app"
        started = connection.check_shell(f"logcat -c; {command.apk_shell_line()}", step)
        if "Error" in started:
            raise connection.error(step, " ".join(started[started.index("Error") :].split())[:200])
        wait = f"logcat -m 1 -e '{_LAST_WORDS}' -s tflite libc AndroidRuntime ActivityManager"
        lease.run(wait, "measuring", job.timeout_s)
        log = connection.check_shell(f"sleep {_APP_SETTLES_SECONDS}; logcat -d -v threadtime", "reading the log")

        def read() -> ToolResult:
            result = parse_output(own_lines(log), "", None, job.target.delegate)
            if result.runs is not None or result.inference_avg_us is None:
                return result
            return replace(result, runs=Timing(count=job.plan.runs, avg_us=result.inference_avg_us))

        return _session(connection, job, read)


def own_lines(log: str) -> str:
    """The lines of `logcat -v threadtime` that the latest process with tag "tflite" wrote."""
    processes = _LOG_TAG.findall(log)
    if not processes:
        return ""
    lines = [line for line in log.splitlines() if (found := _LOG_PROCESS.match(line)) and found[1] == processes[-1]]
    return "\n".join(lines)


def _session(connection: Connection, job: Job, read: Callable[[], ToolResult]) -> Session:
    try:
        session = tool_session(read(), 0)
    except ToolFailure as error:
        raise failure_on(f"{connection.label}: measuring", job.model, error) from error
    cores = ",".join(map(str, job.cores)) or "all"
    return replace(session, conditions={"cores_allowed": cores, **session.conditions})


def _pulled(connection: Connection, remote: str) -> bytes:
    """A small file of the device. Raises MeasurementError."""
    with tempfile.TemporaryDirectory(prefix="litesmith-") as folder:
        local = Path(folder) / "pulled"
        connection.pull(remote, local, "pulling the operator profile")
        try:
            return local.read_bytes()
        except OSError as error:
            raise MeasurementError(f"{local}: cannot be read ({error.strerror})") from error
