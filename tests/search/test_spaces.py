"""Named spaces and networks: the published MobileNetV2 is a point of its space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CandidateError, UsageError
from search.arch import canonical
from search.blocks import layers_of
from search.cost import cost
from search.spaces import MOBILENET_V2_STAGES, NETWORKS, SPACES, network, space

PUBLISHED = {
    "stages/{}/depth": lambda expand, channels, repeats, stride: repeats,
    "stages/{}/blocks/0/expand_ratio": lambda expand, channels, repeats, stride: expand,
    "stages/{}/blocks/0/kernel_size": lambda expand, channels, repeats, stride: 3,
    "stages/{}/blocks/0/out_channels": lambda expand, channels, repeats, stride: channels,
    "stages/{}/blocks/0/skip": lambda expand, channels, repeats, stride: True,
}


def published_values() -> dict[str, object]:
    """Table 2 of the paper, by gene path."""
    rows = enumerate(MOBILENET_V2_STAGES)
    return {path.format(i): value(*row) for i, row in rows for path, value in PUBLISHED.items()}


def test_mobilenet_v2_is_a_point_of_its_space():
    named = space("mobilenet_v2", 224, 1000)
    genotype = named.genotype(published_values())
    assert named.decode(genotype) == canonical(network("mobilenet_v2", 224, 1000))


def test_mobilenet_v2_small_is_no_stranger_to_its_space():
    """The reference network of small images has the space's stem, head, strides and channels."""
    named = space("mobilenet_v2_small", 28, 10)
    reference = network("mobilenet_v2_small", 28, 10)
    assert len(named.template.stages) == len(reference.stages)
    assert [s.blocks[0].stride for s in named.template.stages] == [s.blocks[0].stride for s in reference.stages]
    for path in ("stages/1/depth", "stages/2/blocks/0/expand_ratio", "stages/3/blocks/0/out_channels"):
        assert path in {gene.path for gene in named.genes}


# The sum over Keras' own MobileNetV2 gives 300.77M multiply-accumulates (the paper says "300M").
def test_mobilenet_v2_costs_what_the_paper_says():
    computed = cost(network("mobilenet_v2", 224, 1000))
    assert (computed.macs, computed.params) == (300_774_272, 3_538_984)


# Multiply-adds and parameters in millions as the authors publish them for other widths
# (https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet), rounded to the last digit shown;
# their parameters leave out the batch norms.
@pytest.mark.parametrize(
    ("width", "resolution", "million_macs", "million_params"),
    [(1.4, 224, 582, 6.06), (1.3, 224, 509, 5.34), (0.75, 224, 209, 2.61), (0.5, 224, 97, 1.95), (0.35, 224, 59, 1.66)],
)
def test_other_widths_cost_what_is_published(width, resolution, million_macs, million_params):
    arch = network("mobilenet_v2", resolution, 1000, width)
    computed = cost(arch)
    normalized = sum(layer.out_shape[2] for layer in layers_of(arch) if layer.kind == "batch_norm")
    assert computed.macs / 1e6 == pytest.approx(million_macs, abs=0.5)
    assert (computed.params - 4 * normalized) / 1e6 == pytest.approx(million_params, abs=0.005)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_searches_what_the_issue_asks(name):
    named = space(name, 64, 10)
    searched = {gene.path.rpartition("/")[2] for gene in named.genes}
    assert {"depth", "expand_ratio", "kernel_size", "out_channels", "skip"} <= searched
    assert ("se_ratio" in searched) == name.endswith("_se")
    assert all(len(gene.choices) > 1 for gene in named.genes)
    assert any(gene.choices == (3, 5, 7) for gene in named.genes)
    assert (named.name, named.template.resolution, named.template.num_classes) == (name, 64, 10)


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_every_genotype_can_be_built(name, data):
    """64 pixels are enough for all strides of every space."""
    named = space(name, 64, 10)
    genotype = tuple(data.draw(st.integers(0, len(gene.choices) - 1)) for gene in named.genes)
    assert layers_of(named.decode(genotype))[-1].out_shape == (1, 1, 10)


def test_too_small_images_are_the_candidates_fault():
    arch = network("mobilenet_v2", 8, 10)
    with pytest.raises(CandidateError, match=r"stride 2 does not fit an input of 1x1 pixels"):
        cost(arch)


@pytest.mark.parametrize(
    ("look_up", "table", "what"), [(space, SPACES, "search space"), (network, NETWORKS, "network")]
)
def test_unknown_names_are_refused_with_the_legal_ones(look_up, table, what):
    with pytest.raises(UsageError) as caught:
        look_up("mobilenet", 32, 10)
    assert str(caught.value) == f"{what}: 'mobilenet' is not legal; expected one of {', '.join(sorted(table))}"
