"""Named spaces: their published sizes, the networks that are points of them, and what each genotype decodes to."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical
from search.choice import OneOf
from search.cost import cost
from search.lowering import layers_of
from search.named import network, space
from search.networks import NETWORKS
from search.sampling import mutated, random_genotype
from search.space import Genotype, SearchSpace
from search.spaces import SPACES
from search.spaces.mobilenet_v3 import OFA_RESOLUTIONS

SMALL = (
    *("mixed_small", "mobilenet_v2_small", "mobilenet_v2_small_se", "mobilenet_v2_small_xnnpack"),
    *("nasbench201", "nasbench_macro", "ofa_small", "proxyless_small"),
)

# The number of genotypes where somebody published it, or gives a formula.
SIZES = {
    "fbnet": 9**22,  # Wu et al. 2019, section 3.1: 22 layers, 9 candidates
    "nasbench201": 15_625,
    "nasbench_macro": 6_561,
    "proxyless": 6**6 * 7**15,  # 21 layers; each but a stage's first may be left out
    "shufflenet_v2": 4**20,  # Guo et al. 2020, section 4
}


def nearest(named: SearchSpace, reference: ArchSpec) -> Genotype:
    """The genotype with the reference's values. Genes of blocks that it has not take those of its last block."""

    def value(path: str, choices: tuple[Any, ...]) -> Any:
        parts = path.split("/")
        if parts[0] != "stages":
            return getattr(reference, parts[0])
        stage = reference.stages[int(parts[1])]
        if parts[-1] == "depth":
            return stage.depth
        if isinstance(choices[0], StageSpec):
            return next(choice for choice in choices if _is_like(choice.blocks[0], stage.blocks[-1]))
        place = int(parts[parts.index("blocks") + 1])
        if isinstance(choices[0], BlockSpec):
            wanted = stage.blocks[place] if place < stage.depth else BlockSpec("id")
            return next(choice for choice in choices if _is_like(choice, wanted))
        return getattr(stage.blocks[min(place, stage.depth - 1)], parts[-1])

    return named.genotype({gene.path: value(gene.path, gene.choices) for gene in named.genes})


def _is_like(choice: BlockSpec, block: BlockSpec) -> bool:
    """Whether the fields that the choice has fixed are the block's."""
    if choice.op != block.op or block.op == "id":
        return bool(choice.op == block.op)
    names = ("expand_ratio", "kernel_size")
    return all(isinstance(getattr(choice, n), OneOf) or getattr(choice, n) == getattr(block, n) for n in names)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("mobilenet_v3", "mobilenet_v3_large"),
        ("mnasnet", "mnasnet_a1"),
        ("proxyless", "proxyless_mobile"),
    ],
)
def test_a_published_network_is_a_point_of_its_space(name, reference):
    named, published = space(name, 224, 1000), network(reference, 224, 1000)
    assert named.decode(nearest(named, published)) == canonical(published)


def test_mobilenet_v2_small_is_no_stranger_to_its_space():
    """The reference network of small images has the space's stem, head, strides and channels."""
    named = space("mobilenet_v2_small", 28, 10)
    reference = network("mobilenet_v2_small", 28, 10)
    assert [s.blocks[0].stride for s in named.template.stages] == [s.blocks[0].stride for s in reference.stages]
    for path in ("stages/1/depth", "stages/2/blocks/0/expand_ratio", "stages/3/blocks/0/out_channels"):
        assert path in {gene.path for gene in named.genes}


@pytest.mark.parametrize("name", SIZES)
def test_size_is_the_published_one(name):
    assert space(name, 64, 10).size == SIZES[name]


