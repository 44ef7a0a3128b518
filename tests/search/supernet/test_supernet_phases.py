"""What a step of supernet training may draw: phases, levels, uniform draws, the learning rate."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from core.errors import UsageError
from core.registry import load
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import Gene, Genotype, SearchSpace
from search.spaces import SPACES
from search.supernet.genotypes import largest_genotype
from search.supernet.phases import (
    DEPTH,
    FORM,
    GENE_KINDS,
    KERNEL,
    OPERATOR,
    RESOLUTION,
    WIDTH,
    Phase,
    kind_of,
    learning_rate,
    legal_choices,
    levels_of,
    narrowest,
    phases,
    sample,
)
from search.supernet.settings import SupernetConfig

CONFIG = SupernetConfig()


def space_of(name: str) -> SearchSpace:
    return load(SPACES, name, "space")(OneOf((24, 32)), 10)


def drawn(space: SearchSpace, phase: Phase, count: int = 60) -> list[Genotype]:
    return [sample(space, phase, np.random.default_rng((0, step))) for step in range(count)]


def values(space: SearchSpace, phase: Phase, kind: str) -> set:
    """What the genes of a kind take in many draws."""
    genotypes = drawn(space, phase)
    genes = [(place, gene) for place, gene in enumerate(space.genes) if kind_of(gene) == kind]
    return {gene.choices[genotype[place]] for genotype in genotypes for place, gene in genes}


def test_progressive_shrinking_goes_from_kernel_over_depth_to_width():
    space = space_of("ofa_mbv3")
    plan = phases(CONFIG, space)
    assert [phase.name for phase in plan] == ["full", "kernel", "depth 1", "depth 2", "width 1", "width 2"]
    assert plan[0].epochs == CONFIG.full_epochs
    assert sum(phase.epochs for phase in plan[1:]) == CONFIG.epochs
    seen = [[sorted(values(space, phase, kind)) for kind in (KERNEL, DEPTH, WIDTH, RESOLUTION)] for phase in plan]
    full = [[7], [4], [6.0], [24, 32]]
    kernel = [[3, 5, 7], *full[1:]]
    depth = [kernel[0], [3, 4], *kernel[2:]], [kernel[0], [2, 3, 4], *kernel[2:]]
    width = [*depth[1][:2], [4.0, 6.0], full[3]], [*depth[1][:2], [3.0, 4.0, 6.0], full[3]]
    assert seen == [full, kernel, *depth, *width]


@pytest.mark.parametrize("name", ["mobilenet_v2_small_se", "mobilenet_v3", "proxyless", "mnasnet"])
def test_the_last_phase_draws_from_the_whole_space_and_the_first_from_the_largest_networks(name):
    space = space_of(name)
    plan = phases(CONFIG, space)
    assert legal_choices(space, plan[-1]) == tuple(tuple(range(len(gene.choices))) for gene in space.genes)
    largest = largest_genotype(space)
    for indices, index, gene in zip(legal_choices(space, plan[0]), largest, space.genes, strict=True):
        assert index in indices
        if kind_of(gene) not in (OPERATOR, RESOLUTION):
            assert indices == (index,)
    for before, after in itertools.pairwise(plan):
        pairs = zip(legal_choices(space, before), legal_choices(space, after), strict=True)
        assert all(set(few) <= set(more) for few, more in pairs)


def test_choices_among_whole_blocks_shrink_by_their_own_sizes():
    blocks = [BlockSpec("ir", kernel, expand_ratio=expand) for kernel in (3, 5, 7) for expand in (3, 6)]
    gene = Gene("stages/1/blocks/1", (*blocks, BlockSpec("fused", 3, expand_ratio=2), BlockSpec("id")))
    assert levels_of(gene, KERNEL) == ((2, 2, 1, 1, 0, 0, 0, 0), 2)
    assert levels_of(gene, WIDTH) == ((1, 0, 1, 0, 1, 0, 0, 0), 1)
    assert levels_of(gene, DEPTH) == ((0, 0, 0, 0, 0, 0, 0, 1), 1)
    space = space_of("proxyless")
    plan = phases(CONFIG, space)
    assert [phase.name for phase in plan] == ["full", "kernel", "depth", "width"]
    place = [gene.path for gene in space.genes].index("stages/1/blocks/1")
    choices = space.genes[place].choices
    found = [{choices[genotype[place]] for genotype in drawn(space, phase)} for phase in plan]
    assert [{(block.op, block.kernel_size, block.expand_ratio) for block in blocks} for blocks in found[:3]] == [
        {("ir", 7, 6)},
        {("ir", kernel, 6) for kernel in (3, 5, 7)},
        {("id", 3, 6), *(("ir", kernel, 6) for kernel in (3, 5, 7))},
    ]
    assert found[3] == set(choices)


def test_operators_with_weights_of_their_own_are_drawn_from_the_first_step_on():
    space = space_of("mnasnet")
    full = phases(CONFIG, space)[0]
    stages = values(space, full, OPERATOR)
    assert {(stage.blocks[0].op, stage.blocks[0].expand_ratio) for stage in stages} == {("fused", 1), ("ir", 6)}
    assert values(space, full, FORM) == {True, 0.25}


def test_draws_are_uniform_over_what_a_phase_leaves_free():
    space = space_of("ofa_mbv3")
    phase = phases(CONFIG, space)[1]
    place = next(place for place, gene in enumerate(space.genes) if kind_of(gene) == KERNEL)
    counts = collections.Counter(genotype[place] for genotype in drawn(space, phase, 900))
    assert set(counts) == {0, 1, 2}
    # 300 of 900 each; a binomial's standard deviation is 14, and five of them are never seen.
    assert all(abs(count - 300) < 71 for count in counts.values())


def test_other_methods_draw_from_everything_all_the_time():
    space = space_of("mobilenet_v3")
    (phase,) = phases(dataclasses.replace(CONFIG, method="sandwich"), space)
    assert phase.epochs == CONFIG.epochs and not phase.is_full
    assert legal_choices(space, phase) == tuple(tuple(range(len(gene.choices))) for gene in space.genes)
    assert {kind_of(gene) for gene in space.genes} <= set(GENE_KINDS)


def test_a_space_that_cannot_shrink_has_one_phase_after_the_full_one():
    first, second = (BlockSpec(op, 3, expand_ratio=2) for op in ("ir", "fused"))
    space = SearchSpace("ops", ArchSpec(8, (StageSpec((OneOf((first, second)),), 1),), 16, resolution=16))
    assert [(phase.name, phase.epochs) for phase in phases(CONFIG, space)] == [("full", 6), ("all", 12)]


def test_fewer_epochs_than_phases_are_refused():
    with pytest.raises(UsageError, match=r"^config.supernet.epochs: 4 is not legal; expected at least 5 with method"):
        phases(dataclasses.replace(CONFIG, epochs=4), space_of("ofa_mbv3"))
    assert all(phase.epochs >= 1 for phase in phases(dataclasses.replace(CONFIG, epochs=5), space_of("ofa_mbv3")))


def test_the_narrowest_networks_are_narrow_only_as_far_as_the_phase_goes():
    space = space_of("ofa_mbv3")
    plan = phases(CONFIG, space)
    for phase, expand in ((plan[3], 6.0), (plan[4], 4.0), (plan[5], 3.0)):
        (genotype,) = narrowest(space, phase)
        taken = {
            gene.path.rsplit("/")[-1]: gene.choices[index] for gene, index in zip(space.genes, genotype, strict=True)
        }
        assert taken == {"expand_ratio": expand, "kernel_size": 7, "depth": 4, "resolution": 32}


def test_the_narrowest_networks_have_every_operator():
    space = space_of("mnasnet")
    genotypes = narrowest(space, phases(CONFIG, space)[-1])
    ops = [{block.op for stage in space.decode(genotype).stages for block in stage.blocks} for genotype in genotypes]
    assert set.union(*ops) == {"ir", "fused"}


def test_the_learning_rate_warms_up_and_falls():
    rates = [learning_rate(2.0, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[10] == 2.0
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0.02 <= rates[-1] < 0.03
    assert learning_rate(2.0, 0, 1) == 2.0
