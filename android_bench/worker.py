"""What this computer says to host_worker.py, the program that measures, and what it makes of the answer.

The worker runs on this computer or is sent to a board: its request is one line of JSON, and so is its answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from android_bench.session import FELL_BACK, Concern, MeasurementError, Session, SessionPlan
from core.errors import UsageError
from core.process import Completed, end_in_words
from core.values import Target

WORKER = Path(__file__).with_name("host_worker.py")
# What a report calls the worker's tools.
TOOL_NAMES = {"interpreter": "Interpreter", "compiled_model": "CompiledModel"}
# What a session may take beyond its plan: a cold start from a slow disk, loading, and one invocation past the limit.
GRACE_SECONDS = 60.0
# NumPy's BLAS would start a thread per core, which the worker never uses.
WORKER_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}

_MAX_DETAIL = 200  # characters of a runtime's message that a user is shown
# Steps of the worker at which LiteRT refuses the model, whatever the machine.
_REFUSALS = {"load": "LiteRT cannot load this model", "input": "this model's inputs cannot be filled"}


def worker_request(
    tool: str, model_path: str, target: Target, cores: tuple[int, ...], plan: SessionPlan
) -> dict[str, Any]:
    """One session's request, to which "parent_pid" has to be added: the worker dies with that process."""
    return {
        "tool": tool,
        "model_path": model_path,
        "num_threads": target.num_threads,
        "cpu_mask": cores,
        "delegate": target.delegate,
        "plan": asdict(plan),
    }


def worker_answer(model_path: Path, place: str, done: Completed) -> dict[str, Any]:
    """The worker's answer about a model, measured at `place` ("host"); `done` has a negative code for a signal.

    Raises UsageError if LiteRT refuses the model, MeasurementError for another failure.
    """
    if done.returncode < 0:
        how = end_in_words(done.returncode)
        raise MeasurementError(f"{model_path}: the process that measured it on {place} was {how}")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        lines = done.stderr.strip().splitlines() or ["(no message)"]
        detail = f"exit code {done.returncode}: {_shortened(lines[-1])}"
        message = f"{model_path}: the process that measured it on {place} gave no answer; {detail}"
        raise MeasurementError(message) from error
    if "failed" not in answer:
        return dict(answer)
    step, message = answer["failed"], _shortened(answer["message"])
    if step == "load" and message.startswith("ERROR: ["):
        message = _shortened(_cause(done.stderr) or message)
    if step in _REFUSALS:
        where = "" if place == "host" else f" on {place}"
        raise UsageError(f"{model_path}: {_REFUSALS[step]}{where}: {message}")
    raise MeasurementError(f"{model_path}: {place} measurement failed at step {step!r}: {message}")


def worker_session(target: Target, tool: str, answer: Mapping[str, Any]) -> Session:
    """The session that an answer tells of."""
    partitions = answer["delegate_partitions"]
    concerns: tuple[Concern, ...] = ()
    if target.delegate == "xnnpack" and partitions == 0:
        concerns = (Concern(FELL_BACK, "XNNPACK took no part of the graph"),)
    return Session(
        durations_ns=tuple(answer["durations_ns"]),
        peak_memory_bytes=answer["peak_memory_bytes"],
        cpu_share=answer["cpu_ns"] / answer["wall_ns"] if target.num_threads == 1 else None,
        conditions={
            "tool": TOOL_NAMES[tool],
            "cores_allowed": ",".join(map(str, answer["cores"])),
            "delegate_partitions": "unknown" if partitions is None else str(partitions),
            "init_us": f"{answer['init_ns'] / 1e3:.0f}",
            "memory_before_model_bytes": str(answer["memory_before_model_bytes"]),
        },
        concerns=concerns,
    )


def _cause(stderr: str) -> str:
    """What CompiledModel logs of the reason why it loads no model; its exception names source lines only."""
    lines = (line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: "))
    return next((line for line in lines if not line.startswith("[")), "")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_DETAIL else line[:_MAX_DETAIL] + "..."
