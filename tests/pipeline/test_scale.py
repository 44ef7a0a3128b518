"""The command `scale`: lines, refusals, and a grid search of real trainings that goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from android_bench.connections import Connections
from core.errors import CandidateError, LitesmithError, UsageError
from core.progress import SilentReporter
from core.workspace import atomic_write_json
from pipeline import evaluators
from pipeline.config import Config, default_config, validated
from pipeline.scale import ScaleRequest, grid_command, scale_command
from pipeline.scale_trials import ScaleTrials, opened_trials
from search.cost import cost
from search.evaluate import Candidate, Evaluation
from search.grammar import from_text, to_text
from search.named import network
from search.scaling import Coefficients, compound
from search.trials import OK, Trial

BASELINE = "input_r16_n3_w1 stem_s2_c8 ir_r1_k3_s2_e2_c8 head_c16"
STEP = 0.4  # leaves two points: beta = 1.4 alone and gamma = 1.4 alone


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """One epoch on three classes of 16 x 16 pictures, dark to bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pictures = (rng.integers(0, 60, (120, 16, 16)) + 80 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "bright.npz"
    np.savez(path, x_train=pictures[:90], y_train=labels[:90], x_test=pictures[90:], y_test=labels[90:])
    settings = default_config()
    settings.data.name = f"npz:{path}"
    settings.search.epochs = 2
    settings.search.batch_size = 8
    settings.bench.processes = 1
    settings.bench.runs = 5
    settings.bench.warmup_runs = 1
    settings.bench.min_seconds = 0.0
    return validated(settings)


def grid(config: Config, workdir: Path, **asked: Any) -> list[str]:
    return grid_command(ScaleRequest(**{"arch": BASELINE, **asked}), config, workdir, SilentReporter(), STEP)


def test_the_lines_of_a_scaled_network() -> None:
    first, text, last = scale_command(ScaleRequest("efficientnet_b0", max_macs=1e9))
    arch = from_text(text)
    base = network("efficientnet_b0", 224, 1000)
    phi = float(first.split()[1].removesuffix(":"))
    assert arch == compound(base, Coefficients(), phi)
    assert f"depth x {1.2**phi:.2f}, width x {1.1**phi:.2f}, resolution 224 -> {arch.resolution}" in first
    assert last.startswith(f"{cost(arch).macs:,} MACs, {cost(arch).params:,} parameters")
    assert 0.98e9 < cost(arch).macs <= 1e9


def test_a_text_is_scaled_too_and_coefficients_are_the_users() -> None:
    _, text, _ = scale_command(ScaleRequest(BASELINE, max_macs=1e5, alpha=1, beta=1, gamma=1.5))
    arch = from_text(text)
    assert arch == dataclasses.replace(from_text(BASELINE), resolution=arch.resolution)
    assert arch.resolution > 16


def test_a_named_network_takes_its_resolution_and_classes() -> None:
    asked = ScaleRequest("mobilenet_v2_small", max_macs=1e7, resolution=28, num_classes=7)
    arch = from_text(scale_command(asked)[1])
    assert arch.num_classes == 7
    assert 28 < arch.resolution < 64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "--max_macs: missing"),
        ({"max_macs": 1e6, "max_latency_us": 1.0}, "--max_macs, --max_latency_us: expected one budget, got both"),
        ({"max_latency_us": 1.0}, "--max_latency_us: needs --config and --workdir"),
        ({"max_macs": 1e6, "arch": ""}, "--arch: missing; expected the name of a network or its text"),
        (
            {"max_macs": 1e6, "arch": "mobilenet"},
            "--arch: 'mobilenet' is not legal; expected a network's text or one of",
        ),
        ({"max_macs": 1e6, "resolution": 32}, "--resolution: only for a network that --arch names"),
        ({"max_macs": -1}, "--max_macs: -1 is not legal; expected a number above 0"),
        ({"max_macs": float("nan")}, "--max_macs: nan is not legal"),
        ({"max_macs": float("inf")}, "--max_macs: inf is not legal"),
        ({"max_latency_us": 0.0}, "--max_latency_us: 0.0 is not legal"),
        ({"max_latency_us": float("nan")}, "--max_latency_us: nan is not legal"),
        ({"max_macs": 10}, "--max_macs: 10 is too small; the least cost of a network seen is"),
        ({"max_macs": 1e6, "alpha": 3}, "--alpha: 3 is not legal; expected a number from 1 to 2"),
        ({"max_macs": 1e6, "beta": float("nan")}, "--beta: nan is not legal"),
        ({"max_macs": 1e6, "gamma": 0.5}, "--gamma: 0.5 is not legal"),
        ({"max_macs": 1e6, "alpha": 1, "beta": 1, "gamma": 1}, "--alpha, --beta, --gamma: all are 1"),
        ({"max_macs": 1e6, "arch": "resnet18", "resolution": 0}, ".*resolution: 0 is not legal"),
        ({"max_macs": 1e6, "arch": "resnet18", "num_classes": 0}, ".*num_classes: 0 is not legal"),
    ],
)
def test_bad_requests_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        scale_command(ScaleRequest(**{"arch": BASELINE, **asked}))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_macs": float("nan")}, "--max_macs: nan"),
        ({"max_latency_us": -1.0}, "--max_latency_us: -1.0"),
        ({"arch": BASELINE.replace("k3", "k4")}, "architecture.*kernel_size: 4 is not legal"),
        ({"arch": "resnet19"}, ".*resnet19"),
        ({"arch": "resnet18", "resolution": 0}, ".*resolution: 0 is not legal"),
        ({"resolution": 32}, "--resolution: only for a network that --arch names"),
    ],
)
def test_a_bad_request_is_refused_before_the_data_are_read(
    config: Config, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        grid(config, tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def test_a_point_that_the_data_cannot_have_is_skipped(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """760 pixels times 1.4 are more than the 1024 to which images are resized: it is one network's fault."""
    monkeypatch.setattr(ScaleTrials, "_train", lambda *_: Trial(0, "", (), BASELINE, "a", 1, 1, OK, 0.5))
    title, *_ = lines = grid(config, tmp_path, arch=BASELINE.replace("r16", "r760"))
    assert title == "grid search: 2 points, of which 1 could be trained; the best:"
    assert len(lines) == 2
    assert "beta 1.4" in lines[1]


def test_a_latency_of_what_cannot_be_built_reads_no_data(config: Config, tmp_path: Path) -> None:
    arch = from_text("input_r32_n3_w1 stem_s2_c8 conv_r1_k3_s1_c16_g2 head_c16")
    odd = dataclasses.replace(arch, stem_channels=9, resolution=24)
    with opened_trials(config, tmp_path, SilentReporter()) as trials:
        with pytest.raises(CandidateError, match="not divisible by 2 groups"):
            trials.latency_us(odd)
        with pytest.raises(CandidateError, match=r"^resolution: 1040 is not legal; expected a number from 8 to 1024"):
            trials.latency_us(dataclasses.replace(arch, resolution=1040))
        assert not (trials.folder / "data-24").exists()


def test_a_grid_search_trains_each_point_once(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second training, then run again, then once more: with nothing left to train."""
    evaluate = evaluators.TrainEvaluator.evaluate
    trained: list[str] = []

    def counting(self: Any, candidate: Candidate, epochs: int) -> Evaluation:
        trained.append(to_text(candidate.arch))
        assert self.data.resolution == candidate.arch.resolution
        if len(trained) == 2:
            raise KeyboardInterrupt
        return evaluate(self, candidate, epochs)

    monkeypatch.setattr(evaluators.TrainEvaluator, "evaluate", counting)
    with pytest.raises(KeyboardInterrupt):
        grid(config, tmp_path, max_macs=100_000)
    lines = grid(config, tmp_path, max_macs=100_000)
    assert [text.split("_")[1] for text in trained] == ["r22", "r16", "r16"]
    assert grid(config, tmp_path, max_macs=100_000) == lines
    assert len(trained) == 3

    title, best, other, _, text, _ = lines
    assert title == "grid search: 2 points; the best:"
    records = [json.loads(line) for line in (tmp_path / "scale" / "trials.jsonl").read_text().splitlines()]
    scores = {record["arch"]: record["score"] for record in records}
    assert f"accuracy {100 * max(scores.values()):.2f} %" in best
    assert f"accuracy {100 * min(scores.values()):.2f} %" in other
    gamma = "gamma 1.4:" in best
    assert from_text(text).resolution > 22 if gamma else from_text(text).resolution == 16
    assert 80_000 < cost(from_text(text)).macs <= 100_000
    assert not list(tmp_path.glob("scale/*.npz")), "no checkpoint stays"


def test_a_failed_training_is_passed_over_and_remembered(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(self: Any, candidate: Candidate, epochs: int) -> Evaluation:
        calls.append(candidate)
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(evaluators.TrainEvaluator, "evaluate", failing)
    for _ in range(2):
        with pytest.raises(LitesmithError, match=r"^grid search: none of 2 scaled networks could be evaluated$"):
            grid(config, tmp_path)
    assert len(calls) == 2
    record = json.loads((tmp_path / "scale" / "trials.jsonl").read_text().splitlines()[0])
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: out of memory")


def test_other_settings_need_another_folder(config: Config, tmp_path: Path) -> None:
    with opened_trials(config, tmp_path, SilentReporter()):
        pass
    longer = dataclasses.replace(config, search=dataclasses.replace(config.search, epochs=3))
    with pytest.raises(UsageError, match=r"^--workdir: .*scale holds trainings with other data or settings"):
        grid(longer, tmp_path)


def test_a_network_for_other_classes_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--arch: a network for 4 classes; expected the data set's 3$"):
        grid(config, tmp_path, arch=BASELINE.replace("n3", "n4"))


def test_the_baseline_is_the_searchs_winner(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--workdir: .* holds no run"):
        grid(config, tmp_path, arch="")
    atomic_write_json(tmp_path / "plan.json", [{"name": "search", "kind": "search", "key": "0" * 16, "inputs": []}])
    with pytest.raises(UsageError, match=r"^--arch: missing, and the run in .* has no finished search"):
        grid(config, tmp_path, arch="")
    folder = tmp_path / "stages" / f"search-{'0' * 16}"
    folder.mkdir(parents=True)
    winner = Trial(0, "0", (1,), BASELINE, "a", epochs=1, seed=1, status=OK, score=0.5)
    atomic_write_json(folder / "winners.json", [winner])
    asked = []

    def guessing(self: Any, candidate: Candidate, epochs: int) -> Evaluation:
        asked.append(candidate.arch)
        return Evaluation({"val_accuracy": 0.5}, {})

    monkeypatch.setattr(evaluators.TrainEvaluator, "evaluate", guessing)
    grid(config, tmp_path, arch="")
    assert compound(from_text(BASELINE), Coefficients(1, 1, 1.4), 1) in asked


def test_a_latency_budget_is_measured(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One conversion and measurement in full; the search over phi is search.scaling's."""
    with opened_trials(config, tmp_path, SilentReporter()) as trials:
        assert 0 < trials.latency_us(from_text(BASELINE)) < 1e6
        assert not list(trials.folder.glob("*.tflite"))
    monkeypatch.setattr(evaluators.TrainEvaluator, "evaluate", lambda *_: Evaluation({"val_accuracy": 0.5}, {}))
    monkeypatch.setattr("pipeline.scale_trials.ScaleTrials.latency_us", lambda self, arch: cost(arch).macs / 1000)
    lines = grid(config, tmp_path, max_latency_us=100.0)
    macs, latency = cost(from_text(lines[-2])).macs, float(lines[-1].split(" us")[0].split(", ")[-1])
    assert macs / 1000 == pytest.approx(latency, abs=0.05)  # printed with one decimal
    assert latency <= 100


def test_a_latency_budget_is_measured_where_the_flags_say(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(
        "pipeline.scale_trials.search_latency_us", lambda *_, connections: seen.append(connections) or 7.0
    )
    where = Connections(serials={"": "8A1X0"})
    with opened_trials(config, tmp_path, SilentReporter(), where) as trials:
        assert trials.latency_us(from_text(BASELINE)) == 7.0
    assert seen == [where]
