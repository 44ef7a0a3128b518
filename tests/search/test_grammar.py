"""The text of a network: exact both ways, and every malformed text refused in one line that names the token."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import CandidateError, UsageError
from search.arch import (
    ACTIVATIONS,
    CELL_EDGES,
    CELL_OPS,
    NORMS,
    OPS,
    PADDINGS,
    ArchSpec,
    BlockSpec,
    StageSpec,
    canonical,
)
from search.blocks.table import BLOCKS
from search.grammar import from_text, to_text
from search.lowering import layers_of
from search.named import network, space
from search.networks import NETWORKS
from search.spaces import SPACES

GOOD = "input_r32_n10_w1 stem_s2_c16 ir_r2_k3_s1_e6_c40_se0.25 head_c96"

FIELDS = {
    "expand_ratio": st.floats(1, 64),
    "out_channels": st.integers(1, 4096),
    "se_ratio": st.floats(0, 1),
    "activation": st.sampled_from(ACTIVATIONS),
    "skip": st.booleans(),
    "groups": st.integers(1, 8),
    "hidden_channels": st.just(0) | st.integers(1, 4096),
    "se_channels": st.just(0) | st.integers(1, 512),
    "start_kernel_size": st.sampled_from((0, 3, 5, 7)),
    "padding": st.sampled_from(PADDINGS),
    "edges": st.tuples(*[st.sampled_from(CELL_OPS)] * len(CELL_EDGES)),
}


def blocks(op: str) -> st.SearchStrategy[BlockSpec]:
    """Any block of an operator, also one whose shapes fit nowhere; what it does not read takes a default."""
    block = BLOCKS[op]
    fields = {name: values for name, values in FIELDS.items() if name in block.fields or name != "edges"}
    fields["kernel_size"] = st.sampled_from(block.kernel_sizes if "kernel_size" in block.fields else (3,))
    fields["stride"] = st.sampled_from(block.strides if "stride" in block.fields else (1,))
    return st.builds(BlockSpec, op=st.just(op), **fields)


STAGES = st.lists(st.sampled_from(OPS).flatmap(blocks) | st.just(BlockSpec()), min_size=1, max_size=4).flatmap(
    lambda row: st.builds(StageSpec, st.just(tuple(row)), st.integers(1, len(row)))
)
HEADS = st.sampled_from(
    ({}, {"head_units": (64, 32), "head_norm": True}, {"pooling": "scores"}, {"pooling": "flatten", "head_units": (9,)})
)
ARCHS = HEADS.flatmap(
    lambda head: st.builds(
        ArchSpec,
        stem_channels=st.integers(0, 4096),
        stages=st.lists(STAGES, min_size=1, max_size=3).map(tuple),
        head_channels=st.integers(0, 4096),
        width_multiplier=st.floats(0.05, 20),
        resolution=st.integers(8, 4096),
        num_classes=st.integers(2, 1_000_000),
        stem_stride=st.sampled_from((1, 2)),
        stem_activation=st.sampled_from(ACTIVATIONS),
        head_activation=st.sampled_from(ACTIVATIONS),
        norm=st.sampled_from(NORMS),
        **{name: st.just(value) for name, value in head.items()},
    )
)


def test_a_network_without_stem_has_three_channels_at_any_width():
    """No channels times a width are none; else the identity, which projects here, would be taken for nothing."""
    with_identity = from_text("input_r32_n10_w0.5 stem_s1_c0 id_r1_s1_c16+conv_r1_k3_s1_c16 head_c0")
    assert len(with_identity.stages[0].blocks) == 2
    assert layers_of(with_identity)[1].out_shape == (32, 32, 8)


def test_more_equal_blocks_than_one_item_may_repeat():
    block = BlockSpec(expand_ratio=1, out_channels=8)
    arch = canonical(ArchSpec(8, (StageSpec((block,) * 1500, 1500),), 8, resolution=8, num_classes=2))
    assert from_text(to_text(arch)) == arch


@given(ARCHS)
def test_round_trip_of_any_network(arch):
    """Exact: a rounded ratio would be another network with another id."""
    text = to_text(arch)
    assert "\n" not in text
    try:
        layers_of(arch)
    except CandidateError as error:
        with pytest.raises(UsageError) as caught:
            from_text(text)
        assert str(caught.value).endswith(str(error))
    else:
        assert from_text(text) == canonical(arch)
        assert to_text(from_text(text)) == text


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_round_trip_of_genotypes(name, data):
    named = space(name, 64, 10)
    arch = named.decode(tuple(data.draw(st.integers(0, len(gene.choices) - 1)) for gene in named.genes))
    try:
        layers_of(arch)
    except CandidateError:  # a cell without a path through it
        assume(name != "nasbench201")
    assert from_text(to_text(arch)) == arch


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_of_reference_networks(name):
    for width in (0.5, 1.0, 1.5):  # those that ShuffleNet has too
        arch = network(name, 224, 1000, width)
        assert from_text(to_text(arch)) == canonical(arch)


def test_mobilenet_v2_fits_on_a_line_as_in_the_paper():
    assert to_text(network("mobilenet_v2", 224, 1000)) == (
        "input_r224_n1000_w1 stem_s2_c32 ir_r1_k3_s1_e1_c16 ir_r2_k3_s2_e6_c24 ir_r3_k3_s2_e6_c32 ir_r4_k3_s2_e6_c64 "
        "ir_r3_k3_s1_e6_c96 ir_r3_k3_s2_e6_c160 ir_r1_k3_s1_e6_c320 head_c1280"
    )


def test_items_of_a_stage_and_optional_parts():
    text = "input_r32_n10_w0.5 stem_s1_c16 ir_r2_k3_s2_e6_c40_se0.25_relu_noskip+ir_r1_k5_s1_e1_c40_noskip head_c96"
    arch = from_text(text)
    first, second, third = arch.stages[0].blocks
    assert (first.stride, second.stride, third.stride) == (2, 1, 1)
    assert (first.kernel_size, second.kernel_size, third.kernel_size) == (3, 3, 5)
    assert (second.se_ratio, second.activation, second.skip) == (0.25, "relu", False)
    assert (third.se_ratio, third.activation, third.expand_ratio) == (0.0, "relu6", 1.0)
    assert to_text(arch) == text


def test_absolute_widths_stand_in_place_of_ratios():
    """As after structured pruning; both at once are one of them."""
    stage = "ir3_r2_k3_s2_h52_c40_q12+ir3_r1_k5_s1_e3_c40_se0.25+basic_r1_k3_s1_h9_c40"
    text = f"input_r32_n10_w0.5 stem_s1_c16 {stage} head_c0"
    arch = from_text(text)
    first, _, third, fourth = arch.stages[0].blocks
    assert (first.hidden_channels, first.expand_ratio, first.se_channels, first.se_ratio) == (52, 6.0, 12, 0.0)
    assert (third.hidden_channels, third.expand_ratio, third.se_channels, fourth.hidden_channels) == (0, 3.0, 0, 9)
    assert to_text(arch) == text
    both = text.replace("_h52", "_h52_e2").replace("_q12", "_q12_se0.5")
    assert to_text(from_text(both)) == text
    widths = {layer.name: layer.out_shape[2] for layer in layers_of(arch)}
    assert (widths["s0_b0_expand_conv"], widths["s0_b0_se_reduce"], widths["s0_b3_1_conv"]) == (52, 12, 9)
    assert widths["s0_b0_project_conv"] == 24  # the multiplier takes 40 to 20, rounded up to eights


def test_blocks_of_stride_two_are_not_folded():
    block = BlockSpec(stride=2)
    arch = ArchSpec(16, (StageSpec((block, block), 2),), 32, resolution=64)
    assert [b.stride for b in from_text(to_text(arch)).stages[0].blocks] == [2, 2]


def test_order_of_parts_and_spaces_do_not_matter():
    shuffled = "  input_w1_n10_r32   stem_c16_s2\tir_c40_e6_s1_k3_r2_se0.25 head_c96 \n"
    assert from_text(shuffled) == from_text(GOOD)


STAGE = "ir_r2_k3_s1_e6_c40_se0.25"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (GOOD, "", "''"),
        (GOOD, "stem_s2_c16", "'stem_s2_c16'"),
        (f"{STAGE} ", "", "input_r32_n10_w1"),  # no stage
        ("input_r32_n10_w1", "inputs_r32_n10_w1", "'inputs_r32_n10_w1'"),
        ("input_r32_n10_w1", "input_r32_n10", "'input_r32_n10'"),
        ("input_r32_n10_w1", "input_r32_n10_w1_w1", "'input_r32_n10_w1_w1'"),
        ("input_r32_n10_w1", "input_r32_n10_c1", "'input_r32_n10_c1'"),
        ("input_r32_n10_w1", "input_r_n10_w1", "'input_r_n10_w1'"),
        ("input_r32_n10_w1", "input_r-32_n10_w1", "'input_r-32_n10_w1'"),
        ("input_r32_n10_w1", "input_r32_n10_wnan", "'input_r32_n10_wnan'"),
        ("input_r32_n10_w1", "input_r32_n10_w1e3", "'input_r32_n10_w1e3'"),
        ("input_r32_n10_w1", "input_r32_n10_w٣", "'input_r32_n10_w٣'"),  # an Arabic digit three
        ("r32_n10", "r32.5_n10", "resolution: 32.5"),
        ("r32_n10", "r4_n10", "resolution: 4"),
        ("r32_n10", "r32_n1", "num_classes: 1"),
        ("r32_n10", f"r{'9' * 5000}_n10", "'input_r9"),
        ("_w1", "_w0", "width_multiplier: 0"),
        ("stem_s2_c16", "stem_c16", "'stem_c16'"),
        ("stem_s2_c16", "stem_s3_c16", "stem_stride: 3"),
        ("stem_s2_c16", "stem_s2_c16.5", "stem_channels: 16.5"),
        ("head_c96", "head", "'head'"),
        ("head_c96", "head_c96_u0", "head_units: 0"),
        ("head_c96", "head_c96_scores_flatten", "'head_c96_scores_flatten'"),
        ("head_c96", "head_c96_unorm", "head_norm: True"),
        ("_w1", "_w1_nobn_biasbn", "'input_r32_n10_w1_nobn_biasbn'"),
        (STAGE, "ir", "'ir'"),
        (STAGE, "", "input_r32_n10_w1"),
        (STAGE, "ir_r2_k3_s1_e6", "'ir_r2_k3_s1_e6'"),  # no channels: no default may be taken silently
        (STAGE, "ir_k3_s1_e6_c40", "'ir_k3_s1_e6_c40'"),
        (STAGE, "ir_r2_k3_k5_s1_e6_c40", "'ir_r2_k3_k5_s1_e6_c40'"),
        (STAGE, "ir_r2_k3_s1_e6_c40_relu_relu", "'ir_r2_k3_s1_e6_c40_relu_relu'"),
        (STAGE, "ir_r2_k3_s1_e6_c40_noskip_noskip", "'ir_r2_k3_s1_e6_c40_noskip_noskip'"),
        (STAGE, "ir_r2_k3_s1_e6_c40_x1", "'x1'"),
        (STAGE, "ir_r2_k3_s1_e6_c40_n5", "'n5'"),
        (STAGE, "ir_r2_k3_s1_e6_c40_", "''"),
        (STAGE, "ir_r2_k3_s1_e6_c40+", "''"),
        (STAGE, "ir_r2_k3_s1_e6_c40__relu", "''"),
        (STAGE, "ir_r2_k3_s1_e6_c40_RELU", "'RELU'"),
        (STAGE, "mb_r2_k3_s1_e6_c40", "op: 'mb'"),
        (STAGE, "ir_r0_k3_s1_e6_c40", "r: 0"),
        (STAGE, "ir_r1.5_k3_s1_e6_c40", "r: 1.5"),
        (STAGE, "ir_r999999999_k3_s1_e6_c40", "r: 999999999"),
        (STAGE, "ir_r2_k4_s1_e6_c40", "kernel_size: 4"),
        (STAGE, "ir_r2_k3.5_s1_e6_c40", "kernel_size: 3.5"),
        (STAGE, "ir_r2_k3_s3_e6_c40", "stride: 3"),
        (STAGE, "ir_r2_k3_s1.5_e6_c40", "stride: 1.5"),
        (STAGE, "ir_r2_k3_s1_e0.5_c40", "expand_ratio: 0.5"),
        (STAGE, "ir_r2_k3_s1_e6_c40.5", "out_channels: 40.5"),
        (STAGE, "ir_r2_k3_s1_e6_c40_se2", "se_ratio: 2"),
        (STAGE, "ir_r2_k3_s1_h0_c40", "lacks e"),
        (STAGE, "ir_r2_k3_s1_h24.5_c40", "hidden_channels: 24.5"),
        (STAGE, "ir_r2_k3_s1_e6_c40_q99999", "se_channels: 99999"),
        (STAGE, "ds_r2_k3_s1_h24_c40", "'h24'"),
    ],
)
def test_malformed_text_is_refused_in_one_line(old, new, named):
    text = GOOD.replace(old, new)
    assert text != GOOD
    with pytest.raises(UsageError) as caught:
        from_text(text)
    message = str(caught.value)
    assert message.startswith("architecture")
    assert named in message
    assert "\n" not in message


@given(st.text(alphabet="inputsemhadr_0123456789.+kclwoe ", max_size=60) | st.text(max_size=30))
def test_any_other_text_raises_nothing_but_usage_errors(text):
    for candidate in (text, GOOD.replace(STAGE, text), GOOD.replace("head_c96", text), GOOD + text):
        try:
            arch = from_text(candidate)
        except UsageError as error:
            assert "\n" not in str(error)
        else:
            assert from_text(to_text(arch)) == arch
