"""The programs that measure on a board, run over a link, and their answers as sessions."""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from android_bench.session import Session, SessionPlan
from android_bench.ssh.link import Link
from android_bench.tool.command import BenchmarkCommand, LitertCommand, taskset_mask
from android_bench.tool.job import Job
from android_bench.tool.litert import parse_litert_json
from android_bench.tool.parse import parse_output
from android_bench.tool.profile_proto import parse_op_profile_proto
from android_bench.tool.sessions import failure_on, tool_session
from android_bench.tool.values import OpProfile, ToolFailure, ToolResult
from android_bench.worker import TOOL_NAMES, WORKER, WORKER_ENVIRONMENT, worker_answer, worker_request, worker_session
from core.process import Completed

# The program behind the command litert-benchmark, without its rounding to 0.01 ms and with its peak of memory.
_LITERT_BENCHMARK = """
import ai_edge_litert.tools.benchmark_litert_model as tool
tool.round = lambda value, digits: value
tool.main()
with open("/proc/self/status") as status:
    print("litesmith peak", next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
_PROBE_RUNS = 3  # of a model of unknown speed, to see how many runs fill a session
_RESULT, _PROFILE, _PEAK = "litesmith result", "litesmith profile", "litesmith peak"


class BoardTool(Protocol):
    """A program that measures on a board."""

    @property
    def title(self) -> str:
        """The program with its version."""

    @property
    def machine(self) -> str:
        """The processor it was built for, as `uname -m` says it; "" if it does not tell."""

    @property
    def conditions(self) -> Mapping[str, str]:
        """Versions of what it needs."""

    def session(self, link: Link, job: Job) -> Session:
        """One session in a fresh process. Raises UsageError for a refused model, else MeasurementError."""


@dataclass(frozen=True, slots=True)
class Python:
    """A Python on a board with ai-edge-litert."""

    command: str
    machine: str
    version: str
    litert_version: str

    @property
    def conditions(self) -> dict[str, str]:
        """Both versions."""
        return {"python": self.version, "ai_edge_litert": self.litert_version}


class _OfPython:
    """A tool that runs in a Python of the board."""

    python: Python

    @property
    def machine(self) -> str:
        """Of its Python."""
        return self.python.machine

    @property
    def conditions(self) -> Mapping[str, str]:
        """Of its Python."""
        return self.python.conditions


@dataclass(frozen=True, slots=True)
class WorkerTool(_OfPython):
    """host_worker.py, sent to the board: `tool` is "interpreter" or "compiled_model". It times each run in ns."""

    tool: str
    python: Python

    @property
    def title(self) -> str:
        """LiteRT's Interpreter or CompiledModel with the package's version there."""
        return f"ai-edge-litert {self.python.litert_version} {TOOL_NAMES[self.tool]}"

    def session(self, link: Link, job: Job) -> Session:
        """See BoardTool; the shell that starts the worker is the parent it dies with."""
        worker, model = link.send(WORKER), link.send(job.model)
        request = worker_request(self.tool, model, job.target, job.cores, job.plan)
        environment = " ".join(f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items())
        # The worker dies with its parent, the shell that runs these lines; $$ would be the number of an outer one. The
        # last line keeps the shell from becoming the worker.
        text = json.dumps({**request, "parent_pid": 0}).replace('"parent_pid": 0', '"parent_pid": $shell')
        script = (
            "read -r shell _ </proc/self/stat\n"
            f"{environment} {shlex.quote(self.python.command)} {worker} <<END_OF_REQUEST\n{text}\nEND_OF_REQUEST\n"
            "exit $?"
        )
        done = link.run("measuring", script, job.timeout_s)
        answer = worker_answer(job.model, link.where, _signals(done))
        return worker_session(job.target, self.tool, answer)


@dataclass(frozen=True, slots=True)
class LitertTool(_OfPython):
    """litert-benchmark. It knows runs only, so a short first run of a model tells how many fill the plan's seconds."""

    python: Python
    run_us: dict[Path, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """With the package's version there."""
        return f"litert-benchmark of ai-edge-litert {self.python.litert_version}"

    def session(self, link: Link, job: Job) -> Session:
        """See BoardTool. There is no profile: it has none."""
        if job.model not in self.run_us:
            probe = replace(job, plan=replace(job.plan, warmup_runs=1, runs=_PROBE_RUNS))
            found, _ = self._measured(link, probe)
            self.run_us[job.model] = found.runs.avg_us if found.runs else 0.0
        result, peak_bytes = self._measured(link, replace(job, plan=fitted(job.plan, self.run_us[job.model])))
        return tool_session(result, peak_bytes)

    def _measured(self, link: Link, job: Job) -> tuple[ToolResult, int]:
        """What it printed, with the exact figures of its file, and its peak of memory in bytes."""
        model, file = link.send(job.model), f"{link.folder}/result.json"
        flags = LitertCommand(
            model_path=model,
            plan=job.plan,
            num_threads=job.target.num_threads,
            delegate=job.target.delegate,
            result_json_path=file,
        ).argv()[1:]
        command = shlex.join((*pinned(job.cores), self.python.command, "-c", _LITERT_BENCHMARK, *flags))
        script = f"{command}\ncode=$?\nprintf '\\n{_RESULT}\\n'\ncat {file} && rm {file}\nexit $code"
        done = link.run("measuring", script, job.timeout_s)
        stdout, _, text = done.stdout.partition(f"\n{_RESULT}\n")
        log_text, _, peak_kib = stdout.partition(f"{_PEAK} ")
        # Its log never says that XNNPACK, which is its CPU accelerator, took the model.
        asked = "" if job.target.delegate == "xnnpack" else job.target.delegate
        try:
            log = parse_output(log_text, done.stderr, done.returncode, asked, exact_elsewhere=True)
            exact = parse_litert_json(text)
        except ToolFailure as error:
            raise failure_on(f"{link.where}: measuring", job.model, error) from error
        exactly = replace(log, runs=exact.runs, warmup=exact.warmup, init_us=exact.init_us, resolution_us=0.0)
        return exactly, int(peak_kib.strip() or 0) * 1024


@dataclass(frozen=True, slots=True)
class BenchmarkTool:
    """TensorFlow's benchmark_model: `file` is sent to the board; without one, `command` there is run."""

    title: str
    machine: str
    command: str = ""
    file: Path | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)

    def session(self, link: Link, job: Job) -> Session:
        """See BoardTool."""
        program = self.command if self.file is None else link.send(self.file, executable=True)
        profile = f"{link.folder}/profile.pb" if job.plan.profile else ""
        command = BenchmarkCommand(
            tool_path=program,
            model_path=link.send(job.model),
            plan=job.plan,
            num_threads=job.target.num_threads,
            delegate=job.target.delegate,
            op_profile_path=profile,
            cpu_mask=job.cores,
        ).shell_line()
        fetch = f"printf '\\n{_PROFILE}\\n'\nbase64 <{profile} && rm {profile}\n" if profile else ""
        done = link.run("measuring", f"{command}\ncode=$?\n{fetch}exit $code", job.timeout_s)
        stdout, _, encoded = done.stdout.partition(f"\n{_PROFILE}\n")
        try:
            result = parse_output(stdout, done.stderr, done.returncode, job.target.delegate)
            if profile:
                result = replace(result, profile=_decoded_profile(encoded))
            return tool_session(result, 0)
        except ToolFailure as error:
            raise failure_on(f"{link.where}: measuring", job.model, error) from error


def fitted(plan: SessionPlan, run_us: float) -> SessionPlan:
    """The plan in runs alone for a model that takes `run_us`: `min_seconds` are reached, `max_seconds` not exceeded."""
    if run_us <= 0:
        return plan
    wanted = max(plan.runs, round(plan.min_seconds * 1e6 / run_us))
    most = max(1, int(plan.max_seconds * 1e6 / run_us))
    return replace(plan, runs=min(wanted, most), warmup_runs=min(plan.warmup_runs, most))


def pinned(cores: tuple[int, ...]) -> tuple[str, ...]:
    """What stands before a command that is to run on `cores`."""
    return ("taskset", taskset_mask(cores)) if cores else ()


def _decoded_profile(encoded: str) -> OpProfile:
    try:
        return parse_op_profile_proto(base64.b64decode(encoded))
    except binascii.Error as error:
        raise ToolFailure("truncated", f"the operator profile arrived damaged: {error}") from error


def _signals(done: Completed) -> Completed:
    """With a shell's code for a signal (128 + its number) as subprocess has it, negative."""
    return replace(done, returncode=128 - done.returncode) if done.returncode > 128 else done
