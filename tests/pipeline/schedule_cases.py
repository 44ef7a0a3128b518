"""Runs pipeline.schedule on a Prefect server of its own, once for each folder that is named; prints what Prefect shows.

For the scheduler's Python: `.venv-schedule/bin/python tests/pipeline/schedule_cases.py FOLDER ...`, each with a file
scenario.json for stand_in_pipeline.py and a file flags.txt for pipeline.schedule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.testing.utilities import prefect_test_harness

from pipeline import schedule


def main(folders: list[Path]) -> None:
    """Prints a JSON object: folder name -> what `_shown` gives."""
    with prefect_test_harness(server_startup_timeout=300), get_client(sync_client=True) as client:
        found: dict[str, Any] = {}
        known: set[UUID] = set()
        for folder in folders:
            flags = (folder / "flags.txt").read_text().splitlines()
            code = schedule.main([f"--config={folder / 'scenario.json'}", f"--workdir={folder / 'run'}", *flags])
            found[folder.name] = {"code": code, **_shown(client, known)}
    print(json.dumps(found))


def _shown(client: SyncPrefectClient, known: set[UUID]) -> dict[str, Any]:
    """The one flow run that is not known yet, with its tasks and its artifacts."""
    (run,) = [run for run in client.read_flow_runs() if run.id not in known]
    known.add(run.id)
    mine = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
    tasks = sorted(client.read_task_runs(flow_run_filter=mine), key=lambda task: task.start_time)
    artifacts = client.request("POST", "/artifacts/filter", json={"flow_runs": mine.model_dump(mode="json")}).json()
    return {
        "state": [run.state.type.value, run.state.name, run.state.message],
        "tasks": [[task.name, task.state.type.value, task.state.name, task.state.message] for task in tasks],
        "artifacts": {artifact["key"]: artifact["data"] for artifact in artifacts},
        "limits": {limit.name: limit.limit for limit in client.read_global_concurrency_limits(limit=10, offset=0)},
    }


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
