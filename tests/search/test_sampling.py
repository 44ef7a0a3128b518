"""Sampling, mutation and crossover: inside the space and the limits, repeatable, and clear where nothing is found."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CandidateError, LitesmithError, UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.named import space
from search.sampling import Limit, Sampler, crossed, mutated, random_genotype
from search.space import SearchSpace
from search.spaces import SPACES

SMALL = space("mobilenet_v2_small", 28, 10)
# About the middle third of what random networks of SMALL cost.
LIMITS = (Limit("macs", 1.5e6, 3e6), Limit("params", high=60_000), Limit("peak_memory_bytes", high=40_000))
TINY = SearchSpace("tiny", ArchSpec(8, (StageSpec((BlockSpec(out_channels=8),), 1),), OneOf((8, 16, 24))))
FIXED = SearchSpace("fixed", ArchSpec(8, (StageSpec((BlockSpec(out_channels=8),), 1),), 8))


def sampler(limits=LIMITS, seed=0, named=SMALL, **settings) -> Sampler:
    return Sampler(named, random.Random(seed), limits, **settings)


def keeps_limits(genotype) -> bool:
    computed = cost(SMALL.decode(genotype))
    return all(limit.low <= getattr(computed, limit.metric) <= limit.high for limit in LIMITS)


def test_samples_keep_every_limit():
    found = [sampler(seed=seed).sample() for seed in range(30)]
    assert all(keeps_limits(genotype) for genotype in found)
    assert len(set(found)) == 30
    drawn = [random_genotype(SMALL, random.Random(seed)) for seed in range(30)]
    assert not all(keeps_limits(genotype) for genotype in drawn), "the limits leave something out"


def test_equal_seeds_draw_equally():
    def draws(seed: int) -> list[tuple[int, ...]]:
        made = sampler(seed=seed)
        parents = [made.sample(), made.sample()]
        return [*parents, made.mutate(parents[0], 0.1), made.crossover(*parents)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_samples_are_uniform():
    """300 draws of three: a share of a third has a standard deviation of 8, and five of them are allowed."""
    counts = Counter(random_genotype(TINY, random.Random(seed)) for seed in range(300))
    assert all(60 <= counts[(index,)] <= 140 for index in range(3))


@pytest.mark.parametrize("name", SPACES)
def test_children_stay_inside_every_space(name):
    named = space(name, 64, 10)
    made = sampler((), named=named)
    for _ in range(5):
        mother, father = made.sample(), made.sample()
        child = made.crossover(mother, father)
        assert all(gene in pair for gene, *pair in zip(child, mother, father, strict=True))
        mutant = made.mutate(mother, 0.1)
        assert named.decode(mutant) != named.decode(mother)
        for genotype in (mother, child, mutant):
            cost(named.decode(genotype))  # CandidateError: it cannot be built


def test_children_keep_the_limits():
    made = sampler()
    for _ in range(10):
        mother, father = made.sample(), made.sample()
        assert keeps_limits(made.mutate(mother, 0.1))
        assert keeps_limits(made.crossover(mother, father))


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_a_mutant_differs_and_a_rate_is_a_share(seed, rate):
    rng = random.Random(seed)
    parent = random_genotype(SMALL, rng)
    changed = [sum(a != b for a, b in zip(parent, mutated(SMALL, parent, rate, rng), strict=True)) for _ in range(20)]
    assert min(changed) >= 1
    genes = len(parent)
    # 20 draws of each gene: six standard deviations, and the one gene that is always changed.
    margin = 6 * math.sqrt(20 * genes * rate * (1 - rate)) + 20
    assert abs(sum(changed) - 20 * genes * rate) <= margin


def test_rate_1_changes_all_genes_and_rate_0_one():
    rng, parent = random.Random(1), random_genotype(SMALL, random.Random(0))
    assert all(a != b for a, b in zip(parent, mutated(SMALL, parent, 1.0, rng), strict=True))
    assert sum(a != b for a, b in zip(parent, mutated(SMALL, parent, 0.0, rng), strict=True)) == 1


def test_a_crossover_takes_from_both():
    mother, father = (0,) * 40, (1,) * 40
    child = crossed(mother, father, random.Random(0))
    assert 5 < sum(child) < 35  # 20 expected, five standard deviations


def test_latency_is_asked_only_where_the_other_limits_hold():
    asked = []

    def latency_us(arch: ArchSpec) -> float:
        asked.append(arch)
        if len(asked) == 1:
            raise CandidateError("cannot be converted")
        return cost(arch).macs / 1e5

    made = sampler((*LIMITS, Limit("latency_us", 20, 25)), latency_us=latency_us)
    found = made.sample()
    assert 2e6 <= cost(SMALL.decode(found)).macs <= 2.5e6
    assert all(1.5e6 <= cost(arch).macs <= 3e6 for arch in asked)
    assert asked[-1] == SMALL.decode(found) != asked[0], "the one that could not be measured was passed over"


def test_impossible_limits_end_with_what_was_seen():
    with pytest.raises(LitesmithError) as caught:
        sampler((Limit("macs", 1e9, 2e9), Limit("params", 1, 2)), max_tries=50).sample()
    message = str(caught.value)
    assert message.startswith(
        "sample: none of 50 genotypes of space mobilenet_v2_small has macs from 1e+09 to 2e+09 and params from 1 to 2; "
        "seen: macs from "
    )
    low, high = (float(number) for number in message.split("macs from ")[2].split(",")[0].split(" to "))
    assert 1e5 < low < high < 1e8


def test_tries_are_bounded():
    calls = []
    with pytest.raises(LitesmithError, match=r"seen: latency_us from 2 to 2$"):
        Sampler(
            SMALL,
            random.Random(0),
            (Limit("latency_us", 0, 1),),
            latency_us=lambda arch: calls.append(arch) or 2.0,
            max_tries=7,
        ).sample()
    assert len(calls) == 7


def test_what_cannot_be_built_is_not_sampled():
    deep = space("mobilenet_v2", 8, 10)
    with pytest.raises(LitesmithError, match=r"^sample: none of 20 genotypes of space mobilenet_v2 can be built$"):
        Sampler(deep, random.Random(0), max_tries=20).sample()


def test_a_space_of_one_network_cannot_mutate():
    with pytest.raises(UsageError, match=r"^space fixed: there is nothing to mutate$"):
        sampler((), named=FIXED).mutate((), 0.5)
    equal = SearchSpace("equal", ArchSpec(8, (StageSpec((BlockSpec("ds", expand_ratio=OneOf((3, 6))),), 1),), 8))
    with pytest.raises(LitesmithError, match=r"^mutate: none of 9 genotypes of space equal is another network$"):
        sampler((), named=equal, max_tries=9).mutate((0,), 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Limit("flops"), "limit: metric: 'flops' is not legal; expected one of .*macs.*params"),
        (
            lambda: Limit("macs", 2, 1),
            r"limit: macs: \(2, 1\) is not legal; expected two numbers with 0 <= low <= high",
        ),
        (lambda: Limit("macs", math.nan), "limit: macs: .* is not legal"),
        (lambda: sampler((Limit("latency_us", 1),)), "sampler: a limit on latency_us needs a function that gives it"),
        (lambda: sampler(max_tries=0), "sampler: max_tries: 0 is not legal"),
        (lambda: sampler().mutate(random_genotype(SMALL, random.Random(0)), 1.5), "sampler: rate: 1.5 is not legal"),
        (lambda: sampler().crossover((0,), (1,)), "space mobilenet_v2_small: genotype"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        make()
