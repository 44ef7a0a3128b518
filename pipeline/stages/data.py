"""Stage "data": the images, decoded once, split, memory-mapped."""

from __future__ import annotations

from core.workspace import read_json
from pipeline.data import prepare
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Fills the stage's folder; raises UsageError for images that cannot be used."""
    prepare(context.params["data"], context.params["seed"], context.out, context.reporter)
    described = read_json(context.out / "data.json")
    counts = ", ".join(f"{count} {name}" for name, count in described["counts"].items())
    return Outcome(f"{described['name']}: {counts} images, {len(described['class_names'])} classes")
