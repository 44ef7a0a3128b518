"""Specs: what is refused, how channels are rounded, and that inactive places have no say in a network's id."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.spec_io import content_id
from search.arch import OPS, ArchSpec, BlockSpec, StageSpec, canonical, make_divisible
from search.choice import OneOf
from search.lowering import layers_of


def arch(*blocks: BlockSpec, depth: int | None = None, **fields: Any) -> ArchSpec:
    stage = StageSpec(blocks, len(blocks) if depth is None else depth)
    return ArchSpec(**{"stem_channels": 16, "stages": (stage,), "head_channels": 32, "resolution": 32, **fields})


BAD_BLOCKS = [
    ("op", "mb", "one of " + ", ".join(OPS)),
    ("op", None, "one of " + ", ".join(OPS)),
    ("kernel_size", 4, "one of 1, 3, 5, 7"),
    ("kernel_size", 3.0, "one of 1, 3, 5, 7"),
    ("kernel_size", True, "one of 1, 3, 5, 7"),
    ("kernel_size", "3", "one of 1, 3, 5, 7"),
    ("stride", 3, "one of 1, 2"),
    ("stride", 0, "one of 1, 2"),
    ("activation", "gelu", "one of relu6, relu, hswish, swish, linear"),
    ("skip", 1, "one of True, False"),
    ("skip", "yes", "one of True, False"),
    ("expand_ratio", 0.5, "a number from 1 to 64"),
    ("expand_ratio", math.nan, "a number from 1 to 64"),
    ("expand_ratio", "6", "a number from 1 to 64"),
    ("out_channels", 0, "a whole number from 1 to 65536"),
    ("out_channels", 16.5, "a whole number from 1 to 65536"),
    ("out_channels", 16.0, "a whole number from 1 to 65536"),
    ("out_channels", True, "a whole number from 1 to 65536"),
    ("se_ratio", -0.1, "a number from 0 to 1"),
    ("se_ratio", 1.1, "a number from 0 to 1"),
    ("groups", 0, "a whole number from 1 to 1024"),
    ("start_kernel_size", 1, "one of 0, 3, 5, 7"),
    ("padding", "full", "one of same, valid, explicit"),
    ("hidden_channels", -1, "a whole number from 0 to 65536"),
    ("hidden_channels", 8.0, "a whole number from 0 to 65536"),
    ("se_channels", True, "a whole number from 0 to 65536"),
]


@pytest.mark.parametrize(("name", "value", "legal"), BAD_BLOCKS)
@pytest.mark.parametrize("in_choice", [False, True])
def test_bad_block_is_refused(name, value, legal, in_choice):
    """Also as one choice of a template."""
    place = OneOf((getattr(BlockSpec(), name), value)) if in_choice and value not in (1, True, 3.0, 16.0) else value
    with pytest.raises(UsageError) as caught:
        BlockSpec(**{name: place})
    assert str(caught.value) == f"{name}: {value!r} is not legal; expected {legal}"


def test_a_choice_must_be_legal_for_each_operator_that_reads_it():
    """Else a search would end in the middle, at the first candidate that combines them."""
    with pytest.raises(UsageError, match=r"^kernel_size: 11 is not legal; expected one of 1, 3, 5, 7$"):
        BlockSpec(OneOf(("conv", "ir")), OneOf((11, 3)))
    BlockSpec(OneOf(("ir", "id")), OneOf((3, 7)))  # an identity reads no kernel


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem_channels": -1}, "stem_channels: -1 is not legal; expected a whole number from 0 to 65536"),
        ({"stem_channels": 8.5}, "stem_channels: 8.5 is not legal; expected a whole number from 0 to 65536"),
        ({"head_channels": "8"}, "head_channels: '8' is not legal; expected a whole number from 0 to 65536"),
        ({"head_units": (0,)}, "head_units: 0 is not legal; expected a whole number from 1 to 65536"),
        ({"head_norm": True}, "head_norm: True is not legal; expected False where no hidden layer follows a mean"),
        (
            {"pooling": "scores", "head_units": (8,)},
            "head_units: (8,) is not legal; expected none where the scores are pooled",
        ),
        ({"pooling": "max"}, "pooling: 'max' is not legal; expected one of mean, flatten, scores"),
        ({"norm": "gn"}, "norm: 'gn' is not legal; expected one of bn, bias_bn, bias"),
        ({"width_multiplier": 0.0}, "width_multiplier: 0.0 is not legal; expected a number from 0.05 to 20"),
        ({"width_multiplier": math.inf}, "width_multiplier: inf is not legal; expected a number from 0.05 to 20"),
        ({"resolution": 7}, "resolution: 7 is not legal; expected a whole number from 8 to 4096"),
        ({"resolution": 32.5}, "resolution: 32.5 is not legal; expected a whole number from 8 to 4096"),
        ({"num_classes": 1}, "num_classes: 1 is not legal; expected a whole number from 2 to 1e+06"),
        ({"num_classes": 2.5}, "num_classes: 2.5 is not legal; expected a whole number from 2 to 1e+06"),
        ({"stem_stride": 4}, "stem_stride: 4 is not legal; expected one of 1, 2"),
        ({"stages": ()}, "stages: () is not legal; expected at least one stage"),
    ],
)
def test_bad_network_is_refused(fields, message):
    with pytest.raises(UsageError) as caught:
        arch(BlockSpec(), **fields)
    assert str(caught.value) == message


@pytest.mark.parametrize("depth", [0, 3, 1.5, OneOf((1, 3)), True])
def test_bad_depth_is_refused(depth):
    with pytest.raises(UsageError, match=r"^depth: .* is not legal; expected a whole number from 1 to 2$"):
        StageSpec((BlockSpec(), BlockSpec()), depth)


def test_empty_stage_and_empty_choice_are_refused():
    with pytest.raises(UsageError, match="expected at least one block"):
        StageSpec((), 0)
    with pytest.raises(UsageError, match="expected at least one choice"):
        OneOf(())
    with pytest.raises(UsageError, match="holds a choice twice"):
        OneOf((1, 2, 1))


# MobileNet's published channel counts, of width multipliers 0.35 to 1.4.
@pytest.mark.parametrize(
    ("channels", "rounded"),
    [
        (32 * 0.35, 16),
        (16 * 0.35, 8),
        (24 * 0.35, 8),
        (32 * 0.75, 24),
        (24 * 1.3, 32),
        (96 * 1.4, 136),
        (1, 8),
        (12, 16),
    ],
)
def test_make_divisible_by_hand(channels, rounded):
    assert make_divisible(channels) == rounded


@given(st.floats(1, 1e5))
def test_make_divisible_rounds_to_eights_and_loses_at_most_a_tenth(channels):
    rounded = make_divisible(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) <= 8


def test_canonical_drops_blocks_beyond_the_depth():
    base = BlockSpec(out_channels=16)
    one = arch(base, BlockSpec(kernel_size=5), depth=1)
    other = arch(base, BlockSpec(kernel_size=7, se_ratio=0.5), BlockSpec(), depth=1)
    assert content_id(canonical(one)) == content_id(canonical(other)) == content_id(canonical(arch(base)))
    assert canonical(one).stages[0].depth == len(canonical(one).stages[0].blocks) == 1


@pytest.mark.parametrize(
    "block",
    [BlockSpec(out_channels=16, stride=2), BlockSpec(out_channels=24), BlockSpec(out_channels=32, stride=2)],
)
def test_skip_has_no_say_where_the_shapes_forbid_it(block):
    without = dataclasses.replace(block, skip=False)
    assert layers_of(arch(block)) == layers_of(arch(without))
    assert content_id(canonical(arch(block))) == content_id(canonical(arch(without)))


def test_skip_counts_where_the_shapes_allow_it():
    block = BlockSpec(out_channels=16)
    without = dataclasses.replace(block, skip=False)
    assert layers_of(arch(block)) != layers_of(arch(without))
    assert content_id(canonical(arch(block))) != content_id(canonical(arch(without)))


def test_an_absolute_width_makes_the_ratio_inactive():
    """Also that of 1, which alone would leave the expansion out."""
    wide = BlockSpec("ir3", out_channels=16, hidden_channels=24, se_channels=4)
    ratios = dataclasses.replace(wide, expand_ratio=1, se_ratio=0.5)
    assert layers_of(arch(wide)) == layers_of(arch(ratios))
    assert canonical(arch(wide)) == canonical(arch(ratios))
    assert canonical(arch(wide)) != canonical(arch(dataclasses.replace(wide, hidden_channels=0)))
    unread = BlockSpec("ds", out_channels=16, hidden_channels=24, se_channels=4)
    assert canonical(arch(unread)) == canonical(arch(BlockSpec("ds", out_channels=16)))


def test_shapes_are_compared_after_rounding():
    """With a width multiplier of 0.5 both 16 and 17 become 8 channels, so the addition is possible."""
    block = BlockSpec(out_channels=17)
    narrow = arch(block, width_multiplier=0.5)
    assert narrow.scaled(16) == narrow.scaled(17) == 8
    assert "add" in {layer.kind for layer in layers_of(narrow)}
    assert canonical(arch(dataclasses.replace(block, skip=False), width_multiplier=0.5)) != canonical(narrow)


blocks = st.builds(
    BlockSpec,
    kernel_size=st.sampled_from((1, 3, 5, 7)),
    stride=st.sampled_from((1, 2)),
    expand_ratio=st.sampled_from((1, 2, 3.5)),
    out_channels=st.sampled_from((8, 16, 20)),
    se_ratio=st.sampled_from((0, 0.25)),
    activation=st.sampled_from(("relu", "relu6")),
    skip=st.booleans(),
)
stages = st.lists(blocks, min_size=1, max_size=3).flatmap(
    lambda row: st.builds(StageSpec, st.just(tuple(row)), st.integers(1, len(row)))
)
archs = st.builds(
    ArchSpec,
    stem_channels=st.sampled_from((8, 16)),
    stages=st.lists(stages, min_size=1, max_size=2).map(tuple),
    head_channels=st.just(32),
    width_multiplier=st.sampled_from((0.5, 1, 1.4)),
    resolution=st.just(128),
    num_classes=st.just(10),
)


@given(archs)
def test_canonical_is_the_same_network_and_changes_nothing_twice(network):
    once = canonical(network)
    assert canonical(once) == once
    assert content_id(canonical(once)) == content_id(once)
    assert layers_of(once) == layers_of(network)


@given(archs, archs)
def test_networks_of_one_layer_list_have_one_id(first, second):
    """Same macro settings and same layers: then nothing that is left in the canonical spec may differ."""
    second = dataclasses.replace(second, stem_channels=first.stem_channels, width_multiplier=first.width_multiplier)
    if content_id(canonical(first)) == content_id(canonical(second)):
        assert layers_of(first) == layers_of(second)


def test_an_identity_that_changes_nothing_is_taken_out():
    """Wherever it stands among the blocks of a stage; one that changes the shape is a block, and no stage is empty."""
    wide, nothing = BlockSpec("ir", out_channels=16), BlockSpec("id", out_channels=16)

    def canonical_blocks(*blocks: BlockSpec) -> tuple[BlockSpec, ...]:
        arch = ArchSpec(16, (StageSpec(blocks, len(blocks)),), 32, resolution=32, num_classes=10)
        return canonical(arch).stages[0].blocks

    assert canonical_blocks(nothing, wide, nothing) == canonical_blocks(wide, nothing) == canonical_blocks(wide)
    assert [block.op for block in canonical_blocks(BlockSpec("id", out_channels=24), wide)] == ["id", "ir"]
    assert [block.op for block in canonical_blocks(BlockSpec("id", stride=2, out_channels=16), wide)] == ["id", "ir"]
    assert canonical_blocks(nothing, nothing) == canonical_blocks(nothing)
    assert [block.op for block in canonical_blocks(nothing)] == ["id"]


@pytest.mark.parametrize(
    ("edges", "used"),
    [
        # 0->1, 0->2, 1->2, 0->3, 1->3, 2->3
        (("conv3x3", "none", "none", "skip", "none", "none"), ("none", "none", "none", "skip", "none", "none")),
        (("none", "skip", "conv3x3", "none", "conv1x1", "skip"), ("none", "skip", "none", "none", "none", "skip")),
        (("skip",) * 6, ("skip",) * 6),
        (("skip", "none", "skip", "none", "none", "none"), ("none",) * 6),
    ],
)
def test_edges_on_no_path_of_a_cell_are_taken_out(edges, used):
    cell = BlockSpec("cell", out_channels=16, edges=edges)
    arch = ArchSpec(16, (StageSpec((cell,), 1),), 0, resolution=32, num_classes=10, stem_stride=1)
    assert canonical(arch).stages[0].blocks[0].edges == used
