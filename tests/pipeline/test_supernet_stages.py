"""The stages around shared weights: training, search, fine-tuning, and images in a winner's own resolution."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from core.keras_env import keras

import numpy as np
import pytest
from PIL import Image

from android_bench.settings import BenchConfig
from compress.distill_config import DistillConfig
from compress.storage import load_model, save_model
from core.progress import SilentReporter
from core.spec_io import from_plain
from core.workspace import atomic_write_json, read_json
from pipeline import supernet
from pipeline.data import load
from pipeline.images import resized, write_resized
from pipeline.stages import float_model
from pipeline.stages import images as images_stage
from pipeline.stages import search as search_stage
from pipeline.stages import supernet as supernet_stage
from pipeline.stages.models import _for_images_of, supervision
from pipeline.supernet import SharedEvaluatorFactory
from pipeline.supernet_record import INHERITED, Inherited, read_record, searched_space
from search.evaluate import Candidate
from search.grammar import from_text, to_text
from search.loop import candidate_of
from search.settings import SearchConfig, TrainConfig
from search.supernet.methods import WEIGHTS, Trained
from search.supernet.settings import SupernetConfig
from search.trials import OK, Trial, TrialLog
from tests.pipeline.supernet_runs import (
    SPACE,
    FakeShared,
    context,
    fake_load,
    prepared_images,
    right_of,
    supernet_folder,
)

CONFIG = SearchConfig(evaluator="supernet", oracle="regularized_evolution", cost="macs", max_trials=4)
SHARED = SupernetConfig(recalibration_images=40, val_images=12, fine_tune_epochs=1)
FIRST = tuple(0 for _ in searched_space(SPACE, SHARED, 16, 3).genes)
BENCH = BenchConfig(processes=1, runs=5, warmup_runs=1, min_seconds=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet, "load_shared", fake_load)
    monkeypatch.setattr(float_model, "load_shared", fake_load)


def searched(folder: Path, data: Path, config: SearchConfig = CONFIG, **shared: Any) -> list[Trial]:
    """The trials of a search stage that was run in `folder`."""
    folder.mkdir()
    params = {"search": config, "supernet": SHARED, "seed": 1, "bench": BENCH}
    stage = context("search", folder, params, {"data": data, "supernet": supernet_folder(folder, **shared)})
    search_stage.run(stage)
    return TrialLog(stage.out / "trials.jsonl").trials


def test_the_stage_keeps_the_weights_and_tells_what_they_are_worth(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def training(request: Any) -> Trained:
        seen.append(request)
        return Trained(FakeShared(request.space), (FIRST,), facts={"figure": "7"})

    monkeypatch.setattr(supernet_stage, "train", training)
    params = {"supernet": dataclasses.replace(SHARED, resolutions=(12, 16)), "search": CONFIG, "seed": 3}
    stage = context("supernet", tmp_path, params, {"data": data})
    outcome = supernet_stage.run(stage)
    (request,) = seen
    assert (request.seed, request.scratch, request.latency) == (3, stage.scratch, None)
    assert request.space.template.resolution.choices == (12, 16)
    record = read_record(stage.out)
    assert (stage.out / WEIGHTS).exists()
    assert (record.suggestions, record.facts, record.is_found) == ((FIRST,), {"figure": "7"}, False)
    assert (record.recalibration_images, record.val_images) == (40, 12)
    assert record.judged["largest"].val_accuracy > record.judged["smallest"].val_accuracy
    assert from_text(record.judged["smallest"].arch).resolution == 12
    assert f"{100 * record.judged['largest'].val_accuracy:.2f} %" in outcome.summary


def test_candidates_are_judged_and_not_trained(data: Path, tmp_path: Path) -> None:
    trials = searched(tmp_path / "run", data)
    assert [trial.status for trial in trials] == [OK] * 4
    for trial in trials:
        blocks = sum(len(stage.blocks) for stage in from_text(trial.arch).stages)
        assert trial.metrics["val_accuracy"] == blocks * 12 // 12 / 12  # FakeShared, on the first 12 images
        assert set(trial.seconds) == {"recalibrate", "evaluate"}
        assert trial.epochs == SHARED.full_epochs + SHARED.epochs


def test_the_search_begins_with_what_the_training_suggests(data: Path, tmp_path: Path) -> None:
    first = tuple(len(gene.choices) - 1 for gene in searched_space(SPACE, SHARED, 16, 3).genes)
    trials = searched(tmp_path / "told", data, suggestions=(first, FIRST))
    assert [trial.genotype for trial in trials[:2]] == [first, FIRST]
    assert searched(tmp_path / "untold", data)[0].genotype != first


def test_a_network_that_the_training_has_found_is_the_only_trial(data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, warm_start=2)
    (trial,) = searched(tmp_path / "run", data, config, suggestions=(FIRST,), is_found=True)
    assert (trial.genotype, trial.status) == (FIRST, OK)


def evaluator(data: Path, folder: Path, config: SearchConfig, shared: SupernetConfig) -> supernet.SharedEvaluator:
    factory = SharedEvaluatorFactory(config, shared, 1, BENCH, data, supernet_folder(folder), folder)
    return factory(nullcontext)


def candidate(shared: SupernetConfig, number: int) -> Candidate:
    space = searched_space(SPACE, shared, 16, 3)
    return candidate_of(space, tuple(min(number, len(gene.choices) - 1) for gene in space.genes), 1)


def test_a_measured_candidate_is_the_network_of_the_supernet(data: Path, tmp_path: Path) -> None:
    """Also in a resolution that is not the images' own."""
    shared = dataclasses.replace(SHARED, resolutions=(12, 16))
    judge = evaluator(data, tmp_path, dataclasses.replace(CONFIG, cost="latency_us"), shared)
    seen = {}
    for number in (0, 1):
        asked = candidate(shared, number)
        found = judge.evaluate(asked, 0)
        assert found.metrics["latency_us"] > 0 and found.metrics["size_bytes"] > found.metrics["params"]
        assert {"recalibrate", "extract", "convert", "measure"} <= set(found.seconds)
        seen[asked.arch.resolution] = found.metrics["int8_val_accuracy"]
        model, val = judge.judge.shared.extract(asked.arch), load(data).val.first(12)
        if asked.arch.resolution == 16:
            # Full-integer rounding may turn one of the 12 images.
            assert abs(right_of(model, val) - seen[16]) <= 1.01 / 12
    assert set(seen) == {12, 16}
    assert not list(tmp_path.glob("*.tflite"))


