"""The expected latency of a mixture against the table's predictions of its networks."""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
import pytest

from core.errors import UsageError
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable, Overhead
from search.named import space
from search.sampling import random_genotype
from search.space import SearchSpace
from search.supernet.expected_latency import expected_latency
from tests.search.supernet.planted import planted_space, planted_table

SMALL = space("proxyless_small", 28, 10)


def random_table(named: SearchSpace) -> LatencyTable:
    rng = random.Random(0)
    latencies = [(key.text, rng.uniform(5, 100)) for key in distinct_blocks(named, "int8")]
    blocks = tuple(BlockLatency(text, us, us, us, 50) for text, us in latencies)
    return LatencyTable(named.name, "int8", {}, "made up", "2026-01-31", blocks, Overhead(7.0, 1.5, 10, 0.0))


def certain(genotype: tuple[int, ...], legal: np.ndarray) -> np.ndarray:
    return np.eye(legal.shape[1])[list(genotype)]


@pytest.mark.parametrize("name", ["proxyless_small", "fbnet", "nasbench_macro"])
def test_a_certain_choice_has_the_tables_latency(name):
    named, rng = space(name, 64, 10), random.Random(1)
    table = random_table(named)
    expected = expected_latency(named, table)
    for _ in range(20):
        genotype = random_genotype(named, rng)
        predicted = table.predict(named.decode(genotype)).latency_us
        assert expected.of(certain(genotype, expected.legal)) == pytest.approx(predicted)


def test_the_expectation_is_the_mean_over_all_networks():
    named = planted_space()
    table = planted_table(named)
    expected = expected_latency(named, table)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    mean = 0.0
    for genotype in itertools.product(range(3), repeat=3):
        probability = np.prod([shares[place, chosen] for place, chosen in enumerate(genotype)])
        mean += probability * table.predict(named.decode(genotype)).latency_us
    assert expected.of(shares) == pytest.approx(mean)
    assert expected.mean_us == pytest.approx(expected.of(np.full((3, 3), 1 / 3)))


def test_a_table_of_another_space_is_refused():
    table = random_table(SMALL)
    lacking = dataclasses.replace(table, blocks=tuple(block for block in table.blocks if "k7" not in block.key))
    # Three stages, each with a first block and others; two expand ratios.
    message = (
        r"^latency table of space proxyless_small: it lacks 12 blocks of space proxyless_small, the first 'int8 14x"
    )
    with pytest.raises(UsageError, match=message):
        expected_latency(SMALL, lacking)
    with pytest.raises(UsageError, match=r"it lacks \d+ blocks of space proxyless_small"):
        expected_latency(space("proxyless_small", 32, 10), table)
