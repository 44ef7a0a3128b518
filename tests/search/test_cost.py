"""The cost of a spec, by hand for small networks; tests/deploy/test_cost_converted.py compares it with real files."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.errors import CandidateError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.cost import cost
from search.grammar import from_text
from search.layers import KINDS, LayerList
from search.lowering import layers_of
from search.named import network, space
from search.spaces import SPACES
from search.tflite_plan import IMAGE, SCORES, operators_of


def small(*blocks: BlockSpec) -> ArchSpec:
    return ArchSpec(8, (StageSpec(blocks, len(blocks)),), 16, resolution=8, num_classes=10)


def test_macs_and_params_by_hand():
    """8x8 input, stem to 4x4x8, one block (expand to 16, 3x3, project to 8, add), head 16, 10 classes."""
    computed = cost(small(BlockSpec(expand_ratio=2, out_channels=8)))
    assert computed.macs == 4 * 4 * (8 * 9 * 3 + 16 * 8 + 16 * 9 + 8 * 16 + 16 * 8) + 16 * 10
    kernels = 8 * 9 * 3 + 16 * 8 + 16 * 9 + 8 * 16 + 16 * 8 + 16 * 10
    assert computed.params == kernels + 4 * (8 + 16 + 16 + 8 + 16) + 10


def test_squeeze_excite_by_hand():
    """A gate on 16 hidden channels, 0.25 of the block's 8 input channels wide, both convolutions with bias."""
    block = BlockSpec(expand_ratio=2, out_channels=8)
    gated = cost(small(BlockSpec(expand_ratio=2, out_channels=8, se_ratio=0.25)))
    plain = cost(small(block))
    assert gated.macs - plain.macs == 16 * 2 + 2 * 16
    assert gated.params - plain.params == 16 * 2 + 2 + 2 * 16 + 16


def test_no_expansion_for_a_ratio_of_one():
    kinds = Counter(layer.kind for layer in layers_of(small(BlockSpec(expand_ratio=1, out_channels=8))))
    assert (kinds["conv"], kinds["depthwise"], kinds["add"]) == (3, 1, 1)


def test_peak_memory_by_hand():
    """Depthwise over 16 channels of 4x4 while the block's input waits for the addition: 2 x 256 + 128 bytes."""
    assert cost(small(BlockSpec(expand_ratio=2, out_channels=8))).peak_memory_bytes == 2 * 256 + 128
    # Without the addition the block's input is free by then; the image as bytes and quantized is 2 x 192.
    assert cost(small(BlockSpec(expand_ratio=2, out_channels=8, skip=False))).peak_memory_bytes == 2 * 256
    # A hard swish is an operator of its own, with two tensors of 256 bytes.
    block = BlockSpec(expand_ratio=2, out_channels=8, skip=False, kernel_size=5, activation="hswish")
    assert cost(small(block)).peak_memory_bytes == 2 * 256


def test_operators_by_hand():
    """MobileNetV3's block: batch norms fold, ReLUs fuse; the gate is a clipped convolution times 1/6."""
    block = BlockSpec(op="ir3", expand_ratio=2, out_channels=8, se_ratio=0.25, activation="hswish")
    operators = [(operator.name, operator.output_bytes) for operator in operators_of(layers_of(small(block)))]
    assert operators == [
        ("QUANTIZE", 192),
        ("CONV_2D", 128),
        ("CONV_2D", 256),
        ("HARD_SWISH", 256),
        ("DEPTHWISE_CONV_2D", 256),
        ("HARD_SWISH", 256),
        ("MEAN", 16),
        ("CONV_2D", 8),
        ("CONV_2D", 16),
        ("MUL", 16),
        ("MUL", 256),
        ("CONV_2D", 128),
        ("ADD", 128),
        ("CONV_2D", 256),
        ("MEAN", 16),
        ("FULLY_CONNECTED", 10),
        ("SOFTMAX", 10),
        ("QUANTIZE", 10),
    ]


