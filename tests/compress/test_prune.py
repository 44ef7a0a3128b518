from __future__ import annotations

import dataclasses

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import (
    Invariants,
    check,
    fewest_zeros,
    keeps_pattern,
    kernel_variable,
    observe,
    tflite_rows,
)
from compress.passes.cluster import Cluster
from compress.passes.contract import CompressPass
from compress.passes.prune import Prune, layer_sparsities
from compress.passes.quantize import Quantize
from compress.settings import ClusterSettings, PruneSettings, QuantizeSettings
from compress.storage import copy_of
from compress.xnnpack import sparse_layers
from core.errors import CandidateError, InvariantError
from search.build import build
from search.grammar import from_text
from tests.compress.nets import blob_images, fine_tune, small_network

PATTERN = PruneSettings(0.0, 0.5, pattern="2:4", schedule="constant")
SPARSE_FORM = "input_r12_n4_w1_xnnpack stem_s2_c8 {blocks} head_c16"


def applied(compress_pass: CompressPass, model: keras.Model, earlier: Invariants) -> tuple[keras.Model, Invariants]:
    """The model after one step of training, and all that is promised of it."""
    one_step = fine_tune(blob_images(64), epochs=1, batch_size=64)
    wrapped = compress_pass.wrap(copy_of(model), earlier, one_step)
    one_step.run(wrapped, compress_pass.callbacks(), "pass")
    return copy_of(compress_pass.strip(wrapped)), earlier.merged(compress_pass.promises())


def test_each_layer_gets_its_sparsity_depthwise_ones_too() -> None:
    settings = PruneSettings(0.3, 0.5, exclude=("stem_*",), depthwise=True, layers=(("head_*", 0.9), ("*_dw", 0.25)))
    model, promised = applied(Prune(settings), small_network(), Invariants())
    states = {state.layer: state for state in observe(model)}
    assert states["stem_conv"].sparsity == 0.0
    wanted = {"head_conv": 0.9, "s0_b0_dw": 0.25, "logits": 0.5, "s0_b0_se_reduce": 0.5}
    for layer, sparsity in wanted.items():
        assert states[layer].sparsity == pytest.approx(sparsity, abs=1 / states[layer].size)  # within one weight
        assert dict(promised.sparsity)[layer] == pytest.approx(sparsity, abs=2 / states[layer].size)
    check(states.values(), promised, "prune")


def test_a_constant_schedule_ends_at_its_sparsity() -> None:
    fine = fine_tune(blob_images(64), epochs=2, batch_size=8)  # 16 steps
    prune = Prune(PruneSettings(0.2, 0.8, schedule="constant"))
    wrapped = prune.wrap(small_network(), Invariants(), fine)
    fine.run(wrapped, prune.callbacks(), "prune")
    for state in observe(prune.strip(wrapped)):
        if state.layer != "s0_b0_dw":
            assert state.sparsity == pytest.approx(0.8, abs=1 / state.size)  # within one weight


def test_pattern_holds_in_each_block_and_through_the_passes_after_it() -> None:
    model, promised = applied(Prune(dataclasses.replace(PATTERN, depthwise=True)), small_network(), Invariants())
    for state in observe(model, promised.patterns):
        assert state.pattern == "2:4"
    kernel = kernel_variable(model.get_layer("head_conv")).numpy()
    np.testing.assert_array_equal(np.count_nonzero(kernel.reshape(2, 4, 32), axis=1), 2)  # 8 input channels
    stem = kernel_variable(model.get_layer("stem_conv")).numpy()
    np.testing.assert_array_equal(np.count_nonzero(stem, axis=2), 2)  # of 3: the fourth counts as zero
    assert dict(promised.sparsity)["stem_conv"] == pytest.approx(1 / 3)
    assert dict(promised.patterns)["head_conv"] == "2:4"

    model, promised = applied(Cluster(ClusterSettings(6, depthwise=True)), model, promised)
    check(observe(model, promised.patterns), promised, "cluster")
    before = kernel_variable(model.get_layer("s0_b0_dw")).numpy()
    quantized, promised = applied(Quantize(QuantizeSettings()), model, promised)
    check(observe(quantized, promised.patterns), promised, "quantize")
    after = kernel_variable(quantized.get_layer("quant_s0_b0_dw")).numpy()
    assert not np.array_equal(before, after)  # its shared values moved, together


def test_a_kernel_of_fewer_channels_than_a_block_keeps_is_left_alone() -> None:
    image = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(2, 3, name="narrow")(image)
    model = keras.Model(image, keras.layers.Conv2D(4, 1, name="on_two")(x))
    assert layer_sparsities(model, PATTERN, blob_images(8)) == {"narrow": pytest.approx(1 / 3)}


def test_a_broken_pattern_is_named() -> None:
    model = small_network()
    required = Invariants(patterns=(("logits", "1:4"),))
    with pytest.raises(InvariantError, match=r"after pass 'cluster' layer 'logits' has the pattern 0:4, required 1:4"):
        check(observe(model, required.patterns), required, "cluster")


