"""ENAS's controller with planted rewards: it learns, and goes on from its state."""

from __future__ import annotations

import numpy as np

from search.named import space
from search.space import Genotype
from search.supernet.controller import REWARDED, Controller

SPACE = space("mobilenet_v2_small", 28, 10)
GENES = len(SPACE.genes)
BEST = tuple(len(gene.choices) - 1 for gene in SPACE.genes)


def reward(genotype: Genotype, number: int) -> float:
    """The share of genes with their last choice, with the noise of a batch."""
    noise = np.random.default_rng((number, *genotype)).normal(0, 0.05)
    return sum(a == b for a, b in zip(genotype, BEST, strict=True)) / GENES + float(noise)


def test_it_learns_what_is_rewarded() -> None:
    controller = Controller(SPACE, seed=1)
    before, open_before = controller.learn(reward, 5), controller.entropy
    controller.learn(reward, 150)
    after = controller.learn(reward, 5)
    # Random choices of 2 or 3 have 0.39 of the genes right; 40 rewards' mean deviates by 0.02. A policy that has
    # settled has 1; at 0.8 two thirds of what a random one has wrong are right.
    assert before < 0.5 and after > 0.8
    assert controller.entropy < 0.5 * open_before  # of fewer than half as many bits: it draws alike again and again
    suggestions = controller.suggestions(5)
    assert len({SPACE.identity(genotype) for genotype in suggestions}) == len(suggestions) <= 5  # what it still draws
    assert reward(suggestions[0], 0) > 0.8


def test_networks_of_a_step_depend_on_seed_step_and_policy_alone() -> None:
    one, two = Controller(SPACE, seed=1, networks_per_step=3), Controller(SPACE, seed=1, networks_per_step=3)
    drawn = one.networks(7)
    one.networks(8)
    assert two.networks(7) == one.networks(7) == drawn
    assert len(drawn) == 3 and all(SPACE.check(genotype) is None for genotype in drawn)
    assert one.networks(8) != drawn and Controller(SPACE, seed=2, networks_per_step=3).networks(7) != drawn
    one.learn(reward, 20)
    assert one.networks(7) != drawn


def test_it_goes_on_from_its_state() -> None:
    whole, part = Controller(SPACE, seed=1), Controller(SPACE, seed=1)
    numbers: list[int] = []
    whole.learn(lambda genotype, number: numbers.append(number) or reward(genotype, number), 6)
    assert numbers == [number for number in range(6) for _ in range(REWARDED)]  # one batch for each update
    part.learn(reward, 4)
    resumed = Controller(SPACE, seed=1)
    resumed.load(part.state())
    resumed.learn(reward, 2)
    assert all(np.array_equal(value, whole.state()[name]) for name, value in resumed.state().items())
    assert resumed.networks(11) == whole.networks(11) and resumed.suggestions(3) == whole.suggestions(3)
