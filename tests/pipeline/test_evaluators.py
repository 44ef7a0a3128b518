"""The evaluator on a tiny data set: real training, conversion and measurement."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from android_bench.settings import BenchConfig
from core.errors import CandidateError, LitesmithError
from core.spec_io import content_id
from core.values import Target
from pipeline import evaluators
from pipeline.evaluators import TrainEvaluator
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical
from search.dataset import ImageData, ImageSet
from search.evaluate import Candidate
from search.grammar import from_text
from search.settings import SearchConfig

ARCH = from_text("input_r16_n2_w1 stem_s2_c8 ir_r1_k3_s2_e2_c8 head_c16")
CONFIG = SearchConfig(oracle="hyperband", cost="macs", epochs=3, batch_size=8)
BENCH = BenchConfig(processes=1, runs=5, warmup_runs=1, min_seconds=0.0)


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Dark and bright pictures."""
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(np.int32)
    images = (rng.integers(0, 100, (60, 16, 16, 1)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    rows = np.arange(60)
    train, val, test = (ImageSet(images, labels, part) for part in (rows[:40], rows[40:50], rows[50:]))
    return ImageData("bright", ("no", "yes"), train, val, test, "none")


def _candidate(arch: ArchSpec = ARCH) -> Candidate:
    return Candidate(arch, content_id(arch), (), seed=5)


def _state(path: Path) -> tuple[dict[str, object], list[np.ndarray]]:
    with np.load(path) as arrays:
        return json.loads(str(arrays["state"])), [arrays[name] for name in sorted(arrays) if name != "state"]


def test_a_promotion_goes_on_from_the_earlier_weights(data: ImageData, tmp_path: Path) -> None:
    (tmp_path / "promoted").mkdir()
    (tmp_path / "direct").mkdir()
    promoted = TrainEvaluator(CONFIG, BENCH, data, tmp_path / "promoted")
    name = f"{_candidate().arch_id}.npz"
    promoted.evaluate(_candidate(), 1)
    first, _ = _state(tmp_path / "promoted" / name)
    found = promoted.evaluate(_candidate(), 3)
    second, weights = _state(tmp_path / "promoted" / name)
    direct = TrainEvaluator(CONFIG, BENCH, data, tmp_path / "direct").evaluate(_candidate(), 3)
    expected, expected_weights = _state(tmp_path / "direct" / name)
    assert second["loss"][:1] == first["loss"]  # type: ignore[index]  # the first epoch was not trained again
    assert second == expected
    assert all(np.array_equal(a, b) for a, b in zip(weights, expected_weights, strict=True))
    assert found.metrics == direct.metrics


def test_a_measured_candidate_has_size_int8_accuracy_and_latency(data: ImageData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, oracle="random", cost="latency_us", epochs=1)
    found = TrainEvaluator(config, BENCH, data, tmp_path).evaluate(_candidate(), 1)
    assert found.metrics["latency_us"] > 0
    assert found.metrics["size_bytes"] > found.metrics["params"]
    assert 0 <= found.metrics["int8_val_accuracy"] <= 1
    assert set(found.seconds) == {"build", "train", "evaluate", "convert", "evaluate_int8", "measure"}
    assert not list(tmp_path.iterdir())  # neither checkpoint nor model is kept


def test_a_network_that_does_not_fit_its_images_is_refused(data: ImageData, tmp_path: Path) -> None:
    block = BlockSpec(stride=2, expand_ratio=2, out_channels=8)
    arch = canonical(ArchSpec(8, (StageSpec((block,) * 5, 5),), 16, resolution=16, num_classes=2))
    with pytest.raises(CandidateError, match="stride 2 does not fit an input of 1x1"):
        TrainEvaluator(CONFIG, BENCH, data, tmp_path).evaluate(_candidate(arch), 1)


@pytest.mark.parametrize(("kind", "alone"), [("host", ["alone", "measured", "together"]), ("phone", ["measured"])])
def test_other_workers_keep_off_the_host_while_it_is_measured(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, alone: list[str]
) -> None:
    """A measurement on another machine does not mind them."""
    events: list[str] = []

    @contextmanager
    def gate() -> Iterator[None]:
        events.append("alone")
        yield
        events.append("together")

    monkeypatch.setattr(evaluators, "resolve_target", lambda *settings: Target("it", kind=kind))
    monkeypatch.setattr(evaluators, "search_latency_us", lambda *settings, **named: events.append("measured") or 7.0)
    assert TrainEvaluator(CONFIG, BENCH, data, tmp_path, alone=gate)._latency_us(tmp_path / "model.tflite") == 7.0
    assert events == alone


@pytest.mark.parametrize(("failures", "ends_well"), [(1, True), (2, False)])
def test_a_measurement_that_fails_once_is_taken_again(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, ends_well: bool
) -> None:
    calls: list[Path] = []

    def measured(path: Path, *settings: object, **named: object) -> float:
        calls.append(path)
        if len(calls) <= failures:
            raise LitesmithError("the worker was killed by SIGKILL")
        return 7.0

    monkeypatch.setattr(evaluators, "search_latency_us", measured)
    evaluator = TrainEvaluator(CONFIG, BENCH, data, tmp_path)
    if ends_well:
        assert evaluator._latency_us(tmp_path / "model.tflite") == 7.0
    else:
        with pytest.raises(CandidateError, match="cannot be measured: the worker was killed by SIGKILL"):
            evaluator._latency_us(tmp_path / "model.tflite")
    assert len(calls) == 2