def test_size_of_once_for_all():
    """Cai et al. 2020, section 3.1: ((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, about 2 x 10^19, for each of 25 sizes."""
    named = space("ofa_mbv3", OneOf(OFA_RESOLUTIONS), 1000)
    choices = {gene.path: len(gene.choices) for gene in named.genes}
    networks = 1
    for stage in range(1, 6):
        genes = [
            math.prod(choices[f"stages/{stage}/blocks/{place}/{name}"] for name in ("kernel_size", "expand_ratio"))
            for place in range(4)
        ]
        depths = next(gene.choices for gene in named.genes if gene.path == f"stages/{stage}/depth")
        networks *= sum(math.prod(genes[:depth]) for depth in depths)
    assert networks == (9**2 + 9**3 + 9**4) ** 5
    assert f"{networks:.0e}" == "2e+19"
    assert choices["resolution"] == 25
    smallest = named.decode(tuple(0 for _ in named.genes))
    assert (smallest.resolution, [stage.depth for stage in smallest.stages]) == (128, [1, 2, 2, 2, 2, 2])


def test_mnasnet_has_the_papers_choices():
    """Section 4.1 gives S = 432 for a stage, of three skip operations; pooling is left out here."""
    genes = [gene for gene in space("mnasnet", 224, 1000).genes if gene.path.startswith("stages/3")]
    assert math.prod(len(gene.choices) for gene in genes) == 432 * 2 // 3


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_for_its_data_set(name):
    named = space(name, 64, 10)
    assert (named.name, named.template.resolution, named.template.num_classes) == (name, 64, 10)
    assert all(len(gene.choices) > 1 for gene in named.genes)
    assert len({gene.path for gene in named.genes}) == len(named.genes)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_small", "mobilenet_v2_small_se"])
def test_inverted_residuals_search_all_their_fields(name):
    searched = {gene.path.rpartition("/")[2]: gene.choices for gene in space(name, 64, 10).genes}
    assert {"depth", "expand_ratio", "kernel_size", "out_channels", "skip"} <= searched.keys()
    assert ("se_ratio" in searched) == name.endswith("_se")
    assert searched["kernel_size"] == (3, 5, 7)


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=40)
@given(data=st.data())
def test_every_genotype_is_a_network(name, data):
    """From 24 pixels on for small images, from 64 for the others; but for cells that connect nothing."""
    sides = st.sampled_from((24, 28, 32, 64)) if name == "nasbench201" else st.integers(24, 64)
    resolution = data.draw(sides if name in SMALL else st.sampled_from((64, 96, 224)))
    named = space(name, resolution, 10)
    arch = named.decode(tuple(data.draw(st.integers(0, len(gene.choices) - 1)) for gene in named.genes))
    if name == "nasbench201" and set(arch.stages[0].blocks[0].edges) == {"none"}:
        with pytest.raises(CandidateError, match=r"^s0_b0: no path of the cell's edges"):
            layers_of(arch)
    else:
        assert layers_of(arch)[-1].out_shape == (1, 1, 10)


def structure(arch: ArchSpec) -> tuple[Any, ...]:
    """The layers without their names."""
    layers = layers_of(arch)
    place = {layer.name: str(index) for index, layer in enumerate(layers)}
    return tuple(
        dataclasses.replace(layer, name="", inputs=tuple(place[name] for name in layer.inputs)) for layer in layers
    )


@pytest.mark.parametrize("name", SPACES)
def test_equal_networks_are_equal_values_and_others_are_not(name):
    """Neighbours have the same layers exactly if their canonical specs (and so their ids) are the same."""
    named, rng = space(name, 64, 10), random.Random(1)
    compared = 0
    for _ in range(100):
        parent = random_genotype(named, rng)
        arch, other = named.decode(parent), named.decode(mutated(named, parent, 0.0, rng))
        try:
            assert (structure(arch) == structure(other)) == (arch == other)
            compared += 1
        except CandidateError:
            assert name == "nasbench201"
    assert compared > 80


def columns(shared: Any, name: str) -> Mapping[str, np.ndarray]:
    with np.load(shared / name) as table:
        return {key: table[key] for key in table.files if table[key].dtype.kind in "uif"}


def test_nasbench_macro_is_the_benchmarks(shared):
    """All 6,561 genotypes in its order, of which its repeated accuracies show 3,969 to be different networks."""
    table, named = columns(shared, "nasbench_macro_cifar10.npz"), space("nasbench_macro", 32, 10)
    networks = [named.decode(tuple(map(int, row))) for row in table["arch"]]
    assert len(set(networks)) == 3_969
    for arch, macs in list(zip(networks, table["flops"], strict=True))[::50]:
        assert cost(arch).macs == macs


