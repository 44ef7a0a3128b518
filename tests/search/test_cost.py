"""The cost of a spec: by hand for a small network, and the peak of memory against a walk that frees what is used up."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CandidateError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.blocks import layers_of
from search.cost import cost
from search.layers import KINDS, Layer, LayerList
from search.spaces import SPACES, network, space


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
    # Without the addition the block's input is free by then; the stem's input and output are 192 + 128.
    assert cost(small(BlockSpec(expand_ratio=2, out_channels=8, skip=False))).peak_memory_bytes == 2 * 256


def peak_by_walking(layers: tuple[Layer, ...]) -> int:
    """Runs the network on paper: allocate each output, free each input once its last reader is done."""
    storage: dict[str, str] = {}
    for layer in layers:
        in_place = layer.kind in ("batch_norm", "activation")
        storage[layer.name] = storage[layer.inputs[0]] if in_place else layer.name
    readers = Counter(storage[name] for layer in layers if storage[layer.name] == layer.name for name in layer.inputs)
    alive: dict[str, int] = {}
    peak = 0
    for layer in layers:
        if storage[layer.name] != layer.name:
            continue
        alive[layer.name] = math.prod(layer.out_shape)
        peak = max(peak, sum(alive.values()))
        for name in layer.inputs:
            readers[storage[name]] -= 1
            if readers[storage[name]] == 0:
                del alive[storage[name]]
    assert set(alive) == {layers[-1].name}, "every tensor but the output was freed"
    return peak


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_peak_memory_agrees_with_a_walk(name, data):
    named = space(name, 64, 10)
    arch = named.decode(tuple(data.draw(st.integers(0, len(gene.choices) - 1)) for gene in named.genes))
    assert cost(arch).peak_memory_bytes == peak_by_walking(layers_of(arch))


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


def test_layers_have_unique_names_known_kinds_and_earlier_inputs():
    named = space("mobilenet_v2_small_se", 32, 10)
    largest = {gene.path: max(gene.choices) for gene in named.genes}  # with skip and squeeze-excite
    layers = layers_of(named.decode(named.genotype(largest)))
    assert (layers[-1].name, layers[-1].out_shape) == ("logits", (1, 1, 10))
    assert len({layer.name for layer in layers}) == len(layers)
    assert {layer.kind for layer in layers} == set(KINDS)
    seen: set[str] = set()
    for layer in layers:
        assert set(layer.inputs) <= seen
        seen.add(layer.name)
