"""Places of a mixture of operators: which spaces have them, and which genotype a network stands for."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.lowering import layers_of
from search.named import space
from search.sampling import random_genotype
from search.space import SearchSpace
from search.supernet.places import choices_of, kept_blocks, places_of, searched

SMALL = space("proxyless_small", 28, 10)
MIXABLE = ("fbnet", "nasbench_macro", "proxyless", "proxyless_small", "shufflenet_v2")


def scores(named: SearchSpace) -> np.ndarray:
    return np.zeros((len(named.genes), max(len(gene.choices) for gene in named.genes)))


@pytest.mark.parametrize("name", MIXABLE)
def test_the_places_have_the_layers_of_every_network(name):
    named, rng = space(name, 64, 10), random.Random(0)
    places = places_of(named)
    assert [len(place.branches) for place in searched(places)] == [len(gene.choices) for gene in named.genes]
    for _ in range(5):
        genotype = random_genotype(named, rng)
        found = [
            (f"{prefix}_{layer.name}" if prefix else layer.name, layer.kind, layer.out_shape)
            for number, k, prefix in kept_blocks(places, genotype)
            for layer in places[number].branches[k].layers
        ]
        expected = [(layer.name, layer.kind, layer.out_shape) for layer in layers_of(named.decode(genotype))[1:]]
        assert found == expected


@pytest.mark.parametrize("name", MIXABLE)
def test_a_network_stands_for_its_best_genotype(name):
    """Any genotype that decodes to it, and the one that the scores prefer if they do."""
    named, rng = space(name, 64, 10), random.Random(1)
    places = places_of(named)
    for _ in range(20):
        genotype = random_genotype(named, rng)
        arch = named.decode(genotype)
        assert named.decode(choices_of(named, places, arch, scores(named))) == arch
        preferring = scores(named)
        preferring[np.arange(len(genotype)), genotype] = 1
        assert choices_of(named, places, arch, preferring) == genotype


def test_of_equal_scores_late_blocks_are_left_out():
    left_out = (0, 6, 2, 0, 6, 6, 0, 3, 6)
    found = choices_of(SMALL, places_of(SMALL), SMALL.decode(left_out), scores(SMALL))
    assert found == (0, 2, 6, 0, 6, 6, 0, 3, 6)


@pytest.mark.parametrize(
    "change",
    [
        lambda arch: dataclasses.replace(arch, head_channels=96),
        lambda arch: dataclasses.replace(arch, num_classes=7),
        lambda arch: dataclasses.replace(arch, stages=arch.stages[:-1]),
        lambda arch: dataclasses.replace(arch, stages=(*arch.stages[:-1], StageSpec((BlockSpec(kernel_size=3),), 1))),
        lambda arch: dataclasses.replace(arch, resolution=9),
    ],
)
def test_a_network_of_another_space_is_refused(change):
    arch = change(SMALL.decode((0,) * 9))
    with pytest.raises(UsageError, match=r"^network: 'input_.* expected a network of space proxyless_small$"):
        choices_of(SMALL, places_of(SMALL), arch, scores(SMALL))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mixed_small", "stages/0/blocks/0/0/kernel_size"),
        ("mnasnet", "stages/0"),
        ("mobilenet_v2_small", "stages/0/blocks/0/kernel_size"),
        ("nasbench201", "stages/0/blocks/0/edges/0"),
    ],
)
def test_other_choices_are_refused_with_the_place(name, path):
    with pytest.raises(UsageError, match=rf"^space {name}: {path} cannot be a mixture of operators; expected choices"):
        places_of(space(name, 64, 10))


def of(*blocks: object, depth: object = None) -> SearchSpace:
    stage = StageSpec(tuple(blocks), depth or len(blocks))  # type: ignore[arg-type]
    return SearchSpace("own", ArchSpec(8, (stage,), 0, 1.0, 16, 4))


PAIR = (BlockSpec("conv", 1, out_channels=8), BlockSpec("conv", 3, out_channels=8))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (of(BlockSpec(out_channels=8)), "nothing is searched"),
        (of(OneOf(PAIR, "same"), OneOf(PAIR, "same")), "two places are tied to each other"),
        (of(OneOf(PAIR), OneOf(PAIR), depth=OneOf((1, 2))), "stages/0/depth cannot be"),
        (of(OneOf(PAIR), OneOf(PAIR), depth=1), "stages/0/blocks/1 cannot be"),
        (
            of(OneOf((*PAIR, BlockSpec("conv", 3, 2, out_channels=8)))),
            "s0_b0: candidate 2 makes 4x4x8, candidate 0 8x8x8",
        ),
        (of(OneOf((*PAIR, BlockSpec("conv", 11, padding="valid", out_channels=8)))), "cannot be mixed: s0_b0"),
        (SearchSpace("own", dataclasses.replace(of(OneOf(PAIR)).template, resolution=OneOf((8, 16)))), "resolution"),
    ],
)
def test_what_cannot_be_mixed_is_said_in_one_line(named, message):
    with pytest.raises(UsageError) as caught:
        places_of(named)
    assert str(caught.value).startswith("space own: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
