"""Search spaces: one traversal lists, fills and counts the genes; tied places agree; bad genotypes are refused."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical
from search.choice import OneOf
from search.space import SearchSpace

KERNEL = OneOf((3, 5), tie="k")
BLOCK = BlockSpec(kernel_size=KERNEL, out_channels=OneOf((8, 16)), skip=OneOf((True, False), tie="skip"))
STAGE = StageSpec((BLOCK, BLOCK), OneOf((1, 2)))
SPACE = SearchSpace("toy", ArchSpec(16, (STAGE, STAGE), OneOf((32, 64, 96)), resolution=32, num_classes=10))
PATHS = [
    "stages/0/blocks/0/kernel_size",
    "stages/0/blocks/0/out_channels",
    "stages/0/blocks/0/skip",
    "stages/0/blocks/1/out_channels",
    "stages/0/depth",
    "stages/1/blocks/0/out_channels",
    "stages/1/blocks/1/out_channels",
    "stages/1/depth",
    "head_channels",
]
genotypes = st.tuples(*(st.integers(0, len(gene.choices) - 1) for gene in SPACE.genes))


def test_genes_are_named_by_path_and_tied_ones_count_once():
    assert [gene.path for gene in SPACE.genes] == PATHS
    assert SPACE.size == 2**8 * 3 == math.prod(len(gene.choices) for gene in SPACE.genes)


@given(genotypes)
def test_every_place_takes_its_own_choice(genotype):
    """Decoding agrees with filling the template by hand."""
    value = {gene.path: gene.choices[index] for gene, index in zip(SPACE.genes, genotype, strict=True)}
    stages = tuple(
        StageSpec(
            tuple(
                BlockSpec(
                    kernel_size=value["stages/0/blocks/0/kernel_size"],
                    out_channels=value[f"stages/{i}/blocks/{j}/out_channels"],
                    skip=value["stages/0/blocks/0/skip"],
                )
                for j in range(2)
            ),
            value[f"stages/{i}/depth"],
        )
        for i in range(2)
    )
    assert SPACE.decode(genotype) == canonical(ArchSpec(16, stages, value["head_channels"], 1.0, 32, 10))


@given(genotypes)
def test_values_and_genotype_are_inverse(genotype):
    values = {gene.path: gene.choices[index] for gene, index in zip(SPACE.genes, genotype, strict=True)}
    assert SPACE.genotype(values) == genotype
    assert SPACE.genotype({**values, "tuner/epochs": 3}) == genotype


@given(genotypes, st.integers(0, 1))
def test_a_gene_of_an_inactive_block_does_not_change_the_id(genotype, other):
    position = {path: index for index, path in enumerate(PATHS)}
    shallow = list(genotype)
    shallow[position["stages/1/depth"]] = 0
    changed = list(shallow)
    changed[position["stages/1/blocks/1/out_channels"]] = other
    assert content_id(SPACE.decode(tuple(shallow))) == content_id(SPACE.decode(tuple(changed)))


def test_active_genes_change_the_id():
    """Two blocks deep with additions possible, each gene has a say."""
    base = [0, 1, 0, 1, 1, 1, 1, 1, 0]
    ids = {content_id(SPACE.decode(tuple(base)))}
    for place in range(len(base)):
        changed = list(base)
        changed[place] = 1 - changed[place]
        ids.add(content_id(SPACE.decode(tuple(changed))))
    assert len(ids) == len(base) + 1


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ((0,) * 8, r"space toy: genotype: .* is not legal; expected 9 choice indices"),
        ((0,) * 10, r"space toy: genotype: .* is not legal; expected 9 choice indices"),
        ((2, *(0,) * 8), r"space toy: stages/0/blocks/0/kernel_size: 2 is not legal; expected an index from 0 to 1"),
        ((*(0,) * 8, -1), r"space toy: head_channels: -1 is not legal; expected an index from 0 to 2"),
        ((*(0,) * 8, True), r"space toy: head_channels: True is not legal; expected an index from 0 to 2"),
        ((*(0,) * 8, 1.0), r"space toy: head_channels: 1\.0 is not legal; expected an index from 0 to 2"),
        ((*(0,) * 8, "1"), r"space toy: head_channels: '1' is not legal; expected an index from 0 to 2"),
    ],
)
def test_bad_genotype_is_refused(genotype, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        SPACE.decode(genotype)


def test_missing_and_illegal_values_are_refused():
    values = {gene.path: gene.choices[0] for gene in SPACE.genes}
    with pytest.raises(UsageError, match=r"^space toy: head_channels: 33 is not legal; expected one of 32, 64, 96$"):
        SPACE.genotype({**values, "head_channels": 33})
    del values["stages/1/depth"]
    with pytest.raises(UsageError, match=r"^space toy: no value for stages/1/depth$"):
        SPACE.genotype(values)


def test_ties_of_other_choices_are_refused():
    blocks = (BlockSpec(kernel_size=KERNEL), BlockSpec(kernel_size=OneOf((3, 7), tie="k")))
    space = SearchSpace("odd", ArchSpec(16, (StageSpec(blocks, 2),), 32))
    with pytest.raises(UsageError, match="stages/0/blocks/1/kernel_size is tied to stages/0/blocks/0/kernel_size"):
        space.decode((0,))


def test_a_template_without_choices_is_one_network():
    space = SearchSpace("fixed", ArchSpec(16, (StageSpec((BlockSpec(),), 1),), 32))
    assert (space.genes, space.size) == ((), 1)
    assert space.decode(()) == canonical(space.template)


def test_every_genotype_decodes():
    networks = [
        SPACE.decode(genotype) for genotype in itertools.product(*(range(len(gene.choices)) for gene in SPACE.genes))
    ]
    assert 1 < len({content_id(arch) for arch in networks}) < len(networks) == SPACE.size


PAIR = BlockSpec("ir", out_channels=8, expand_ratio=OneOf((2, 3)), kernel_size=OneOf((3, 5), tie="k"))
NESTED = SearchSpace(
    "nested",
    ArchSpec(
        8,
        (
            StageSpec((OneOf((PAIR, BlockSpec("ds", kernel_size=OneOf((3, 5), tie="k"), out_channels=8))), PAIR), 2),
            OneOf((StageSpec((PAIR,), 1), StageSpec((BlockSpec("id", out_channels=8),), 1))),
        ),
        16,
        resolution=32,
        num_classes=10,
    ),
)


def test_a_choice_may_hold_choices():
    """Their genes follow; tied ones are shared with places outside."""
    assert [gene.path for gene in NESTED.genes] == [
        "stages/0/blocks/0",
        "stages/0/blocks/0/0/kernel_size",
        "stages/0/blocks/0/0/expand_ratio",
        "stages/0/blocks/1/expand_ratio",
        "stages/1",
        "stages/1/0/blocks/0/expand_ratio",
    ]
    assert NESTED.size == 2**6
    arch = NESTED.decode((0, 1, 1, 0, 0, 1))
    first, second = arch.stages[0].blocks
    assert (first.op, first.expand_ratio, first.kernel_size) == ("ir", 3.0, 5)
    assert (second.expand_ratio, second.kernel_size) == (2.0, 5)
    assert arch.stages[1].blocks[0].expand_ratio == 3.0


def test_genes_of_a_choice_not_taken_are_inactive():
    assert NESTED.decode((1, 0, 0, 0, 1, 0)) == NESTED.decode((1, 0, 1, 0, 1, 1))
    assert NESTED.decode((1, 0, 0, 0, 1, 0)) != NESTED.decode((1, 1, 0, 0, 1, 0)), (
        "the tied kernel size is another's too"
    )


def test_the_plan_is_made_once():
    """Oracles decode thousands of genotypes: neither genes nor equal blocks are made again."""
    assert NESTED.genes is NESTED.genes
    one, other = NESTED.decode((0, 1, 1, 0, 0, 1)), NESTED.decode((0, 1, 1, 0, 1, 0))
    assert one.stages[0].blocks[0] is other.stages[0].blocks[0]
