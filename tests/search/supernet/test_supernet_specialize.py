"""The search for one target: planted accuracies as the predictor, MACs as the latency."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec
from search.sampling import random_genotype
from search.space import Genotype
from search.supernet.genotypes import smallest_genotype
from search.supernet.specialize import specialize
from tests.search.supernet.supernet_fakes import TOY, macs, planted_accuracy


class Planted:
    """A predictor that is right."""

    asked = 0

    def predict(self, genotypes: Sequence[Genotype]) -> NDArray[np.float64]:
        self.asked += len(genotypes)
        return np.array([planted_accuracy(TOY.decode(genotype)) for genotype in genotypes])


def latency_us(arch: ArchSpec) -> float:
    return macs(arch) / 1e5


def test_it_beats_random_search_within_the_limit() -> None:
    predictor = Planted()
    found = specialize(TOY, predictor, latency_us, 30.0, seed=1, population=40, generations=10)
    assert all(item.latency_us <= 30 and item.latency_us == latency_us(item.arch) for item in found)
    assert [item.predicted_accuracy for item in found] == sorted((i.predicted_accuracy for i in found), reverse=True)
    assert len({TOY.identity(item.genotype) for item in found}) == len(found) == predictor.asked
    rng = random.Random(1)
    drawn = [TOY.decode(random_genotype(TOY, rng)) for _ in range(3000)]
    within = [planted_accuracy(arch) for arch in drawn if latency_us(arch) <= 30]
    assert len(within) > 400  # more networks than the search asked about
    assert found[0].predicted_accuracy > max(within)


def test_the_same_seed_finds_the_same() -> None:
    one, two = (specialize(TOY, Planted(), latency_us, 30.0, seed=4, population=10, generations=2) for _ in range(2))
    assert one == two


def test_a_wider_limit_never_finds_less() -> None:
    """With the network of the narrower limit known, as the command `extract` gives it."""
    best, known = 0.0, ()
    for limit in (15.0, 25.0, 50.0):
        found = specialize(TOY, Planted(), latency_us, limit, seed=1, first=known, population=20, generations=4)
        assert found[0].predicted_accuracy >= best
        best, known = found[0].predicted_accuracy, (found[0].genotype,)


def test_a_limit_that_hardly_any_network_keeps() -> None:
    """1 % above the smallest network: none of thousands of random ones is there."""
    least = latency_us(TOY.decode(smallest_genotype(TOY)))
    found = specialize(TOY, Planted(), latency_us, 1.01 * least, seed=1, population=10, generations=2)
    assert found and all(item.latency_us <= 1.01 * least for item in found)


def test_a_limit_that_no_network_keeps_is_refused() -> None:
    with pytest.raises(UsageError, match=r"max_latency_us: 1\.0 is not legal; expected at least [0-9.]+, the latency"):
        specialize(TOY, Planted(), latency_us, 1.0, seed=1, population=4, generations=1)


def test_networks_without_a_latency_are_left_out() -> None:
    def only_shallow(arch: ArchSpec) -> float:
        if len(arch.stages[1].blocks) > 1:
            raise CandidateError("the table lacks a block")
        return latency_us(arch)

    found = specialize(TOY, Planted(), only_shallow, 30.0, seed=1, population=10, generations=2)
    assert found and all(len(item.arch.stages[1].blocks) == 1 for item in found)


def test_known_networks_are_in_the_first_population() -> None:
    known = specialize(TOY, Planted(), latency_us, 30.0, seed=1, population=40, generations=10)[0]
    found = specialize(TOY, Planted(), latency_us, 30.0, seed=2, first=[known.genotype], population=4, generations=0)
    assert found[0] == known
