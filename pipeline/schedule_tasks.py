"""The stages of a run as tasks of Prefect, which follow the run's log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed, State

from core.errors import EXIT_DONE
from pipeline.run_process import RunProcess, stage_line, without_clock

PUBLISH = "publish"  # the task after the last stage
# Names of states, which the page shows in place of Completed, Failed and Cancelled.
DONE_BEFORE, NOT_DONE = "Done before", "Not done"
PUBLISHED, NOTHING_NEW, NOT_PUBLISHED = "Published", "Nothing new", "Not published"
# Words of pipeline.runner and pipeline.publish.
_FAILED, _PASSED_ON, _BEFORE = "FAILED: ", "not done, because ", ("done before", "published again")
_PUBLISHED, _NOTHING_NEW, _NOT_PUBLISHED = "published: ", "nothing new: ", "not published: "


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed: the task's name ("" if none did and the run ended all the same), why, and the log's last lines."""

    stage: str
    reason: str
    log: tuple[str, ...]

    @property
    def message(self) -> str:
        """One line."""
        return f"{self.stage}: {self.reason}" if self.stage else self.reason


@dataclass(frozen=True, slots=True)
class Followed:
    """How a run ended: its exit code, what failed first, whether it ended early, and how its publishing did."""

    exit_code: int
    failure: Failure | None
    stopped: bool
    publication: State[Any] | None


def follow(planned: dict[str, Any], run: RunProcess) -> Followed:
    """A task for each stage of the plan (pipeline.status.plan_json) that the run reaches, and one to publish."""
    failures, state, stopped = [], None, False
    for name, code in _tasks(planned, run):
        state = _as_task(name, code)
        if state.is_failed():
            failures.append(Failure(name, str(state.message), tuple(run.last_lines)))
        stopped = run.at_end and name != PUBLISH
        if stopped:
            break
    _show(run)
    exit_code = run.wait()
    if exit_code != EXIT_DONE and not failures:
        failures.append(Failure("", run.reason(), tuple(run.last_lines)))
    publication = state if planned["store"] is not None and not stopped else None
    return Followed(exit_code, failures[0] if failures else None, stopped, publication)


def _tasks(planned: dict[str, Any], run: RunProcess) -> Iterator[tuple[str, Callable[[], State[Any]]]]:
    for stage in planned["stages"]:
        yield stage["name"], partial(_stage, stage, run)
    if planned["store"] is not None:
        yield PUBLISH, partial(_publish, run)


def _as_task(name: str, code: Callable[[], State[Any]]) -> State[Any]:
    """Runs the code as a task of that name, whose state is what the code returns."""

    def body() -> State[Any]:
        return code()

    made = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(body)
    state: State[Any] = made(return_state=True)
    return state


def _stage(stage: dict[str, Any], run: RunProcess) -> State[Any]:
    """Shows the log up to the end of the stage; `stage` is what was known of it before the run."""
    verdict = _verdict(run, stage["name"])
    if verdict is None:
        return Failed(message=run.reason(stage["name"]))
    if verdict in _BEFORE:
        known = stage["failure"]
        if not known:
            return Completed(name=DONE_BEFORE, message=stage["summary"])
        verdict = f"{_FAILED}{known['reason'] if known['stage'] == stage['name'] else _PASSED_ON + known['stage']}"
    if not verdict.startswith(_FAILED):
        return Completed(message=verdict)
    reason = verdict.removeprefix(_FAILED)
    return Cancelled(name=NOT_DONE, message=reason) if reason.startswith(_PASSED_ON) else Failed(message=reason)


def _verdict(run: RunProcess, name: str) -> str | None:
    """How the stage of that name ended; None if the run did before."""
    for line in run.lines():
        get_run_logger().info("%s", line)
        found = stage_line(line)
        if found and found.name == name and found.verdict is not None:
            return found.verdict
    return None


def _publish(run: RunProcess) -> State[Any]:
    """Shows the log up to the end of the run, which publishes last."""
    for line in _show(run):
        for begin, name in ((_PUBLISHED, PUBLISHED), (_NOTHING_NEW, NOTHING_NEW)):
            if line.startswith(begin):
                return Completed(name=name, message=line.removeprefix(begin))
    reason = run.reason()
    return Failed(name=NOT_PUBLISHED if reason.startswith(_NOT_PUBLISHED) else None, message=reason)


def _show(run: RunProcess) -> list[str]:
    """The rest of the log, shown; returned without its clock."""
    lines = list(run.lines())
    for line in lines:
        get_run_logger().info("%s", line)
    return [without_clock(line) for line in lines]
