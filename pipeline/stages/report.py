"""Stage "report": index.html, report.json and summary.md."""

from __future__ import annotations

from dataclasses import replace

from core.workspace import atomic_write_json
from pipeline.report import render, summary
from pipeline.report_data import gather
from pipeline.report_mistakes import find_mistakes
from pipeline.report_tracking import track_artifacts
from pipeline.report_units import now
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes the three files into the stage's folder."""
    params = context.params
    report = gather(params["config"], params["artifacts"], context.inputs, params.get("command", ""))
    report = replace(report, mistakes=find_mistakes(report, context.inputs))
    created = now()
    (context.out / "index.html").write_text(render(report, created), encoding="utf-8")
    (context.out / "summary.md").write_text(summary(report, created), encoding="utf-8")
    atomic_write_json(context.out / "report.json", {"created": created, "report": report})
    track_artifacts(context.tracker, report)
    return Outcome(f"{len(report.artifacts)} models, {len(report.trials)} trials")
