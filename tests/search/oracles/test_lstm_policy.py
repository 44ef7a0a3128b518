"""The recurrent policy: its gradient against finite differences, its probabilities, what REINFORCE makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.lstm_policy import LstmPolicy, Reinforce

FLAT = ChoiceSpace(tuple(Axis(name, (0, 1, 2)) for name in "abcd"))
# "wide" counts for "conv" alone and wakes up "se"; "image" is no decision.
CONDITIONAL = ChoiceSpace(
    (
        Axis("op", ("skip", "conv", "pool")),
        Axis("image", (32,)),
        Axis("wide", (False, True), conditions=(lambda values: values["op"] == "conv",)),
        Axis("kernel", (1, 3, 5, 7)),
        Axis("se", (0, 1), conditions=(lambda values: values.get("wide") is True,)),
    )
)
SPACES = pytest.mark.parametrize("space", [FLAT, CONDITIONAL], ids=["flat", "conditional"])


def policy(space: ChoiceSpace, scale: float = 0.7, **changes: int) -> LstmPolicy:
    """Large initial parameters: probabilities far from equal."""
    size = {"hidden_size": 5, "num_layers": 2} | changes
    return LstmPolicy(space, np.random.default_rng(0), initial_scale=scale, **size)


def everything(space: ChoiceSpace) -> list[tuple[int, ...]]:
    return sorted({space.at(number) for number in range(space.size)})


@SPACES
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.5])
def test_the_gradient_is_that_of_finite_differences(space, num_layers, entropy_weight):
    made = policy(space, num_layers=num_layers)
    genotypes = made.sample(6, np.random.default_rng(1))
    rewards = np.random.default_rng(2).standard_normal(6)

    def value() -> float:
        return float(rewards @ made.log_probability(genotypes) + entropy_weight * made.entropy(genotypes).sum())

    step, numeric = 1e-5, np.zeros_like(made.parameters)
    for index, parameter in enumerate(made.parameters.copy()):
        made.parameters[index] = parameter + step
        above = value()
        made.parameters[index] = parameter - step
        numeric[index] = (above - value()) / (2 * step)
        made.parameters[index] = parameter
    # Central differences err by about step^2 = 1e-10 and by the rounding of values near 10 over the step, 1e-10.
    assert made.gradient(genotypes, rewards, entropy_weight) == pytest.approx(numeric, abs=1e-8)
    assert np.abs(numeric).max() > 0.1


@SPACES
def test_the_probabilities_of_all_configurations_sum_to_one(space):
    assert np.exp(policy(space).log_probability(everything(space))).sum() == pytest.approx(1)


@SPACES
def test_samples_come_as_often_as_their_probability_says(space):
    made, count = policy(space, scale=1.5), 20_000
    samples = made.sample(count, np.random.default_rng(3))
    assert set(samples) <= set(everything(space)), "canonical"
    for genotype in everything(space):
        probability = float(np.exp(made.log_probability([genotype]))[0])
        # Five standard deviations of a frequency; about a hundred of them are looked at.
        tolerance = 5 * np.sqrt(probability * (1 - probability) / count)
        assert samples.count(genotype) / count == pytest.approx(probability, abs=tolerance)


@SPACES
def test_the_mean_entropy_of_the_decisions_is_the_entropy_of_the_policy(space):
    made = policy(space)
    logarithms = made.log_probability(everything(space))
    probabilities = np.exp(logarithms)
    assert probabilities @ made.entropy(everything(space)) == pytest.approx(-(probabilities @ logarithms))


def test_a_batch_is_its_members():
    made = policy(CONDITIONAL)
    genotypes = everything(CONDITIONAL)
    one_by_one = [float(made.log_probability([genotype])[0]) for genotype in genotypes]
    assert made.log_probability(genotypes) == pytest.approx(one_by_one)
    summed = sum(made.gradient([genotype], [1.0], 0.3) for genotype in genotypes)
    assert made.gradient(genotypes, np.ones(len(genotypes)), 0.3) == pytest.approx(summed)


def test_inactive_axes_are_skipped():
    """The gradient of a configuration without "wide" and "se" does not touch how these are decided."""
    made = policy(CONDITIONAL)
    gradient = made._views(made.gradient([(0, 0, 0, 2, 0)], [1.0], 1.0))
    touched = np.flatnonzero(np.abs(gradient["output"]).sum(axis=1))
    assert touched.tolist() == [0, 1, 2, 6, 7, 8, 9]  # "op" and "kernel"


def test_a_space_without_decisions():
    made = policy(ChoiceSpace((Axis("only", (1,)),)))
    assert made.sample(2, np.random.default_rng(0)) == [(0,), (0,)]
    assert made.log_probability([(0,)]).tolist() == [0.0]
    Reinforce(made).update([(0,)], [1.0])
    assert np.isfinite(made.parameters).all()


def train(rewards_of: object, updates: int = 150, seed: int = 0) -> LstmPolicy:
    made = LstmPolicy(CONDITIONAL, np.random.default_rng(seed))
    trainer, random = Reinforce(made), np.random.default_rng(seed)
    for _ in range(updates):
        samples = made.sample(4, random)
        trainer.update(samples, [rewards_of(sample) for sample in samples])
    return made


def test_reinforce_finds_what_is_rewarded():
    """One configuration in 28 is worth most; a policy that knows nothing gives it 1/3 x 1/2 x 1/4 x 1/2."""
    target = (1, 0, 1, 2, 1)
    made = train(lambda genotype: float(sum(a == b for a, b in zip(genotype, target, strict=True))))
    assert np.exp(made.log_probability([target]))[0] > 0.5


def test_the_unit_and_the_origin_of_the_rewards_do_not_matter():
    plain = train(lambda genotype: float(genotype[3]), updates=20)
    other = train(lambda genotype: 1000.0 * genotype[3] - 5000.0, updates=20)
    # Rounding of sums near 5,000 (1e-12) through twenty updates.
    assert other.parameters == pytest.approx(plain.parameters, abs=1e-6)


def test_the_entropy_bonus_keeps_the_policy_open():
    def trained(entropy_weight: float) -> float:
        made = LstmPolicy(FLAT, np.random.default_rng(0))
        trainer, random = Reinforce(made, entropy_weight=entropy_weight), np.random.default_rng(0)
        for _ in range(100):
            samples = made.sample(4, random)
            trainer.update(samples, [float(sum(sample)) for sample in samples])
        return float(made.entropy(made.sample(50, random)).mean())

    assert trained(2.0) > 2 * trained(0.0)


def test_training_goes_on_where_its_state_was_taken():
    def updates(trainer: Reinforce, count: int) -> None:
        random = np.random.default_rng(5)
        for _ in range(count):
            samples = trainer.policy.sample(3, random)
            trainer.update(samples, [float(sample[0]) for sample in samples])

    first = Reinforce(policy(FLAT))
    updates(first, 5)
    second = Reinforce(LstmPolicy(FLAT, np.random.default_rng(9), hidden_size=5))
    second.load(first.state())
    updates(first, 5)
    updates(second, 5)
    assert (second.policy.parameters == first.policy.parameters).all()


def test_it_needs_neither_tensorflow_nor_keras_tuner():
    heavy = "[name for name in ('tensorflow', 'keras_tuner') if name in sys.modules]"
    code = f"import sys, search.oracles.lstm_policy; print({heavy})"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
