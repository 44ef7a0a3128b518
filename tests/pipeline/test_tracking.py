"""TensorBoard's logs of a run: whose they are, and the models side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.tracking import EventTracker
from pipeline.config import Config
from pipeline.planner import Stage
from pipeline.report_tracking import track_artifacts
from pipeline.tracking import stage_tracker
from pipeline.workdir import Workdir
from tests.event_logs import curves, rows
from tests.pipeline import report_runs


def _stage(key: str, name: str = "w0.float") -> Stage:
    return Stage(name, "float", key, {}, ())


def test_a_stage_goes_on_in_its_logs_until_its_settings_change(tmp_path: Path) -> None:
    for key, step in (("a", 1), ("a", 2), ("b", 1)):
        stage_tracker(tmp_path, _stage("same", "teacher"))
        stage_tracker(tmp_path, _stage(key)).scalars(step, {"train/loss": float(step)})
        expected = {"b": [(1, 1.0)], "a": [(1, 1.0), (2, 2.0)][:step]}[key]
        assert curves(tmp_path / "tensorboard") == {"w0.float": {"train/loss": expected}}
    stage_tracker(tmp_path, _stage("a"))
    assert curves(tmp_path / "tensorboard") == {}


def test_a_folder_with_logs_alone_is_one_for_a_run(tmp_path: Path) -> None:
    stage_tracker(tmp_path, _stage("a")).scalars(1, {"train/loss": 1.0})
    Workdir(tmp_path).check(Config(), new_config=False)


def test_released_models_are_rows_with_their_recipes(tmp_path: Path) -> None:
    report = report_runs.run()
    track_artifacts(EventTracker(tmp_path / "report"), report)
    found, points = rows(tmp_path), curves(tmp_path)
    assert len(found) == len(report.released) > 1
    for artifact in report.released:
        run = f"report/{artifact.plan.name}"
        title, values, succeeded = found[run]
        assert title == artifact.file and succeeded
        assert (values["recipe"], values["scheme"]) == (artifact.plan.recipe, artifact.plan.scheme)
        assert points[run]["size_bytes"] == [(0, artifact.artifact.size_bytes)]
        # Event files hold float32.
        assert points[run]["test_accuracy"] == [(0, pytest.approx(artifact.validation["tflite_accuracy"], rel=1e-6))]
        assert points[run]["latency_us/host"] == [(0, pytest.approx(artifact.measurements[0].latency.median_us))]


def test_a_latency_of_the_cpu_in_place_of_the_delegate_is_none_of_the_target(tmp_path: Path) -> None:
    report = report_runs.run()
    fell_back = report_runs.measured(90.0, "gpu", verdict="fell back to CPU: 3 of 40 operators")
    artifacts = tuple(
        dataclasses.replace(artifact, measurements=(*artifact.measurements, fell_back)) for artifact in report.artifacts
    )
    track_artifacts(EventTracker(tmp_path), dataclasses.replace(report, artifacts=artifacts))
    tags = {tag for run in curves(tmp_path).values() for tag in run}
    assert "latency_us/host" in tags and "latency_us/gpu" not in tags
