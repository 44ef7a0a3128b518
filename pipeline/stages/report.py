"""Stage "report": index.html, report.json and summary.md."""

from __future__ import annotations

from core.workspace import atomic_write_json
from pipeline.report import render, summary
from pipeline.report_data import gather
from pipeline.report_units import now
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes the three files into the stage's folder."""
    report = gather(context.params["config"], context.params["artifacts"], context.inputs)
    created = now()
    (context.out / "index.html").write_text(render(report, created), encoding="utf-8")
    (context.out / "summary.md").write_text(summary(report, created), encoding="utf-8")
    atomic_write_json(context.out / "report.json", {"created": created, "report": report})
    return Outcome(f"{len(report.artifacts)} models, {len(report.trials)} trials")
