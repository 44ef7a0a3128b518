"""TensorBoard's logs of a run: what each stage trains. No TensorFlow here."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.tracking import TENSORBOARD, EventTracker, Tracker
from core.workspace import atomic_write_json, read_json
from pipeline.planner import Stage

KEYS = ".keys.json"  # of the stages whose logs are there: TensorBoard passes over it


def stage_tracker(root: Path, stage: Stage) -> Tracker:
    """The tracker of a stage in WORKDIR/tensorboard/STAGE; logs of the stage with other settings make way.

    Those of the same key stay: a killed stage goes on in them.
    """
    logs = root / TENSORBOARD
    keys = read_json(logs / KEYS) if (logs / KEYS).exists() else {}
    if keys.get(stage.name) != stage.key:
        shutil.rmtree(logs / stage.name, ignore_errors=True)
        logs.mkdir(exist_ok=True)
        atomic_write_json(logs / KEYS, {**keys, stage.name: stage.key})
    return EventTracker(logs / stage.name)
