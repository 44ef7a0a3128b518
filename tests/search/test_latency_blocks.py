"""Networks cut into blocks: which keys, what they stand for, and that a space's blocks are all of its networks'."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter

import pytest

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import layer_costs
from search.grammar import from_text
from search.latency.blocks import block_layers, blocks_of, carrier, io_types, is_chainable, output_shape
from search.latency.isolate import block_us, file_overhead_us
from search.latency.reachable import distinct_blocks
from search.lowering import layers_of
from search.named import network, space
from search.sampling import random_genotype
from search.space import SearchSpace
from search.spaces import SPACES

NET = "input_r32_n10_w1 stem_s2_c16 ir_r2_k3_s2_e4_c24 id_r1_s1_c24+ir_r1_k5_s1_e4_c24_noskip head_c96"
MEASURABLE = sorted(set(SPACES) - {"nasbench201"})


def test_keys_of_a_network_say_what_decides_its_latency():
    keys = [key.text for key in blocks_of(from_text(NET), "int8")]
    assert keys == [
        "int8 32x32x3 stem_s2_c16",
        "int8 16x16x16 ir_r1_k3_s2_e4_c24",
        "int8 8x8x24 ir_r1_k3_s1_e4_c24",
        "int8 8x8x24 ir_r1_k5_s1_e4_c24_noskip",
        "int8 8x8x24 head_c96 n10",
    ]


def test_a_width_multiplier_is_in_the_channels():
    wide = from_text(NET.replace("_w1 ", "_w1.5 "))
    keys = blocks_of(wide, "float32")
    assert keys[1].text == "float32 16x16x24 ir_r1_k3_s2_e4_c40"  # 24 * 1.5 = 36, rounded to a multiple of 8
    assert keys[1] in blocks_of(from_text("input_r32_n10_w1 stem_s2_c24 ir_r1_k3_s2_e4_c40 head_c8"), "float32")


def test_a_skip_that_no_shape_allows_makes_no_other_block():
    grow = BlockSpec("ir", out_channels=32)
    stages = [StageSpec((dataclasses.replace(grow, skip=skip), grow), 2) for skip in (True, False)]
    assert len({blocks_of(ArchSpec(16, (stage,), 0, resolution=32), "int8")[1] for stage in stages}) == 1


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2", "resnet8"])
def test_the_blocks_of_a_network_have_its_layers(name):
    arch = network(name, 32 if name == "resnet8" else 224, 10)
    parts = [layer for key in blocks_of(arch, "int8") for layer in layer_costs(block_layers(key))]

    def kinds(costs):
        layers = [(item.layer, item.macs) for item in costs if item.layer.kind != "input"]
        return Counter((layer.kind, layer.out_shape, layer.stride, macs) for layer, macs in layers)

    assert kinds(parts) == kinds(layer_costs(layers_of(arch)))


@pytest.mark.parametrize("name", MEASURABLE)
def test_the_blocks_of_a_space_are_those_of_its_networks(name):
    searched = space(name, 64, 10)
    keys = distinct_blocks(searched, "int8")
    texts = {key.text for key in keys}
    assert len(texts) == len(keys)
    assert len({block_layers(key) for key in keys}) == len(keys)  # none is measured twice
    rng = random.Random(name)
    for _ in range(20):
        try:
            found = blocks_of(searched.decode(random_genotype(searched, rng)), "int8")
        except CandidateError:
            continue
        assert {key.text for key in found} <= texts


def test_every_block_of_a_small_space_is_reached():
    width = OneOf((8, 16), "width")
    blocks = (BlockSpec("ir", out_channels=width, stride=2), BlockSpec("ir", OneOf((3, 5)), out_channels=width))
    stages = (StageSpec(blocks, OneOf((1, 2))), StageSpec((BlockSpec("ds", out_channels=24),), 1))
    searched = SearchSpace("toy", ArchSpec(8, stages, OneOf((0, 32)), OneOf((1.0, 0.5)), OneOf((32, 64)), 10))
    genotypes = list(itertools.product((0, 1), repeat=len(searched.genes)))
    assert searched.size == len(genotypes)
    keys = {key for genotype in genotypes for key in blocks_of(searched.decode(genotype), "int8")}
    assert set(distinct_blocks(searched, "int8")) == keys  # none is missing, none more than networks have


def test_too_many_blocks_are_one_line():
    with pytest.raises(UsageError, match="space nasbench201: it has more than 100 distinct blocks"):
        distinct_blocks(space("nasbench201", 32, 10), "int8", limit=100)


def test_an_unknown_data_type_is_refused():
    with pytest.raises(UsageError, match="data type: 'int4' is not legal; expected one of float32, int8"):
        blocks_of(from_text(NET), "int4")


def test_copies_follow_one_another():
    _, first, second, *_, head = blocks_of(from_text(NET), "int8")
    assert [is_chainable(key) for key in (first, second, head)] == [False, True, False]
    once, thrice = block_layers(second), block_layers(second, copies=3)
    assert len(thrice) - 1 == 3 * (len(once) - 1)
    assert thrice[-1].out_shape == output_shape(second) == second.input_shape
    for key, copies in ((first, 2), (head, 2), (second, 0)):
        with pytest.raises(UsageError, match=rf"copies: {copies} is not legal; expected 1"):
            block_layers(key, copies)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 56])
def test_a_block_of_any_side_has_a_carrier(side):
    key = dataclasses.replace(blocks_of(from_text(NET), "int8")[2], height=side, width=side)
    layers = block_layers(key)
    assert layers[0].out_shape == (side, side, 24)
    (expand, *_) = (layer for layer in layers_of(carrier(key)) if layer.name == layers[1].name)
    assert expand.out_shape == layers[1].out_shape == (side, side, 96)


def test_files_of_parts_have_the_types_that_hold_no_conversions():
    stem, block, *_, head = blocks_of(from_text(NET), "int8")
    assert [io_types(key) for key in (stem, block, head)] == [("uint8", "int8"), ("int8", "int8"), ("int8", "uint8")]
    assert io_types(dataclasses.replace(stem, data_type="float32")) == ("float32", "float32")


def test_time_of_a_block_without_that_of_its_file():
    assert block_us(30.0, 90.0, 4) == pytest.approx(20)
    assert block_us(30.0, 29.0, 4) == 0  # noise: no block takes less than no time
    assert file_overhead_us([(30.0, 90.0, 4), (12.0, 14.0, 2), (50.0, 98.0, 4)]) == pytest.approx(10)
    with pytest.raises(UsageError, match="copies: 1 is not legal; expected 2 or more"):
        block_us(1.0, 2.0, 1)
    with pytest.raises(UsageError, match="overhead of a file"):
        file_overhead_us([])