def test_fewest_zeros_counts_along_the_channels_of_a_tflite() -> None:
    rows = np.array([[0, 1, 0, 2, 5], [0, 0, 3, 3, 0]])
    assert fewest_zeros(rows, 4) == 2  # the last block is filled up with zeros
    assert fewest_zeros(rows, 2) == 0
    assert fewest_zeros(rows + 7, 4, zero=7) == 2
    kernel = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)
    np.testing.assert_array_equal(tflite_rows(kernel).reshape(4, 2, 3, 5), np.transpose(kernel, (3, 0, 1, 2)))


@pytest.mark.parametrize(
    ("found", "required", "keeps"),
    [("2:4", "2:4", True), ("3:4", "2:4", True), ("0:4", "2:4", False), ("4:8", "2:4", False), ("", "2:4", False)],
)
def test_keeps_pattern(found: str, required: str, keeps: bool) -> None:
    assert keeps_pattern(found, required) == keeps


def test_global_scope_meets_the_budget_and_spares_what_the_loss_depends_on() -> None:
    model, images = small_network(), blob_images(128)
    fine_tune(images, epochs=6, batch_size=32).run(model, (), "train")
    settings = PruneSettings(0.0, 0.6, scope="global", depthwise=True, layers=(("logits", 0.3),))
    found = layer_sparsities(model, settings, images)
    assert found == layer_sparsities(model, settings, images)
    assert found.pop("logits") == 0.3
    sizes = {state.layer: state.size for state in observe(model) if state.layer != "logits"}
    zeros = sum(found.get(name, 0.0) * size for name, size in sizes.items())
    assert zeros == pytest.approx(0.6 * sum(sizes.values()), rel=0.01)  # LEAST_TARGET drops up to half a per cent
    assert len({round(sparsity, 3) for sparsity in found.values()}) > 1
    check(observe(applied(Prune(settings), model, Invariants())[0]), Invariants(), "prune")


def test_nothing_to_prune_is_refused() -> None:
    with pytest.raises(CandidateError, match="nothing to prune"):
        Prune(PruneSettings(0.0, 0.5, exclude=("*",))).wrap(small_network(), Invariants(), fine_tune(blob_images(8)))


def sparse_network(blocks: str) -> keras.Model:
    reset(0)
    return build(from_text(SPARSE_FORM.format(blocks=blocks)))


def test_policy_prunes_the_1x1_convolutions_of_the_form_it_is_for() -> None:
    model = sparse_network("ir_r1_k3_s2_e2_c8 ir_r1_k5_s1_e2_c8_se0.25_relu")
    found, promised = applied(Prune(PruneSettings(0.0, 0.8, policy="xnnpack")), model, Invariants())
    pruned = dict(promised.sparsity)
    assert {"s0_b0_expand_conv", "s0_b0_project_conv", "s1_b0_se_reduce", "head_conv"} <= pruned.keys()
    assert not {"stem_conv", "logits", "s0_b0_dw"} & pruned.keys()
    for state in observe(found):
        least = 0.8 - 1 / state.size if state.layer in pruned else 0.0
        assert state.sparsity >= least
    assert found.get_layer("s0_b0_dw").padding == found.get_layer("stem_conv").padding == "valid"
    assert found.get_layer("s1_b0_dw").padding == "same"


@pytest.mark.parametrize(
    ("blocks", "layer"),
    [
        ("ir_r1_k3_s1_e2_c8 ir_r1_k7_s1_e2_c8", "'s1_b0_dw' (DepthwiseConv2D)"),
        ("ir_r1_k3_s1_e2_c8_hswish", "'s0_b0_expand_hswish' (HardSwish)"),
        ("ir3_r1_k3_s1_e2_c8_se0.25", "'s0_b0_se_hard_sigmoid' (HardSigmoid)"),
        ("fused_r1_k3_s1_e2_c8", "'s0_b0_fused_conv' (Conv2D)"),
        ("shuffle2_r1_k3_s2_c8_relu", "(Concatenate)"),
    ],
)
def test_what_xnnpack_cannot_run_sparse_is_named(blocks: str, layer: str) -> None:
    with pytest.raises(CandidateError) as error:
        sparse_layers(sparse_network(blocks))
    assert f"layer {layer}" in str(error.value) or layer in str(error.value)


def test_other_forms_are_refused() -> None:
    with pytest.raises(CandidateError, match=r"XNNPACK cannot run it sparse: .*stride 2x2.*form 'xnnpack'"):
        sparse_layers(small_network())


def test_too_few_zeros_for_xnnpack_are_refused() -> None:
    settings = PruneSettings(0.0, 0.6, policy="xnnpack")
    model = sparse_network("ir_r1_k3_s2_e2_c8")
    with pytest.raises(CandidateError, match=r"layer 's0_b0_expand_conv' would get a sparsity of 0\.6; XNNPACK"):
        layer_sparsities(model, settings, blob_images(8))
    settings = PruneSettings(0.0, 0.8, policy="xnnpack", layers=(("*_project_conv", 0.5),))
    with pytest.raises(CandidateError, match=r"layer 's0_b0_project_conv' would get a sparsity of 0\.5; XNNPACK"):
        layer_sparsities(model, settings, blob_images(8))