def winners(folder: Path, shared: SupernetConfig, number: int) -> Path:
    """The folder of a search stage whose winner is that candidate."""
    out = folder / "search"
    out.mkdir()
    asked = candidate(shared, number)
    trial = Trial(0, "0", asked.genotype, to_text(asked.arch), asked.arch_id, 1, asked.seed, OK, 0.5)
    atomic_write_json(out / "winners.json", [trial])
    return out


def float_params(shared: SupernetConfig, **changes: Any) -> dict[str, Any]:
    train = TrainConfig(epochs=50, batch_size=20)
    return {
        "winner": 0,
        "train": train,
        "distill": DistillConfig(),
        "seed": 1,
        "supernet": shared,
        "space": SPACE,
        **changes,
    }


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_winner_begins_with_what_it_inherits(data: Path, tmp_path: Path, epochs: int) -> None:
    shared = dataclasses.replace(SHARED, fine_tune_epochs=epochs, fine_tune_learning_rate=1e-3)
    inputs = {"data": data, "supernet": supernet_folder(tmp_path), "search": winners(tmp_path, shared, 0)}
    stage = context("w0.float", tmp_path / "run", float_params(shared), inputs)
    outcome = float_model.run(stage)
    found = from_plain(Inherited, read_json(stage.out / INHERITED))
    fake = FakeShared(searched_space(SPACE, shared, 16, 3))
    arch = candidate(shared, 0).arch
    fake.recalibrate(arch, load(data).train)
    model = fake.extract(arch)
    assert found.before == right_of(model, load(data).val)
    assert found.epochs == epochs
    saved = load_model(stage.out / "model")
    assert found.after == right_of(saved, load(data).val) == read_json(stage.out / "node.json")["val_accuracy"]
    same = [np.array_equal(ours, theirs) for ours, theirs in zip(saved.get_weights(), model.get_weights(), strict=True)]
    assert all(same) if epochs == 0 else not any(same)
    assert f"inherited {100 * found.before:.2f} %" in outcome.summary
    if epochs:
        with np.load(stage.scratch / "checkpoint.npz") as arrays:
            assert json.loads(str(arrays["state"]))["epochs"] == epochs


def test_images_of_a_winner_s_resolution(data: Path, tmp_path: Path) -> None:
    shared = dataclasses.replace(SHARED, resolutions=(12, 16))
    stage = context("w0.data", tmp_path / "run", {"winner": 0}, {"data": data, "search": winners(tmp_path, shared, 0)})
    images_stage.run(stage)
    before, after = load(data), load(stage.out)
    assert (after.resolution, after.class_names, after.augment) == (12, before.class_names, before.augment)
    for ours, theirs in ((after.train, before.train), (after.val, before.val), (after.test, before.test)):
        assert np.array_equal(ours.labels, theirs.labels)
        picture = Image.fromarray(theirs.images[theirs.rows[0], ..., 0]).resize((12, 12), Image.Resampling.BILINEAR)
        assert np.array_equal(ours.rgb(slice(0, 1))[0, ..., 0], np.asarray(picture))


def test_images_that_need_no_resizing_are_not_copied(data: Path, tmp_path: Path) -> None:
    write_resized(data, 16, tmp_path, SilentReporter())
    assert (tmp_path / "images.npy").stat().st_ino == (data / "images.npy").stat().st_ino
    assert np.array_equal(load(tmp_path).val.rgb(), load(data).val.rgb())


def test_images_are_resized_as_the_supernet_resizes_them() -> None:
    from core.keras_env import tf

    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    expected = tf.image.resize(tf.cast(pixels, tf.float32), (11, 11), method="bilinear", antialias=True).numpy()
    # Rounding to bytes after each of two passes: half a step each.
    assert np.abs(resized(pixels, 11) - expected).max() <= 1.01


def test_a_teacher_sees_the_images_in_its_own_resolution(data: Path, tmp_path: Path) -> None:
    images = keras.Input((16, 16, 3))
    teacher = keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(images)))
    small = np.full((2, 12, 12, 3), 0.25, np.float32)
    large = np.full((2, 16, 16, 3), 0.25, np.float32)
    resizing = _for_images_of(12, teacher)
    # A constant image stays what it is when it is resized, but for the rounding of the weights' sum.
    np.testing.assert_allclose(resizing(small).numpy(), teacher(large).numpy(), atol=1e-6)
    assert _for_images_of(16, teacher) is teacher
    folder = tmp_path / "teacher"
    folder.mkdir()
    save_model(teacher, folder / "model")
    write_resized(data, 12, tmp_path, SilentReporter())
    stage = context("w0.float", tmp_path / "run", float_params(SHARED), {"data": tmp_path, "teacher": folder})
    targets = supervision(stage, load(tmp_path)).targets(small, np.array([0, 1]))
    assert targets.shape == (2, 6)  # labels and the teacher's scores
