"""Strategy with litesmith's own oracles: no trial is spent on a network that was suggested before."""

from __future__ import annotations

import pytest

from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.named import space
from search.oracles import ORACLES
from search.oracles.strategy import Strategy
from search.oracles.surrogate import SurrogateBayes
from search.settings import SearchConfig
from search.space import SearchSpace
from tests.search.oracles.runs import axes, made, run

OURS = sorted(set(ORACLES) - {"bayesian", "hyperband", "random"})
# The second block's kernel size counts only where there is a second block: four genotypes, three networks.
_BLOCKS = (BlockSpec(), BlockSpec(kernel_size=OneOf((3, 5))))
TWINS = SearchSpace("twins", ArchSpec(16, (StageSpec(_BLOCKS, OneOf((1, 2))),), 32, resolution=16, num_classes=2))


def networks(oracle: str, named: SearchSpace, trials: int) -> list[str]:
    """The ids of what is suggested; later networks are reported to be better."""
    strategy = Strategy(SearchConfig(oracle=oracle, max_trials=trials, cost="macs"), named, seed=1)
    found: list[str] = []
    while len(found) < trials and (suggestion := strategy.suggest()) is not None:
        found.append(content_id(named.decode(suggestion.genotype)))
        strategy.report(suggestion.oracle_id, len(found) / 100, {"macs": 1.0})
    return found


@pytest.mark.parametrize("name", ["mixed_small", "ofa_mbv3"])
@pytest.mark.parametrize("oracle", OURS)
def test_every_suggestion_is_another_network(oracle, name):
    """A third of single mutations there change nothing."""
    found = networks(oracle, space(name, 32, 10), 18)
    assert len(found) == len(set(found)) == 18
    assert networks(oracle, space(name, 32, 10), 6) == networks(oracle, space(name, 32, 10), 6)


@pytest.mark.parametrize("oracle", OURS)
def test_all_networks_of_a_small_space_are_found(oracle):
    found = networks(oracle, TWINS, 9)
    assert len(found) == len(set(found)) == 3


def test_only_what_would_be_suggested_is_compared():
    """Of hundreds of candidates for each suggestion."""
    calls = []

    def identity(values: dict[str, int]) -> str:
        calls.append(values)
        return str(values)

    run(made(SurrogateBayes, axes(8, 5), 30, identity=identity), lambda values: {"score": float(sum(values.values()))})
    assert len(calls) == 30
