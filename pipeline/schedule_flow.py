"""A run as a flow of Prefect: a task for each stage, tried again where that may help, and shown with what failed.

One process does the whole run, as `pipeline.main run` at a prompt does: the plan and the data are those of one moment,
and the folder's lock is held throughout. The tasks follow its log, stage by stage.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.schedules import Cron
from prefect.states import Completed, Failed, State

from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LitesmithError, bad_value
from pipeline.run_process import RunProcess, ask
from pipeline.schedule_tasks import NOT_PUBLISHED, Failure, Followed, follow

REFUSED = "Refused"  # the name of the state of a run that ended with exit code 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: its exit code, what failed if not EXIT_DONE, whether to try again may help, and the name and message of
    what was published."""

    exit_code: int
    failure: Failure | None
    again: bool
    published: str = ""
    told: str = ""


@flow(name="litesmith", flow_run_name="{workdir}", persist_result=False)
def litesmith_run(
    config: str,
    workdir: str,
    store: str | None = None,
    channel: str | None = None,
    overrides: list[str] | None = None,
    retries: int = 2,
    retry_delay_s: float = 60.0,
    limit: int = 1,
) -> State[Any]:
    """Makes what is not done yet, and publishes the release if a store is set.

    What failed is tried again, by the same command: what is done is kept. What was refused is not tried again.

    Args:
      config: the configuration's file.
      workdir: the folder of the run.
      store: where the release is published; by default as the configuration says.
      channel: of the store; by default as the configuration says.
      overrides: more flags for `pipeline.main run`, like --config.search.max_trials=20.
      retries: how often what failed is tried again.
      retry_delay_s: seconds before that.
      limit: how many runs may go on at once on this computer; 0: any number.
    """
    flags = arguments(config, workdir, store, channel, overrides or ())
    with _slot(limit):
        done = _attempt(flags, workdir)
        for number in range(2, retries + 2):
            if done.failure is None or not done.again:
                break
            text = "%s; trying again in %g s (%d of %d)"
            get_run_logger().warning(text, done.failure.message, retry_delay_s, number, retries + 1)
            time.sleep(retry_delay_s)
            done = _attempt(flags, workdir)
        return _final_state(done, workdir)


def arguments(
    config: str, workdir: str, store: str | None, channel: str | None, overrides: Sequence[str]
) -> tuple[str, ...]:
    """The command line after `pipeline.main run`."""
    chosen = {"store": store, "channel": channel}
    release = (f"--config.release.{key}={value}" for key, value in chosen.items() if value is not None)
    return (f"--config={config}", f"--workdir={workdir}", *release, *overrides)


def plan(flags: Sequence[str]) -> dict[str, Any]:
    """What the run would do (pipeline.status.plan_json). Raises UsageError or LitesmithError as the pipeline does."""
    found: dict[str, Any] = ask(("run", "--dry_run", "--json", *flags))
    return found


def run_once(parameters: dict[str, Any]) -> int:
    """Runs the flow now, prints its state and returns the exit code of a run."""
    state = litesmith_run(**parameters, return_state=True)
    print(f"{state.name}: {state.message}")
    if state.is_completed():
        return EXIT_DONE
    return EXIT_USAGE if state.name == REFUSED else EXIT_FAILED


def serve(parameters: dict[str, Any], name: str, cron: str, timezone: str) -> None:
    """Waits for the times of the schedule and runs the flow, until interrupted.

    Raises UsageError now for what each run would refuse.
    """
    try:
        schedule = Cron(cron, timezone=timezone)
    except ValueError as error:
        legal = 'five fields (minute, hour, day of the month, month, day of the week), like "0 3 * * *"'
        raise bad_value("--cron", cron, legal) from error
    plan(arguments(*(parameters[key] for key in ("config", "workdir", "store", "channel", "overrides"))))
    litesmith_run.serve(name, schedule=schedule, parameters=parameters, limit=1, description=__doc__)


def _slot(limit: int) -> AbstractContextManager[None]:
    """Waits until fewer than `limit` runs of this computer go on; a place is free again soon after its holder died."""
    if not limit:
        return nullcontext()
    name = f"litesmith-{socket.gethostname()}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, limit)
    get_run_logger().info("concurrency limit %s: waiting for one of its places (%d)", name, limit)
    slot: AbstractContextManager[None] = concurrency(name, raise_on_lease_renewal_failure=False)
    return slot


def _attempt(flags: Sequence[str], workdir: str) -> Attempt:
    """The whole run once."""
    try:
        planned = plan(flags)
        with RunProcess(("run", *flags)) as run:
            done = follow(planned, run)
        again = done.exit_code not in (EXIT_DONE, EXIT_USAGE) and _may_help(done, workdir)
    except LitesmithError as error:
        get_run_logger().error("%s", error)
        return Attempt(error.exit_code, Failure("", str(error), ()), error.exit_code != EXIT_USAGE)
    if done.publication is None or done.publication.is_failed():
        return Attempt(done.exit_code, done.failure, again)
    return Attempt(done.exit_code, done.failure, again, str(done.publication.name), str(done.publication.message))


def _may_help(done: Followed, workdir: str) -> bool:
    """Whether something failed that the same run may not fail in once more."""
    if done.stopped:
        return True
    if done.publication is not None and done.publication.is_failed() and done.publication.name != NOT_PUBLISHED:
        return True
    return any(stage["failure"] and stage["failure"]["retry"] for stage in _status(workdir)["stages"])


def _status(workdir: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(("status", "--json", f"--workdir={workdir}"))
    return found


def _final_state(done: Attempt, workdir: str) -> State[Any]:
    """The flow's state, whose message the page shows beside the run. Writes the artifacts."""
    if done.exit_code == EXIT_USAGE and done.failure:
        return Failed(name=REFUSED, message=done.failure.message)
    _show_stages(workdir)
    if done.failure is None:
        return Completed(name=done.published or None, message=done.told or f"all done in {workdir}")
    create_markdown_artifact(_failure_page(done.failure), key="litesmith-failure", description=done.failure.message)
    published = f"; {done.published.lower()}: {done.told}" if done.published else ""
    return Failed(message=f"{done.failure.message}{published}")


def _show_stages(workdir: str) -> None:
    try:
        stages = _status(workdir)["stages"]
    except LitesmithError as error:  # the run failed before there was a plan
        get_run_logger().warning("%s", error)
        return
    columns = ("name", "state", "seconds", "summary")
    rows = [{key: stage[key] for key in columns} for stage in stages]
    for row, stage in zip(rows, stages, strict=True):
        row["summary"] = stage["failure"]["reason"] if stage["failure"] else row["summary"]
    create_table_artifact(table=rows, key="litesmith-stages", description=f"Stages of {workdir}")


def _failure_page(failure: Failure) -> str:
    log = "\n".join(failure.log)
    title = f"{failure.stage or 'The run'} failed"
    return f"## {title}\n\n{failure.reason}\n\nThe last lines of the log up to there:\n\n````\n{log}\n````\n"