def test_a_branch_runs_to_its_end_before_the_next():
    """A fire module's narrow half is there while the wide one is computed, after the squeezed input."""
    operators = operators_of(layers_of(small(BlockSpec(op="fire", out_channels=16))))
    squeeze, narrow, wide, joined = operators[2:6]
    assert narrow.inputs == wide.inputs == (squeeze.output,)
    assert joined.inputs == (narrow.output, wide.output)


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=25)
@given(st.data())
def test_peak_memory_agrees_with_a_walk(name, data):
    """The walk looks at every moment anew: what was made by then and is read then or later."""
    named = space(name, 64, 10)
    arch = named.decode(tuple(data.draw(st.integers(0, len(gene.choices) - 1)) for gene in named.genes))
    try:
        operators = operators_of(layers_of(arch))
    except CandidateError:  # a cell without a path through it
        assume(name != "nasbench201")
        raise
    made = {IMAGE: (0, operators[0].output_bytes)}
    read = {}
    for now, operator in enumerate(operators):
        assert made.keys() >= set(operator.inputs)
        read |= dict.fromkeys(operator.inputs, now)
        made[operator.output] = now, operator.output_bytes
    assert made.keys() - read.keys() == {SCORES}
    alive = [
        sum(size for name, (when, size) in made.items() if when <= now <= read.get(name, now))
        for now in range(len(operators))
    ]
    assert cost(arch).peak_memory_bytes == max(alive)


@given(st.integers(100, 1000))  # more than any layer has channels
def test_a_class_more_in_the_file(num_classes):
    """A row of 16 int8 weights and an int32 bias, each with a scale (4 bytes); both have their zero points (8) at one
    place."""
    sizes = [
        cost(dataclasses.replace(small(BlockSpec()), num_classes=number)).int8_size_bytes
        for number in (num_classes, num_classes + 1)
    ]
    assert sizes[1] - sizes[0] == 16 + 4 + 2 * 4 + 8


def test_peak_memory_of_mobilenet_v2():
    """The paper's section 5: the expanded 112x112 tensors of the first inverted residual with expansion dominate."""
    assert cost(network("mobilenet_v2", 224, 1000)).peak_memory_bytes == 96 * 112 * 112 + 96 * 56 * 56


@given(st.integers(8, 100), st.sampled_from((1, 2)), st.sampled_from((1, 3, 5, 7)))
def test_same_padding_keeps_or_halves_the_side_rounding_up(resolution, stride, kernel_size):
    layers = LayerList(resolution)
    side = math.ceil(resolution / stride)
    assert layers.shape(layers.conv("c", "image", 5, kernel_size, stride)) == (side, side, 5)
    assert layers.shape(layers.depthwise("d", "image", kernel_size, stride)) == (side, side, 3)


def test_a_stride_beyond_the_image_is_refused_by_name():
    layers = LayerList(8)
    pooled = layers.global_pool("pool", "image")
    with pytest.raises(CandidateError, match=r"^late: stride 2 does not fit an input of 1x1 pixels$"):
        layers.conv("late", pooled, 4, 3, 2)


def test_a_sum_of_two_shapes_is_refused_by_name():
    """NAS-Bench-201's reduction pools without padding: of 15 pixels 7 are left, of the convolution's 8."""
    with pytest.raises(CandidateError, match=r"^s0_b0_add: the shapes 7x7x16 and 8x8x16 cannot be added$"):
        layers_of(ArchSpec(8, (StageSpec((BlockSpec(op="reduce", out_channels=16),), 1),), 16, resolution=30))


def test_layers_have_unique_names_known_kinds_and_earlier_inputs():
    text = (
        "input_r32_n10_w1 stem_s2_c8 ir3_r2_k3_s1_e2_c8_se0.25 shuffle2_r1_k3_s1_c8 max_r1_k3_s2_explicit "
        "avg_r1_k2_s1 head_c0_u7_unorm"
    )
    layers = layers_of(from_text(text))
    assert (layers[-1].name, layers[-1].out_shape) == ("logits", (1, 1, 10))
    assert len({layer.name for layer in layers}) == len(layers)
    assert {layer.kind for layer in layers} == set(KINDS)
    seen: set[str] = set()
    for layer in layers:
        assert set(layer.inputs) <= seen
        seen.add(layer.name)
