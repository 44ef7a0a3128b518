"""The form of a network that XNNPACK runs sparse: explicit padding before strides, a pooling that keeps its shape."""

from __future__ import annotations

import dataclasses
import json

import pytest

from core.errors import UsageError
from core.spec_io import canonical_json, from_plain
from search.arch import ArchSpec, canonical
from search.cost import cost
from search.grammar import from_text, to_text
from search.layers import Layer
from search.lowering import layers_of
from search.named import space

TEXT = "input_r32_n10_w1_xnnpack stem_s2_c16 ir_r2_k5_s2_e4_c24 ds_r1_k3_s1_c32 head_c64_u16"


def layers(arch: ArchSpec) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers_of(arch)}


def plain(arch: ArchSpec) -> ArchSpec:
    return dataclasses.replace(arch, form="plain")


def test_form_survives_text_and_json() -> None:
    arch = from_text(TEXT)
    assert (arch.form, to_text(arch)) == ("xnnpack", TEXT)
    assert from_plain(ArchSpec, json.loads(canonical_json(arch))) == arch == canonical(arch)
    assert "xnnpack" not in to_text(plain(arch))


def test_only_strided_convolutions_are_padded_explicitly() -> None:
    found = layers(from_text(TEXT))
    pads = {name: layer.pixels for name, layer in found.items() if layer.kind == "pad"}
    assert pads == {"stem_pad": 1, "s0_b0_dw_pad": 2}
    assert {name for name, layer in found.items() if layer.padding == "valid"} == {"stem_conv", "s0_b0_dw"}
    assert (found["pool"].keepdims, found["units0"].inputs) == (True, ("flatten",))


@pytest.mark.parametrize("resolution", [31, 32, 33])
def test_shapes_and_costs_are_those_of_the_plain_form(resolution: int) -> None:
    arch = dataclasses.replace(from_text(TEXT), resolution=resolution)
    ours, theirs = layers(arch), layers(plain(arch))
    for name in theirs.keys() - {"pool"}:
        assert ours[name].out_shape == theirs[name].out_shape
    assert (cost(arch).macs, cost(arch).params) == (cost(plain(arch)).macs, cost(plain(arch)).params)


@pytest.mark.parametrize("tokens", ["stem_s1_c16", "stem_s2_c0"])
def test_a_network_that_could_not_be_sparse_is_refused(tokens: str) -> None:
    with pytest.raises(UsageError, match=r"form: 'xnnpack' is not legal; expected 'plain' without a stem of stride 2"):
        from_text(TEXT.replace("stem_s2_c16", tokens))


def test_space_has_kernels_of_three_and_five_pixels_alone() -> None:
    named = space("mobilenet_v2_small_xnnpack", 32, 10)
    assert named.template.form == "xnnpack"
    sizes = {gene.choices for gene in named.genes if gene.path.endswith("kernel_size")}
    assert sizes == {(3, 5)}
    others = space("mobilenet_v2_small", 32, 10)
    assert {gene.path for gene in named.genes} == {gene.path for gene in others.genes}
