"""The search stage from its settings and data to its results, with trials that cost nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.progress import SilentReporter
from pipeline.data import DataConfig, prepare
from pipeline.planner import Stage
from pipeline.runner import StageContext
from pipeline.stages import search as search_stage
from search.settings import SearchConfig
from search.trials import Trial, TrialLog


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 16, 16), np.uint8), np.arange(60) % 2
    np.savez(folder / "images.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    (folder / "out").mkdir()
    prepare(DataConfig(name=f"npz:{folder / 'images.npz'}", val_fraction=0.2), 1, folder / "out", SilentReporter())
    return folder / "out"


def _run(folder: Path, data: Path, max_trials: int) -> list[Trial]:
    """The trials of the stage, run in the folder."""
    config = SearchConfig(
        oracle="regularized_evolution",
        evaluator="zero_cost",
        proxy="params",
        objective="accuracy",
        cost="macs",
        warm_start=3,
        proxy_pool=8,
        max_trials=max_trials,
    )
    out, scratch = folder / f"out-{max_trials}", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    stage = Stage("search", "search", "0" * 12, {"search": config, "seed": 1}, ("data",))
    search_stage.run(StageContext(stage, out, scratch, {"data": data}, SilentReporter()))
    return TrialLog(out / "trials.jsonl").trials


def test_a_resumed_search_begins_with_the_warm_start_it_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores can differ by a rounding on another computer, and their order with them: they are not taken again."""
    first = _run(tmp_path, data, 3)
    kept = json.loads((tmp_path / "scratch" / "warm_start.json").read_text())
    assert len(kept) == 3
    monkeypatch.setattr(search_stage, "warm_start", lambda *_: kept[::-1])
    resumed = _run(tmp_path, data, 5)
    assert resumed[:3] == first
    sizes = [trial.metrics["params"] for trial in resumed[:3]]
    assert sizes == sorted(sizes, reverse=True)
    elsewhere = _run(tmp_path / "elsewhere", data, 3)
    assert elsewhere[0].genotype == resumed[2].genotype
