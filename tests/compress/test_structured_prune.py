"""The pass of structured pruning on whole networks: the target, the text that is left, and what is refused."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.model_cost import model_cost
from compress.passes.structured_prune import StructuredPrune
from compress.settings import StructuredSettings
from compress.storage import assign_weights, named_weights
from compress.structured.statistics import BATCH_SIZE, renew_statistics
from core.errors import CandidateError
from search.build import build
from search.cost import cost
from search.grammar import from_text, to_text
from search.named import network as reference
from tests.compress.structured_nets import NETWORKS, fine_tune, network, other_model, settled, text_of


def prune(model: keras.Model, fraction: float, **settings: object) -> tuple[keras.Model, StructuredPrune]:
    compress_pass = StructuredPrune(StructuredSettings(fraction, **{"importance": "l1", **settings}))
    return compress_pass.strip(compress_pass.wrap(model, Invariants(), fine_tune(16))), compress_pass


def assert_text_is_the_network(smaller: keras.Model, text: str) -> None:
    """What the text describes has the same layers: with the weights by name it computes the same, bit for bit."""
    assert text
    arch = from_text(text)
    assert to_text(arch) == text
    rebuilt = build(arch)
    assign_weights(rebuilt, named_weights(smaller))
    images = np.random.default_rng(0).uniform(0, 1, (2, *smaller.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(rebuilt(images), smaller(images))
    assert (cost(arch).macs, cost(arch).params) == (model_cost(smaller).macs, model_cost(smaller).params)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_block_has_a_text_afterwards(name):
    model = network(name)
    smaller, compress_pass = prune(model, 0.75, channel_multiple=2, blocks=True)
    assert model_cost(smaller).macs <= 0.75 * model_cost(model).macs
    text = compress_pass.arch(text_of(name))
    assert_text_is_the_network(smaller, text)
    if name == "gates":  # a second round begins with that text
        again, second = prune(smaller, 0.8, channel_multiple=2)
        assert_text_is_the_network(again, second.arch(text))


def test_resnet8():
    assert_half_is_left("resnet8", "taylor", "macs", 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "importance", "metric"),
    [
        ("mobilenet_v2", "l1", "macs"),
        ("mobilenet_v2_small", "bn_gamma", "params"),
        ("mobilenet_v3_small", "taylor", "macs"),
        ("shufflenet_v2", "bn_gamma", "macs"),
        ("resnet50", "random", "macs"),
        ("squeezenet_1_1", "l1", "params"),
        ("mobilenet_v4_conv_small", "l1", "macs"),
        ("efficientnet_b0", "l1", "macs"),
    ],
)
def test_large_reference_networks(name, importance, metric):
    assert_half_is_left(name, importance, metric, 64)


def assert_half_is_left(name: str, importance: str, metric: str, resolution: int) -> None:
    arch = reference(name, resolution, 4)
    model = settled(build(arch), seed=1)
    images = fine_tune(8, resolution=resolution)
    compress_pass = StructuredPrune(StructuredSettings(0.5, metric, importance))
    smaller = compress_pass.wrap(model, Invariants(), images)
    left = getattr(model_cost(smaller), metric) / getattr(model_cost(model), metric)
    # One step of the widest layers is a few per cent of these networks.
    assert 0.45 <= left <= 0.5
    assert_text_is_the_network(smaller, compress_pass.arch(to_text(arch)))
    report = compress_pass.report
    assert (report.before, report.after) == (model_cost(model), model_cost(smaller))
    for layer, before, after in report.widths:
        assert (model.get_layer(layer).output_shape[-1], smaller.get_layer(layer).output_shape[-1]) == (before, after)
        assert after % 8 == 0 or name == "shufflenet_v2"  # whose shuffles tie channels in eights, of 58 at first


def test_blocks_go_before_all_their_channels_do():
    """In a deep stage of blocks that add nothing."""
    text = "input_r16_n4_w1 stem_s2_c16_relu basic_r5_k3_s1_c16_relu head_c0"
    model = settled(build(from_text(text)), seed=1)
    for block in (1, 3):
        model.get_layer(f"s0_b{block}_2_bn").gamma.assign(np.full(16, 1e-3))
    smaller, compress_pass = prune(model, 0.65, importance="bn_gamma", blocks=True)
    assert [layers[0] for layers in compress_pass.report.blocks] == ["s0_b1_1_conv", "s0_b3_1_conv"]
    pruned_text = compress_pass.arch(text)
    assert pruned_text == text.replace("basic_r5", "basic_r3")
    assert_text_is_the_network(smaller, pruned_text)


def test_a_stage_without_blocks_is_an_identity():
    text = "input_r16_n4_w1 stem_s2_c8_relu basic_r1_k3_s1_c8_relu basic_r1_k3_s2_c16_relu head_c0"
    model = settled(build(from_text(text)), seed=1)
    model.get_layer("s0_b0_2_bn").gamma.assign(np.full(8, 1e-3))
    smaller, compress_pass = prune(model, 0.8, importance="bn_gamma", blocks=True)
    pruned_text = compress_pass.arch(text)
    assert pruned_text == text.replace("basic_r1_k3_s1_c8_relu", "id_r1_s1_c8")
    assert_text_is_the_network(smaller, pruned_text)


@pytest.mark.parametrize("importance", ["l1", "taylor", "random"])
def test_a_users_network(importance):
    model = other_model()
    one_output = keras.Model(model.input, model.outputs[0])
    images = fine_tune(8, resolution=8)
    compress_pass = StructuredPrune(StructuredSettings(0.6, "params", importance, channel_multiple=1))
    smaller = compress_pass.wrap(one_output, Invariants(), images)
    assert model_cost(smaller).params <= 0.6 * model_cost(one_output).params
    assert smaller.output_shape == one_output.output_shape
    assert compress_pass.arch("") == ""


def test_what_cannot_be_reached_is_refused():
    with pytest.raises(
        CandidateError, match=r"^structured pruning cannot leave 5% of the [\d,]+ macs: .* \d+% are left$"
    ):
        prune(network("residual"), 0.05)
    with pytest.raises(CandidateError, match="100% are left"):
        prune(network("residual"), 0.9, exclude=("*",))


def test_excluded_layers_keep_their_width():
    smaller, compress_pass = prune(network("residual"), 0.99, exclude=("s0_*", "s1_b0_*"), channel_multiple=2)
    assert {name for name, _, _ in compress_pass.report.widths} == {"s1_b1_1_conv", "s1_b1_2_conv"}
    assert smaller.get_layer("s0_b0_1_conv").filters == 16


def test_the_same_again():
    """Whatever the state of the random numbers."""
    model = network("residual")
    pruned = []
    for seed in (1, 2):
        reset(seed)
        pruned.append(named_weights(prune(model, 0.7, importance="taylor", channel_multiple=4)[0]))
    assert pruned[0].keys() == pruned[1].keys()
    for name, values in pruned[0].items():
        np.testing.assert_array_equal(values, pruned[1][name])


def test_a_text_that_cannot_say_it_is_none():
    """That of another network, or of one whose layers have other names."""
    model = network("residual")
    _, compress_pass = prune(model, 0.8)
    assert compress_pass.arch(text_of("gates")) == compress_pass.arch("") == ""


def test_the_statistics_are_those_of_the_images():
    """As averages over batches of the network that is left; nothing else changes, dropout is off."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization(momentum=0.99, name="norm")(keras.layers.Dropout(0.5)(image))
    model = keras.Model(image, keras.layers.Dense(4, name="logits")(keras.layers.Flatten()(x)))
    images = fine_tune(2 * BATCH_SIZE + 1).train  # what is less than a batch is left out
    kernel = model.get_layer("logits").kernel.numpy()
    renew_statistics(model, images)
    norm, pixels = model.get_layer("norm"), images.rgb()[: 2 * BATCH_SIZE].astype(np.float64) / 255
    np.testing.assert_allclose(norm.moving_mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-4)  # float32 means
    # The mean of two batches' variances is not quite that of all pixels: the batches' means differ by thousandths.
    np.testing.assert_allclose(norm.moving_variance, pixels.var(axis=(0, 1, 2)), rtol=1e-3)
    assert norm.momentum == 0.99
    np.testing.assert_array_equal(model.get_layer("logits").kernel, kernel)
