"""Training a supernet: phases, teachers, one trace, each step its own slice, exact resume, divergence."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.keras_env import tf

import numpy as np
import pytest

from core.errors import CandidateError
from core.progress import Task
from search.build import build
from search.choice import OneOf
from search.dataset import ImageData
from search.inputs import training_batches
from search.sampling import random_genotype
from search.space import Genotype, SearchSpace
from search.supernet import train as training_module
from search.supernet.genotypes import largest_genotype, smallest_genotype
from search.supernet.losses import distillation_loss
from search.supernet.network import ElasticNetwork
from search.supernet.phases import Phase, phases, sample
from search.supernet.settings import SupernetConfig
from search.supernet.train import DECAYED, ElasticTraining
from search.train import History
from tests.search.supernet import elastic_training
from tests.search.supernet.elastic_spaces import rich_space
from tests.search.supernet.elastic_training import (
    CLASSES,
    CONFIG,
    SEED,
    SIDE,
    SPACE,
    STEPS,
    TEMPLATE,
    Interrupting,
    data,
    fresh,
)

ROOT = Path(__file__).parents[3]
LARGEST, SMALLEST = largest_genotype(SPACE), smallest_genotype(SPACE)


def config(method: str, **changes: object) -> SupernetConfig:
    return dataclasses.replace(CONFIG, method=method, **changes)


def finish(checkpoint: Path, method: str = "progressive") -> tuple[Interrupting, History]:
    """Trains a fresh network from the checkpoint, if it exists, to the end."""
    reporter = Interrupting(-1)
    return reporter, elastic_training.train(fresh(), config(method), checkpoint, reporter)


def killed(checkpoint: Path, method: str, steps: int) -> None:
    """Goes on in a process that is killed when `steps` more steps are done."""
    command = [sys.executable, elastic_training.__file__, str(checkpoint), method, str(steps)]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
    }  # all of it may choose the kernels of a BLAS, whose rounding differs
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert found.returncode == -signal.SIGKILL, found.stderr


def assert_same(found: Path, expected: Path) -> None:
    """Bit for bit: weights, statistics, the optimizer's moments and counts, the teacher, the history."""
    with np.load(found) as one, np.load(expected) as other:
        assert sorted(one.files) == sorted(other.files)
        for name in other.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def epochs_in(checkpoint: Path) -> int:
    with np.load(checkpoint) as arrays:
        return len(json.loads(str(arrays["state"]))["loss"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interrupting, History, ElasticTraining]:
    checkpoint = tmp_path_factory.mktemp("undisturbed") / "supernet.npz"
    made: list[ElasticTraining] = []

    class Noted(ElasticTraining):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "ElasticTraining", Noted)
        reporter, history = finish(checkpoint)
    return checkpoint, reporter, history, made[0]


def test_progressive_training_goes_through_its_phases_and_tells_them(undisturbed):
    checkpoint, reporter, history, _ = undisturbed
    plan = phases(CONFIG, SPACE)
    assert [phase.name for phase in plan] == ["full", "kernel", "depth 1", "depth 2", "width 1", "width 2"]
    total = CONFIG.full_epochs + CONFIG.epochs
    assert reporter.labels == [("supernet progressive", total * STEPS)]
    names = [phase.name for phase in plan for _ in range(phase.epochs * STEPS)]
    assert [note.partition(",")[0] for note in reporter.notes] == names
    assert all(", loss " in note for note in reporter.notes)
    assert len(history.loss) == len(history.accuracy) == epochs_in(checkpoint) == total
    assert history.loss[1] < history.loss[0]


def test_all_phases_have_three_graphs_together(undisturbed):
    assert undisturbed[3].traces == 3  # the gradients, the move, the teacher


def test_killed_in_two_phases_and_resumed_it_ends_with_the_same_weights(undisturbed, tmp_path):
    """Once the teacher is there, in the middle of an epoch; and in the first epoch after channels were sorted."""
    checkpoint = tmp_path / "supernet.npz"
    killed(checkpoint, "progressive", steps=3 * STEPS + 2)
    assert epochs_in(checkpoint) == 3  # a whole epoch of "kernel"
    killed(checkpoint, "progressive", steps=4 * STEPS + 1)
    assert epochs_in(checkpoint) == 7  # "width 1" has begun
    _, history = finish(checkpoint)
    assert_same(checkpoint, undisturbed[0])
    assert history == undisturbed[2]


