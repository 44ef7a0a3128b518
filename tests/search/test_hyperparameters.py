"""A search space as Keras Tuner hyperparameters and back."""

from __future__ import annotations

import dataclasses

import pytest

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.named import space
from search.oracles.hyperparameters import genotype, hyperparameters
from search.space import SearchSpace
from search.spaces import SPACES

BLOCK = BlockSpec(kernel_size=OneOf((5, 3)), activation=OneOf(("relu", "relu6")), skip=OneOf((False,)))
SPACE = SearchSpace("toy", ArchSpec(16, (StageSpec((BLOCK,), 1),), OneOf((32, 64, 96))))


def test_names_are_paths_and_values_are_indices():
    """Indices, because Keras Tuner sorts nothing then and takes choices of any type."""
    parameters = {parameter.name: parameter for parameter in hyperparameters(SPACE).space}
    assert {name: tuple(parameter.values) for name, parameter in parameters.items()} == {
        "stages/0/blocks/0/kernel_size": (0, 1),
        "stages/0/blocks/0/activation": (0, 1),
        "head_channels": (0, 1, 2),
    }


def test_numbers_are_ordered_and_words_are_not():
    ordered = {parameter.name: parameter.ordered for parameter in hyperparameters(SPACE).space}
    assert ordered["head_channels"]
    assert not ordered["stages/0/blocks/0/activation"]


def test_a_gene_with_one_choice_takes_it():
    values = {
        "stages/0/blocks/0/kernel_size": 1,
        "stages/0/blocks/0/activation": 0,
        "head_channels": 2,
        "tuner/epochs": 3,
    }
    found = genotype(SPACE, values)
    assert found == (1, 0, 0, 2)
    arch = SPACE.decode(found)
    assert (arch.stages[0].blocks[0].kernel_size, arch.head_channels) == (3, 96)


@pytest.mark.parametrize("name", SPACES)
def test_every_gene_of_a_named_space_is_searched(name):
    named = space(name, 64, 10)
    parameters = hyperparameters(named).space
    assert [parameter.name for parameter in parameters] == [gene.path for gene in named.genes]
    last = {gene.path: len(gene.choices) - 1 for gene in named.genes}
    assert genotype(named, last) == tuple(last.values())


def test_the_template_is_not_changed():
    before = dataclasses.asdict(SPACE.template)
    hyperparameters(SPACE)
    assert dataclasses.asdict(SPACE.template) == before
