"""Real trainings in two worker processes: trained, converted and measured, each network by its own process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from android_bench.settings import BenchConfig
from core.progress import SilentReporter
from core.tracking import EventTracker
from pipeline.data import DataConfig, load, prepare
from pipeline.evaluators import TrainEvaluatorFactory
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.loop import search_with
from search.oracles.strategy import Strategy
from search.parallel import WorkerPool
from search.settings import SearchConfig
from search.space import SearchSpace
from search.trials import OK, Trial
from tests.event_logs import curves, rows

BLOCK = BlockSpec(kernel_size=3, stride=2, expand_ratio=2, out_channels=8)
SPACE = SearchSpace("two", ArchSpec(OneOf((8, 16)), (StageSpec((BLOCK,), 1),), 16, resolution=16, num_classes=2))


def test_two_workers_train_convert_and_measure(tmp_path: Path) -> None:
    """Also the objectives of a Pareto search that are known only after that."""
    data, scratch = _bright_and_dark(tmp_path), tmp_path / "scratch"
    scratch.mkdir()
    config = SearchConfig(
        oracle="nsga2",
        objective="pareto",
        objectives=("int8_val_accuracy max", "latency_us min", "size_bytes min"),
        epochs=2,
        batch_size=8,
        max_trials=2,
        num_workers=2,
    )
    bench = BenchConfig(processes=1, runs=5, warmup_runs=1, min_seconds=0.0)
    tracker = EventTracker(tmp_path / "logs")
    factory = TrainEvaluatorFactory(config, bench, data, scratch, tracker=tracker)
    with WorkerPool(factory, 2, scratch) as workers:
        strategy, log = Strategy(config, SPACE, seed=1), tmp_path / "trials.jsonl"
        trials = search_with(workers, config, SPACE, strategy, log, seed=1, reporter=SilentReporter(), tracker=tracker)
    assert [trial.reason for trial in trials] == ["", ""]
    assert {trial.genotype for trial in trials} == {(0,), (1,)}
    for trial in trials:
        assert trial.status == OK
        assert trial.metrics["latency_us"] > 0 and trial.metrics["size_bytes"] > trial.metrics["params"]
        assert {"train", "convert", "measure"} <= trial.seconds.keys()
    logs = sorted(path.name for path in scratch.iterdir())
    assert logs == ["worker-0.log", "worker-1.log"], "neither checkpoint nor model is kept"
    assert load(data).num_classes == 2
    _assert_tracked(tmp_path / "logs", trials)


def _assert_tracked(logs: Path, trials: list[Trial]) -> None:
    """Each worker has written the curves of its training, this process what became of it."""
    found = curves(logs)
    assert {run for run in found if run != "."} == set(rows(logs)) == {trial.arch_id for trial in trials}
    assert [step for step, _ in found["."]["trial/latency_us"]] == [1, 2]
    files = [path.name.split(".")[-1] for path in logs.rglob("events.*")]
    assert len(set(files)) == 4 and files.count("result") == 2, "two workers, this process, and the results"
    for trial in trials:
        assert [step for step, _ in found[trial.arch_id]["train/loss"]] == [1, 2]
        assert found[trial.arch_id]["score"] == [(2, pytest.approx(trial.score))]  # a float32 there


def _bright_and_dark(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 100, (60, 16, 16)) + 150 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "images.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    out = folder / "data"
    out.mkdir()
    prepare(DataConfig(name=f"npz:{folder / 'images.npz'}", val_fraction=0.2), 1, out, SilentReporter())
    return out