def test_nasbench201_is_the_benchmarks(shared):
    """A genotype is a row of its table; disconnected cells are those that it measured in under 0.5 ms and others."""
    table, named = columns(shared, "nasbench201_cifar10.npz"), space("nasbench201", 32, 100)
    checked = 0
    for row in range(0, len(table["ops"]), 7):
        genotype = tuple(map(int, table["ops"][row]))
        edges = named.decode(genotype).stages[0].blocks[0].edges
        if table["lat_ms_pixel3"][row] < 0.5:
            assert set(edges) == {"none"}
        # The table counts operations that no path needs, and merges parallel edges from nodes that a skip makes equal.
        if edges == tuple(named.genes[0].choices[index] for index in genotype) and "skip" not in edges[:3]:
            checked += 1
            # Printed with two decimals; float32 holds them to 1e-5.
            assert cost(named.decode(genotype)).macs / 1e6 == pytest.approx(table["flops_m"][row], abs=0.0051)
    assert checked > 500


def test_nasbench201_has_no_odd_sides():
    with pytest.raises(UsageError, match=r"nasbench201: resolution: 30 is not legal; expected a multiple of 4$"):
        space("nasbench201", 30, 10)


def test_fbnet_has_the_candidates_of_the_measured_table(shared):
    with np.load(shared / "fbnet_latency_pixel3_raspi4.npz") as table:
        ops, names = table["ops"], [str(name) for name in table["op_names"]]
    named = space("fbnet", 224, 1000)
    assert ops.shape[1] == len(named.genes)
    for gene in named.genes:
        *blocks, skip = gene.choices
        found = [f"k{b.kernel_size}_e{b.expand_ratio}" + (f"_g{b.groups}" if b.groups > 1 else "") for b in blocks]
        assert [*found, skip.op.replace("id", "skip")] == names
    assert cost(named.decode(tuple(map(int, ops[0])))).macs > 1e8


def test_the_single_path_network_costs_about_what_is_published():
    """Guo et al. 2020, table 3: 319M. With stride 2 our halves are equal; in the authors' code one keeps the input's
    channels, which makes 0.4 %."""
    published = (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2)
    assert cost(space("shufflenet_v2", 224, 1000).decode(published)).macs == pytest.approx(319e6, rel=0.005)


def test_mixed_blocks_read_their_own_fields():
    """The operator decides which of a block's genes are active."""
    named = space("mixed_small", 32, 10)
    ops = next(gene for gene in named.genes if gene.path == "stages/1/blocks/1")
    assert [block.op for block in ops.choices] == ["ir", "fused", "uib", "ds", "shuffle2", "basic", "id"]
    paths = [gene.path for gene in named.genes]
    start = list(random_genotype(named, random.Random(0)))
    for index, block in enumerate(ops.choices):
        start[paths.index(ops.path)] = index
        changed = list(start)
        changed[paths.index("stages/1/blocks/1/0/expand_ratio")] ^= 1
        reads_it = block.op in ("ir", "fused", "uib")
        assert (named.decode(tuple(start)) != named.decode(tuple(changed))) == reads_it


def test_too_small_images_are_refused_with_the_place():
    with pytest.raises(UsageError, match=r"^architecture: 'ir_r4_k3_s2_e6_c64': s3_b0_dw: stride 2 does not fit"):
        network("mobilenet_v2", 8, 10)


def test_too_small_images_are_the_candidates_fault():
    """Of a space: another genotype may fit."""
    named = space("mobilenet_v2", 8, 10)
    with pytest.raises(CandidateError, match=r"stride 2 does not fit an input of 1x1 pixels"):
        cost(named.decode((0,) * len(named.genes)))


@pytest.mark.parametrize(
    ("look_up", "table", "what"), [(space, SPACES, "search space"), (network, NETWORKS, "network")]
)
def test_unknown_names_are_refused_with_the_legal_ones(look_up, table, what):
    with pytest.raises(UsageError) as caught:
        look_up("mobilenet", 32, 10)
    assert str(caught.value) == f"{what}: 'mobilenet' is not legal; expected one of {', '.join(sorted(table))}"
