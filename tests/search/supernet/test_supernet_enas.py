"""ENAS on a tiny supernet: weights and policy in turns, and exactly resumable."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from core.keras_env import tf

import numpy as np
import pytest

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import Genotype, SearchSpace
from search.supernet import enas
from search.supernet.controller import Controller
from search.supernet.enas import SUGGESTIONS, EnasResult, Judge, train_enas
from search.supernet.genotypes import smallest_genotype
from search.supernet.network import ElasticNetwork
from tests.search.supernet.elastic_training import CLASSES, CONFIG, SEED, SIDE, STEPS, Interrupting, data, fresh

BLOCK = BlockSpec("ir", 3, expand_ratio=OneOf((1, 2), "expand"), out_channels=OneOf((8, 16), "out"))
SPACE = SearchSpace("tiny", ArchSpec(8, (StageSpec((BLOCK,) * 2, OneOf((1, 2))),), 16, 1.0, SIDE, CLASSES))
ENAS = dataclasses.replace(CONFIG, method="enas", epochs=3, controller_steps=3)


class InterruptError(Exception):
    """In place of a kill: nothing but the checkpoint is used afterwards."""


def trained(checkpoint: Path, steps: int = -1) -> tuple[ElasticNetwork, EnasResult]:
    """From the checkpoint, if there is one, to the end or to an interruption after so many steps."""

    def stop() -> None:
        raise InterruptError

    network = fresh(SPACE)
    reporter = Interrupting(steps, stop)
    return network, train_enas(network, data(), ENAS, seed=SEED, checkpoint=checkpoint, reporter=reporter)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ElasticNetwork, EnasResult]:
    checkpoint = tmp_path_factory.mktemp("enas") / "supernet.npz"
    return checkpoint, *trained(checkpoint)


def test_it_trains_both_and_suggests_networks(undisturbed: tuple[Path, ElasticNetwork, EnasResult]) -> None:
    checkpoint, network, found = undisturbed
    assert len(found.history.loss) == len(found.rewards) == 3
    before = fresh(SPACE).weights
    assert all((before[name].numpy() != weight.numpy()).any() for name, weight in network.weights.items())
    assert all(0 <= reward <= 1 for reward in found.rewards)
    assert 0 < len(found.suggestions) <= SUGGESTIONS
    assert len({SPACE.identity(genotype) for genotype in found.suggestions}) == len(found.suggestions)
    with np.load(checkpoint) as arrays:
        assert int(arrays["extra/updates"]) == 3 * ENAS.controller_steps


@pytest.mark.parametrize(
    ("steps", "rewards"),
    [  # in the second epoch; while the policy learns from the first; in the first, before any checkpoint
        (STEPS + 1, -1),
        (-1, ENAS.networks_per_step + 1),
        pytest.param(1, -1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_with_the_same(
    undisturbed: tuple[Path, ElasticNetwork, EnasResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    rewards: int,
) -> None:
    checkpoint, network, expected = undisturbed
    again, left = tmp_path / "supernet.npz", [rewards]

    class Stopping(Judge):
        def reward(self, genotype: Genotype, number: int) -> float:
            left[0] -= 1
            if left[0] == 0:
                raise InterruptError
            return super().reward(genotype, number)

    with monkeypatch.context() as patch, pytest.raises(InterruptError):
        patch.setattr(enas, "Judge", Stopping)
        trained(again, steps)
    other, found = trained(again)
    assert found == expected
    with np.load(again) as one, np.load(checkpoint) as two:
        assert sorted(one.files) == sorted(two.files)
        for name in two.files:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for name, weight in network.weights.items():
        np.testing.assert_array_equal(other.weights[name].numpy(), weight.numpy(), err_msg=name)


def test_the_weights_are_trained_on_what_the_policy_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that always draws the smallest network leaves all that this network has not."""
    smallest = smallest_genotype(SPACE)
    monkeypatch.setattr(Controller, "networks", lambda self, step: [smallest])
    network, _ = trained(tmp_path / "supernet.npz")
    before = fresh(SPACE).weights
    masks = network.masks(tf.constant(network.layout.setting(SPACE.decode(smallest))))
    for name, weight in network.weights.items():
        own = masks[name].numpy()
        changed = weight.numpy() != before[name].numpy()
        assert not changed[~own].any(), name
        assert changed[own].any() or not own.any(), name


def test_a_reward_is_the_accuracy_on_one_batch_by_its_own_statistics(
    undisturbed: tuple[Path, ElasticNetwork, EnasResult],
) -> None:
    network, images = undisturbed[1], data().val
    whole = Judge(network, images, len(images), SEED)  # a batch of all images, whatever its number
    for genotype in [(0,) * len(SPACE.genes), tuple(len(gene.choices) - 1 for gene in SPACE.genes)]:
        arch = SPACE.decode(genotype)
        before = {name: value.numpy() for name, value in network.statistics.items()}
        reward = whole.reward(genotype, 5)
        assert all(np.array_equal(network.statistics[name].numpy(), value) for name, value in before.items())
        network.recalibrate(arch, images)  # the statistics of the same images
        right = np.argmax(network.logits(arch, images), axis=1) == images.labels
        assert reward == pytest.approx(float(np.mean(right)), abs=1e-6)  # float32 of a mean
    few = Judge(network, images, 4, SEED)
    rewards = [few.reward(genotype, number) for number in (0, 1, 0)]
    assert rewards[0] == rewards[2] and {4 * reward for reward in rewards} <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert whole.traces == few.traces == 1