@pytest.mark.slow
def test_killed_in_each_phase_twice_and_resumed_it_ends_with_the_same_weights(undisturbed, tmp_path):
    checkpoint, done = tmp_path / "supernet.npz", 0
    first = 0
    for phase in phases(CONFIG, SPACE):
        for epoch in sorted({first, first + phase.epochs - 1}):
            killed(checkpoint, "progressive", steps=(epoch - done) * STEPS + 1)
            done = epoch
            assert not epoch or epochs_in(checkpoint) == epoch
        first += phase.epochs
    finish(checkpoint)
    assert_same(checkpoint, undisturbed[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sandwich", "single_path", "enas"])
def test_other_methods_resume_exactly_too(method, tmp_path):
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    finish(whole, method)
    killed(parts, method, steps=2 * STEPS + 1)
    killed(parts, method, steps=STEPS)
    finish(parts, method)
    assert_same(parts, whole)


def drawn_in_turn(network: ElasticNetwork, images: ImageData, drawn: Sequence[Genotype]) -> ElasticTraining:
    """A training of one network in each epoch, with a weight decay that moves all that it may."""
    settings = config("single_path", weight_decay=0.1)
    return ElasticTraining(network, images, settings, seed=SEED, sampler=lambda step: [drawn[step // STEPS]])


def own_size(name: str, masks: Mapping[str, np.ndarray]) -> int:
    """How many values the network's own model has of a weight: of a 3x3 kernel that is made of a larger one, 9."""
    mask, matrix = masks[name], masks.get(f"{name.removesuffix('kernel')}transform3")
    if matrix is None or not matrix.any():
        return int(mask.sum())
    return 9 * int(mask.any(axis=(0, 1)).sum())


def assert_own_slices(training: ElasticTraining, drawn: Sequence[Genotype], everything_moves: bool) -> list[int]:
    """Each epoch leaves alone what its network has not, whatever momentum that has; how much each network has.

    The masks tell which part that is; that they are not too large is not asked of them: they have as many elements as
    the network's own model trains. Kernels, which decay, move whatever their gradients are; in a network without
    squeeze-excites all does.
    """
    network, counts, sizes = training.network, dict.fromkeys(training.network.weights, 0), []
    kinds = {spec.name: spec.kind for spec in network.layout.weights}
    for genotype in drawn:
        arch = network.space.decode(genotype)
        setting = tf.constant(network.layout.setting(arch))
        masks = {name: mask.numpy() for name, mask in network.masks(setting).items()}
        size = sum(own_size(name, masks) for name in masks if kinds[name] != "transform")
        assert size == sum(weight.shape.num_elements() for weight in build(arch).trainable_weights)
        before = state(training)
        training.run_epoch(Task())
        after = state(training)
        for name, mask in masks.items():
            counts[name] = counts[name] + STEPS * mask
            np.testing.assert_array_equal(after["steps"][name], counts[name])
            for group in before:
                np.testing.assert_array_equal(after[group][name][~mask], before[group][name][~mask])
            if everything_moves or kinds[name] in DECAYED:
                assert (after["weights"][name] != before["weights"][name])[mask].all()
        sizes.append(size)
    return sizes


def test_a_step_of_a_sub_network_changes_only_its_own_slice_and_one_trace_serves_all_networks():
    """After steps of the largest network, which gave momentum."""
    other = (*SMALLEST[:3], LARGEST[3], *SMALLEST[4:])  # but for its expand ratio the smallest
    drawn = (LARGEST, SMALLEST, other)
    training = drawn_in_turn(fresh(), data(), drawn)
    sizes = assert_own_slices(training, drawn, everything_moves=True)
    assert sizes[1] < sizes[2] < sizes[0]
    assert training.traces == 2  # the gradients and the move


def test_so_it_is_with_every_kind_of_choice():
    """Operators, squeeze-excites, skips, identities, resolutions."""
    space = rich_space()
    draw = random.Random(0)
    drawn = (largest_genotype(space), smallest_genotype(space), *(random_genotype(space, draw) for _ in range(4)))
    training = drawn_in_turn(fresh(space), data(16), drawn)
    sizes = assert_own_slices(training, drawn, everything_moves=False)
    assert sizes[1] < min(sizes[2:])
    assert training.traces == 2


def state(training: ElasticTraining) -> dict[str, dict[str, np.ndarray]]:
    """Weights, moments and step counts, each by the names of the weights."""
    names = list(training.network.weights)
    optimizer = training.optimizer
    slots = zip(("first", "second", "steps"), optimizer.variables, strict=True)
    found = {group: dict(zip(names, optimizer.slots(variable), strict=True)) for group, variable in slots}
    return {**found, "weights": {name: value.numpy() for name, value in training.network.weights.items()}}


class Spy(ElasticTraining):
    """Notes what each network of each step is, and what it is taught by; the steps change nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.seen: list[tuple[bytes, float, np.ndarray]] = []
        self._learn = self._noted
        self._apply = lambda rate: None

    def _noted(self, images, labels, setting, scores, alpha):  # type: ignore[no-untyped-def]
        self.seen.append((setting.numpy().tobytes(), float(alpha), scores.numpy()))
        logits = tf.fill([len(labels), CLASSES], float(len(self.seen)))
        return logits, tf.constant(0.0), tf.constant(0.0)


def key(network: object, genotype: tuple[int, ...]) -> bytes:
    return network.layout.setting(SPACE.decode(genotype)).tobytes()  # type: ignore[attr-defined]


def test_the_sandwich_has_the_largest_the_smallest_and_drawn_networks_which_the_largest_teaches():
    network = fresh()
    training = Spy(network, data(), config("sandwich", networks_per_step=2, distill_alpha=0.3), seed=SEED)
    training.run_epoch(Task())
    assert len(training.seen) == 4 * STEPS
    for step in range(STEPS):
        networks = [seen[0] for seen in training.seen[4 * step : 4 * step + 4]]
        rng = np.random.default_rng((SEED, 0, step))
        drawn = [sample(SPACE, training.phases[0], rng) for _ in range(2)]
        assert networks == [key(network, genotype) for genotype in (LARGEST, SMALLEST, *drawn)]
        alphas = [seen[1] for seen in training.seen[4 * step : 4 * step + 4]]
        assert alphas == pytest.approx([0.0, 0.3, 0.3, 0.3])
        scores = [seen[2].max() for seen in training.seen[4 * step + 1 : 4 * step + 4]]
        assert scores == [4 * step + 1] * 3  # the logits of this step's largest network


def test_single_path_trains_drawn_networks_on_the_labels():
    training = Spy(fresh(), data(), config("single_path", networks_per_step=3), seed=SEED)
    training.run_epoch(Task())
    assert len(training.seen) == 3 * STEPS
    assert len({seen[0] for seen in training.seen}) > STEPS
    assert all(alpha == 0.0 for _, alpha, _ in training.seen)


def test_the_teacher_is_the_largest_network_as_the_first_phase_left_it_at_its_resolution():
    space = SearchSpace("sides", dataclasses.replace(TEMPLATE, resolution=OneOf((SIDE, 12))))
    network, images = fresh(space), data(10)
    training = Spy(network, images, config("progressive", full_epochs=1, epochs=5), seed=SEED)
    training.run_epoch(Task())
    full = phases(CONFIG, space)[0]
    sides = {space.decode(sample(space, full, np.random.default_rng(step))).resolution for step in range(20)}
    assert sides == {SIDE, 12}
    assert {alpha for _, alpha, _ in training.seen} == {0.0}
    largest = network.layout.largest
    network.recalibrate(largest, images.train.first(CONFIG.recalibration_images))
    expected = network.extract(largest)
    training.run_epoch(Task())
    for variable in network.weights.values():  # what changes later does not concern it
        variable.assign(tf.zeros_like(variable))
    training.run_epoch(Task())
    assert training.teacher is not None
    for found, wanted in zip(training.teacher.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert all(alpha == CONFIG.distill_alpha for _, alpha, _ in training.seen[STEPS:])
    batches = training_batches(
        images.train, batch_size=CONFIG.batch_size, seed=SEED, augment=images.augment, first_step=0, num_steps=3 * STEPS
    )
    seen = [scores for _, _, scores in training.seen]
    for (pixels, _), scores in list(zip(batches, seen, strict=True))[STEPS:]:
        wanted = expected(tf.image.resize(pixels, [12, 12], antialias=True), training=False)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)  # float32, once in a graph and once without


def test_drawn_networks_depend_on_the_step_and_the_seed():
    found = []
    for seed in (1, 1, 2):
        training = Spy(fresh(), data(), config("single_path"), seed=seed)
        training.run_epoch(Task())
        found.append([seen[0] for seen in training.seen])
    assert found[0] == found[1] != found[2]


class Diverging(Spy):
    """Whose loss is no number from the second epoch on."""

    def _noted(self, *args: object) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, loss, accuracy = super()._noted(*args)  # type: ignore[arg-type]
        return logits, loss * (np.nan if self.epoch == 1 else 1.0), accuracy


def test_a_diverged_training_is_told_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    checkpoint = tmp_path / "supernet.npz"
    monkeypatch.setattr("search.supernet.train.ElasticTraining", Diverging)
    with pytest.raises(CandidateError, match=r"^supernet diverged: the loss is nan in epoch 2 \(all\)$"):
        finish(checkpoint, "single_path")
    assert epochs_in(checkpoint) == 1


def test_the_loss_weighs_labels_and_teacher():
    draw = np.random.default_rng(0)
    logits, scores = draw.normal(size=(2, 5, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 1, 0], np.int32)
    settings = SupernetConfig(label_smoothing=0.1, temperature=2.0)

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    wanted = 0.9 * np.eye(3)[labels] + 0.1 / 3
    hard = -(wanted * np.log(softmax(logits))).sum(axis=1).mean()
    teacher, student = softmax(scores / 2), softmax(logits / 2)
    soft = 4 * (teacher * np.log(teacher / student)).sum(axis=1).mean()
    for alpha in (0.0, 0.25, 1.0):
        found = float(distillation_loss(logits, labels, scores, tf.constant(alpha), settings))
        assert found == pytest.approx((1 - alpha) * hard + alpha * soft, rel=1e-5)  # float32


def test_extra_arrays_travel_with_a_checkpoint(tmp_path):
    training = ElasticTraining(fresh(), data(), config("single_path"), seed=SEED)
    training.save(tmp_path / "a.npz", {"policy": np.arange(3)})
    extra = training.restore(tmp_path / "a.npz")
    assert list(extra) == ["policy"]
    np.testing.assert_array_equal(extra["policy"], np.arange(3))
    assert training.epoch == 0 and isinstance(training.phases[0], Phase)
