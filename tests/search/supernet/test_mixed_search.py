"""DARTS and ProxylessNAS on a planted problem: they find its operators, obey the latency, and go on after a kill."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

from core.keras_env import tf

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from core.progress import Reporter
from search.supernet.darts import DartsSteps, train_darts
from search.supernet.latency_term import FIRST_WEIGHT, LatencyTerm
from search.supernet.mixed import MixedNetwork
from search.supernet.proxyless import ProxylessSteps, train_proxyless
from search.supernet.relax import Found
from search.supernet.settings import SupernetConfig
from search.supernet.shared import accuracy_of
from tests.search.supernet.elastic_training import Interrupting
from tests.search.supernet.mixed_spaces import VARIED
from tests.search.supernet.planted import planted_data, planted_space, planted_table

ROOT = Path(__file__).parents[3]
SPACE = planted_space()
SHARED: dict[str, Any] = {"batch_size": 64, "warmup_share": 0.0, "architecture_learning_rate": 0.05}
# ProxylessNAS draws two of three candidates at a time, and so needs more steps.
CONFIGS = {
    "first order": SupernetConfig(method="darts", epochs=12, learning_rate=0.02, **SHARED),
    "second order": SupernetConfig(method="darts", epochs=12, learning_rate=0.02, second_order=True, **SHARED),
    "proxyless": SupernetConfig(method="proxyless", epochs=40, learning_rate=0.03, **SHARED),
}
EPOCH_STEPS = 1024 // 2 // 64  # half of the images are the weights'
TRAIN = {"darts": train_darts, "proxyless": train_proxyless}
STEPS = {"darts": DartsSteps, "proxyless": ProxylessSteps}


def searched(
    config: SupernetConfig,
    planted: tuple[int, ...],
    checkpoint: Path,
    table: bool = False,
    network: MixedNetwork | None = None,
    reporter: Reporter | None = None,
) -> Found:
    given = planted_table(SPACE) if table else None
    return TRAIN[config.method](
        network or MixedNetwork(SPACE, seed=0),
        planted_data(planted),
        config,
        seed=0,
        checkpoint=checkpoint,
        reporter=reporter,
        table=given,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_planted_operators_are_found(name, tmp_path):
    assert_found(name, (1, 0, 2), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_other_planted_operators_are_found(name, tmp_path):
    assert_found(name, (2, 0, 1), tmp_path)


def assert_found(name: str, planted: tuple[int, ...], folder: Path) -> None:
    network, val = MixedNetwork(SPACE, seed=0), planted_data(planted).val
    found = searched(CONFIGS[name], planted, folder / "search.npz", network=network)
    assert found.genotype == planted
    # Without noise its operators bring the class to light: one wrong operator leaves a place to chance. A twentieth is
    # for weights that were shared; the mixture need not yet be sharp.
    assert found.accuracy > 0.95
    network.recalibrate_mixture(planted_data(planted).train.first(CONFIGS[name].recalibration_images))
    assert found.gap == accuracy_of(network.mixture_logits(val), val) - found.accuracy
    assert found.history[-1].certainty > found.history[0].certainty
    assert (found.latency_us, found.expected_latency_us) == (None, None)


def test_a_rising_latency_weight_lowers_the_latency_that_darts_finds(tmp_path):
    assert_falling("first order", (0.0, 0.3, 10.0), tmp_path)


@pytest.mark.slow
def test_a_rising_latency_weight_lowers_the_latency_that_proxylessnas_finds(tmp_path):
    assert_falling("proxyless", (0.0, 0.5, 1.0, 2.0, 4.0, 20.0), tmp_path)


def assert_falling(name: str, weights: tuple[float, ...], folder: Path) -> None:
    """With no weight the planted operators are taken, of 75 us; with the highest the fastest ones, of 35 us."""
    found = []
    for weight in weights:
        config = dataclasses.replace(CONFIGS[name], latency_weight=weight)
        found.append(searched(config, (1, 0, 2), folder / f"{weight}.npz", table=True))
    latencies = [one.latency_us for one in found]
    assert latencies == sorted(latencies, reverse=True)
    assert (latencies[0], latencies[-1]) == (75.0, 35.0)
    assert [one.latency_weight for one in found] == pytest.approx(weights)  # kept as float32
    assert found[0].genotype == (1, 0, 2)


@pytest.mark.parametrize("target_us", [45.0, pytest.param(55.0, marks=pytest.mark.slow)])
def test_a_target_latency_is_met(target_us, tmp_path):
    """Against the accuracy, which pulls towards 75 us."""
    config = dataclasses.replace(CONFIGS["proxyless"], target_latency_us=target_us)
    found = searched(config, (1, 0, 2), tmp_path / "search.npz", table=True)
    # The latencies of networks are 10 us apart: the last step may have gone to the one below.
    assert target_us - 10 <= found.latency_us <= target_us
    assert found.latency_weight > FIRST_WEIGHT  # it had to rise


def steps_for(network: MixedNetwork, target_us: float) -> ProxylessSteps:
    config = dataclasses.replace(CONFIGS["proxyless"], target_latency_us=target_us)
    return ProxylessSteps(network, config, LatencyTerm(network, config, planted_table(network.space)))


def test_networks_within_the_target_are_judged():
    """Whether or not the likeliest is one of them; the same for the same seed."""
    network = MixedNetwork(SPACE, seed=0)
    network.alpha.assign(2.0 * np.eye(3)[[1, 0, 2]])  # which takes 75 us
    for target_us, likeliest_meets in ((75.5, True), (55.5, False)):
        steps = steps_for(network, target_us)
        choices = steps.choices(seed=3)
        assert choices == steps.choices(seed=3) and len(set(choices)) == len(choices) > 1
        assert ((1, 0, 2) in choices) == likeliest_meets
        assert all(steps.latency.meets(choice) for choice in choices)
    plain = ProxylessSteps(network, CONFIGS["proxyless"], LatencyTerm(network, CONFIGS["proxyless"], None))
    assert plain.choices(seed=3) == ((1, 0, 2),)


def test_where_nothing_that_is_drawn_meets_the_target_the_fastest_does():
    network = MixedNetwork(SPACE, seed=0)
    network.alpha.assign(50.0 * np.eye(3)[[1, 0, 2]])  # nothing else is ever drawn
    assert steps_for(network, 35.0).choices(seed=3) == ((1, 1, 1),)


def test_what_is_judged_is_what_is_extracted():
    """A network with fewer blocks has several genotypes, with other weights; it leaves with those of the likeliest."""
    network = MixedNetwork(VARIED, seed=0)
    network.alpha.assign(np.random.default_rng(1).normal(size=network.alpha.shape))
    choices = steps_for(network, 1e6).choices(seed=3)
    named = network.space
    assert [network.genotype_of(named.decode(choice)) for choice in choices] == list(choices)
    assert len({named.identity(choice) for choice in choices}) == len(choices) > 1


def test_a_target_below_the_fastest_network_is_refused():
    legal = r"at least 35\.0, the latency of the fastest network"
    with pytest.raises(
        UsageError, match=rf"^config\.supernet\.target_latency_us: 34\.0 is not legal; expected {legal}$"
    ):
        steps_for(MixedNetwork(SPACE, seed=0), 34.0)


def test_a_latency_needs_a_table(tmp_path):
    for values in ({"latency_weight": 0.5}, {"target_latency_us": 50.0}):
        config = dataclasses.replace(CONFIGS["proxyless"], **values)
        with pytest.raises(UsageError, match=rf"^config\.supernet\.{next(iter(values))}: .* without a latency table"):
            searched(config, (1, 0, 2), tmp_path / "search.npz")


def batch(seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    train = planted_data((1, 0, 2), 64, seed).train
    return tf.constant(train.rgb() / np.float32(255)), tf.constant(train.labels)


def steps_of(name: str, network: MixedNetwork) -> Any:
    config = CONFIGS[name]
    return STEPS[config.method](network, config, LatencyTerm(network, config, None))


@pytest.mark.parametrize("name", CONFIGS)
def test_each_step_is_traced_once(name):
    steps = steps_of(name, MixedNetwork(SPACE, seed=0))
    for number in range(4):
        rate, key = tf.constant(0.01 * number), tf.constant([0, number], tf.int64)
        steps.architecture_step(batch(number), batch(number + 1), rate, key)
        steps.weights_step(batch(number), rate, key)
    assert steps.traces == 2


def test_a_step_of_a_path_changes_its_own_weights_alone():
    """Weights and moments of the other candidates stay, though earlier steps gave them momentum."""
    network = MixedNetwork(VARIED, seed=0)
    steps = steps_of("proxyless", network)
    rate, rested = tf.constant(0.01), 0
    for number in range(12):
        key = tf.constant([0, number], tf.int64)
        chosen = [0, *steps.path(key).numpy().tolist(), 0]  # stem, places, head
        before = values(network, steps)
        steps.weights_step(batch(number), rate, key)
        for name, after in values(network, steps).items():
            changed = np.flatnonzero((after != before[name]).any(axis=1)).tolist()
            kind, _, place = name.rpartition("_")
            row = chosen[int(place)]
            # The row's steps are counted; its values may stay where the operator has no weights, an identity say.
            assert changed in ([[row]] if kind == "count" else [[], [row]]), name
            if kind == "first":
                rested += np.delete(before[name], row, axis=0).any()
                # 0 in both, or moved.
                assert changed == [row] or not before[name][row].any()
    assert rested, "no step left a row with momentum alone"


def values(network: MixedNetwork, steps: Any) -> dict[str, np.ndarray]:
    found = {f"weights_{number}": matrix.numpy() for number, matrix in enumerate(network.weights)}
    others = ("alpha", "latency")  # of the architecture, not of the weights
    slots = {name: slot.numpy() for name, slot in steps.variables().items() if not name.startswith(others)}
    return {**found, **slots}


def test_the_architecture_step_of_pairs_keeps_other_probabilities():
    network = MixedNetwork(SPACE, seed=0)
    network.alpha.assign(np.random.default_rng(0).normal(size=(3, 3)))
    steps = steps_of("proxyless", network)
    for number in range(8):
        key = tf.constant([5, number], tf.int64)
        pairs, before = steps.pairs(key).numpy(), network.probabilities().numpy()
        weights = [matrix.numpy() for matrix in network.weights]
        steps.architecture_step(batch(number), batch(number + 1), tf.constant(0.1), key)
        after = network.probabilities().numpy()
        assert (pairs[:, 0] != pairs[:, 1]).all()
        third = 3 - pairs.sum(axis=1)
        places = np.arange(3)
        np.testing.assert_allclose(after[places, third], before[places, third], rtol=1e-5)  # float32
        # A first step of Adam moves a logit by the rate, 0.05, and the probability of at least 0.03 by more than this.
        assert (np.abs(after - before)[places[:, None], pairs] > 1e-4).all()
        assert all((matrix.numpy() == old).all() for matrix, old in zip(network.weights, weights, strict=True))


def test_paths_and_pairs_are_drawn_by_their_probabilities():
    """2,000 draws: a share has a standard deviation of at most 0.011, and five of them are allowed."""
    network = MixedNetwork(SPACE, seed=0)
    shares = np.array([[0.6, 0.3, 0.1]] * 3)
    network.alpha.assign(np.log(shares))
    steps = steps_of("proxyless", network)
    draw = tf.function(lambda key: (steps.path(key), steps.pairs(key)))
    drawn = [draw(tf.constant([1, number], tf.int64)) for number in range(2000)]
    paths = np.stack([path for path, _ in drawn])
    pairs = np.stack([pair for _, pair in drawn])
    for place in range(3):
        np.testing.assert_allclose(np.bincount(paths[:, place]) / 2000, shares[place], atol=0.055)
        left_out = np.bincount(3 - pairs[:, place].sum(axis=1)) / 2000
        # P(i, j) = p_i p_j / (1 - p_i) in this order, and the other way round.
        p, q, r = shares[place]
        expected = [q * r / (1 - q) + r * q / (1 - r), p * r / (1 - p) + r * p / (1 - r), 0]
        expected[2] = 1 - sum(expected)
        np.testing.assert_allclose(left_out, expected, atol=0.055)
        first_of_01 = pairs[left_out_is(pairs[:, place], 2), place, 0]
        assert abs(np.mean(first_of_01 == 0) - 2 / 3) < 0.07  # about 1,300 of them


def left_out_is(pairs: np.ndarray, candidate: int) -> np.ndarray:
    return (pairs != candidate).all(axis=1)


def test_second_order_is_the_derivative_through_the_step_of_the_weights():
    """Against differences of the held-out loss at weights that were trained one step with other logits."""
    network = MixedNetwork(SPACE, seed=0)
    steps = steps_of("second order", network)
    rate = tf.constant(0.5)  # large, so that what the step adds is not lost in float32
    train, held_out = batch(1), batch(2)
    for number in range(3):  # so that there are moments
        steps.weights_step(batch(number), tf.constant(0.02), tf.constant([0, number], tf.int64))
    weights, alpha = [matrix.numpy() for matrix in network.weights], network.alpha.numpy()
    slopes = fixed_slopes(steps, network, train, rate)

    def held_out_loss(logits: np.ndarray) -> float:
        gradient = training_gradient(steps, train, logits, weights)
        moved = [w - s * g for w, s, g in zip(base, slopes, gradient, strict=True)]
        return float(steps._loss(held_out, tf.constant(logits), [tf.constant(row) for row in moved]))

    # The optimizer's step is linear in the gradient while its second moments are held.
    gradient = training_gradient(steps, train, alpha, weights)
    ahead, _ = steps._optimizer.ahead([tf.constant(part) for part in gradient], rate)
    base = [a.numpy() + s * g for a, s, g in zip(ahead, slopes, gradient, strict=True)]
    computed, _ = steps.architecture_gradient(train, held_out, rate)
    measured = np.zeros_like(alpha)
    for index in np.ndindex(*alpha.shape):
        step = np.zeros_like(alpha)
        step[index] = 0.02
        measured[index] = (held_out_loss(alpha + step) - held_out_loss(alpha - step)) / 0.04
    # Two central differences in float32; without the second order most entries are off by more than this.
    np.testing.assert_allclose(computed, measured, atol=0.05 * np.abs(measured).max())


def fixed_slopes(steps: Any, network: MixedNetwork, train: Any, rate: tf.Tensor) -> list[np.ndarray]:
    gradient = training_gradient(steps, train, network.alpha.numpy(), [matrix.numpy() for matrix in network.weights])
    return [slope.numpy() for slope in steps._optimizer.ahead([tf.constant(part) for part in gradient], rate)[1]]


def training_gradient(steps: Any, train: Any, alpha: np.ndarray, weights: list[np.ndarray]) -> list[np.ndarray]:
    rows = [tf.constant(row) for row in weights]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = steps._loss(train, tf.constant(alpha), rows)
    return [part.numpy() for part in tape.gradient(loss, rows, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def short(name: str) -> SupernetConfig:
    """Four epochs, the first of the weights alone, with everything that has a state."""
    target = 60.0 if name == "proxyless" else None
    changes: dict[str, Any] = {"epochs": 4, "warmup_share": 0.25, "latency_weight": 0.1, "target_latency_us": target}
    return dataclasses.replace(CONFIGS[name], **changes)


class Interrupted(Exception):
    """Stands for a kill."""


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize("name", ["first order", pytest.param("second order", marks=pytest.mark.slow), "proxyless"])
def test_an_interrupted_search_ends_as_if_it_had_not_been(name, tmp_path):
    """Interrupted in the second epoch (the first is of the weights alone), and two epochs later."""
    undisturbed, resumed = tmp_path / "undisturbed.npz", tmp_path / "resumed.npz"
    whole = searched(short(name), (1, 0, 2), undisturbed, table=True)
    for steps in (EPOCH_STEPS + 3, 2 * EPOCH_STEPS + 1):
        with pytest.raises(Interrupted):
            searched(short(name), (1, 0, 2), resumed, table=True, reporter=Interrupting(steps, interrupt))
    assert searched(short(name), (1, 0, 2), resumed, table=True) == whole
    assert whole.history[0].held_out_loss is None
    assert_equal_files(undisturbed, resumed)


KILLED = """
import os, sys
from pathlib import Path
from tests.search.supernet import test_mixed_search as test

reporter = test.Interrupting(2 * test.EPOCH_STEPS + 3, lambda: os.kill(os.getpid(), 9))
test.searched(test.short(sys.argv[1]), (1, 0, 2), Path(sys.argv[2]), table=True, reporter=reporter)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_killed_search_ends_as_if_it_had_not_been(name, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed.npz", tmp_path / "killed.npz"
    whole = searched(short(name), (1, 0, 2), undisturbed, table=True)
    command = [sys.executable, "-c", KILLED, name, str(killed)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert searched(short(name), (1, 0, 2), killed, table=True) == whole
    assert_equal_files(undisturbed, killed)


def assert_equal_files(one: Path, other: Path) -> None:
    with np.load(one) as ours, np.load(other) as theirs:
        assert set(ours.files) == set(theirs.files)
        for array in ours.files:
            np.testing.assert_array_equal(ours[array], theirs[array], err_msg=array)


def test_data_of_another_size_are_refused(tmp_path):
    data = planted_data((0, 1, 2), 8)
    four = dataclasses.replace(data, class_names=("a", "b"))
    with pytest.raises(
        UsageError, match=r"^data planted: images of 16 pixels in 2 classes; space planted has images of"
    ):
        train_darts(MixedNetwork(SPACE, 0), four, CONFIGS["first order"], seed=0, checkpoint=tmp_path / "search.npz")
    one = dataclasses.replace(data, train=data.train.first(1))
    with pytest.raises(UsageError, match=r"^data planted: 1 training images; expected at least 2, for two halves$"):
        train_darts(MixedNetwork(SPACE, 0), one, CONFIGS["first order"], seed=0, checkpoint=tmp_path / "search.npz")


def test_a_diverging_search_is_told(tmp_path):
    network = MixedNetwork(SPACE, 0)
    network.weights[-1].assign(np.full(network.weights[-1].shape, np.nan, np.float32))
    with pytest.raises(CandidateError, match=r"^diverged: the loss of the mixture's weights is nan$"):
        train_darts(network, planted_data((1, 0, 2)), CONFIGS["first order"], seed=0, checkpoint=tmp_path / "s.npz")
