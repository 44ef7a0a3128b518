"""Structured pruning: what depends on what, and that what is left computes the same."""

from __future__ import annotations

from core.keras_env import keras

import numpy as np
import pytest

from compress.storage import load_model, save_model
from compress.structured.channels import channels_in
from compress.structured.ours import blocks_of, renamed
from compress.structured.residual import residual_blocks
from compress.structured.surgery import without
from tests.compress.structured_nets import (
    NETWORKS,
    assert_cut_is_exact,
    network,
    other_model,
    settled,
    some_classes,
)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rest_of_our_networks_computes_what_it_did(name):
    model = network(name)
    channels = channels_in(model)
    assert_cut_is_exact(model, channels, some_classes(channels, 0.4, seed=1))


def test_the_rest_of_any_network_computes_what_it_did(tmp_path):
    model = other_model()
    channels = channels_in(model)
    smaller = assert_cut_is_exact(model, channels, some_classes(channels, 0.5, seed=2))
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    save_model(smaller, tmp_path)
    np.testing.assert_array_equal(load_model(tmp_path).weights[-1], smaller.weights[-1])


def test_what_is_tied_and_what_stays():
    channels = channels_in(other_model())
    output = {name: layer.output.tolist() for name, layer in channels.layers.items()}
    first, narrow = output["first"], output["separable"]
    assert first == output["grouped"]  # added to each other
    assert first[:4] == first[4:8] == first[8:]  # one kernel holds the three groups' rows side by side
    assert output["doubled"] == np.repeat(first, 2).tolist()
    assert output["shared"] == narrow  # the first use reads it, the second reads itself
    assert channels.frozen[narrow].all()  # it is an output of the network
    assert output["hidden"] == output["square"] * 4
    frozen = {name for name, classes in output.items() if channels.frozen[classes].all()}
    assert {"image", "rescaling", "per_place", "normal", "mask", "scores"} <= frozen
    assert not frozen & {"first", "hidden", "last"}
    assert channels.gates == {"mask"}


def test_excluded_layers_keep_what_they_put_out():
    channels = channels_in(network("gates"), ["s0_b0_expand_conv", "head_conv"])
    for name in ("s0_b0_expand_conv", "s0_b0_dw", "s0_b0_se_expand", "head_conv"):
        assert channels.frozen[channels.layers[name].output].all()
    assert not channels.frozen[channels.layers["s0_b1_expand_conv"].output].any()


def test_channels_first_and_mixing_activations_freeze():
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(6, 1, activation="softmax", name="mixing")(image)
    x = keras.layers.Conv2D(6, 1, name="free")(x)
    x = keras.layers.BatchNormalization(axis=1, name="by_row")(x)
    channels = channels_in(keras.Model(image, keras.layers.Conv2D(2, 1)(x)))
    assert channels.frozen[channels.layers["mixing"].output].all()
    assert channels.frozen[channels.layers["by_row"].output].all()
    assert channels.frozen[channels.layers["free"].output].all()


def test_residual_blocks_of_a_resnet():
    """Of three that keep their shape; those with a projection are none."""
    model = network("residual")
    channels = channels_in(model)
    blocks = residual_blocks(model, channels)
    assert [block.add[0] for block in blocks] == ["s0_b0_add", "s0_b1_add", "s1_b1_add"]
    assert [block.source[0] for block in blocks] == ["stem_relu", "s0_b0_relu", "s1_b0_relu"]
    assert [block.after[0] for block in blocks] == ["s0_b0_relu", "s0_b1_relu", "s1_b1_relu"]
    assert blocks[2].layers[0] == "s1_b1_1_conv"
    assert blocks[0].ends == {"s0_b0_2_conv"}
    assert blocks[1].begins == {"stem_conv", "s0_b0_2_conv"}
    assert [block.add[0] for block in residual_blocks(model, channels, ["s0_b0_2_bn", "s0_b1_2_bn"])] == ["s1_b1_add"]


@pytest.mark.parametrize("name", ["residual", "gates"])
@pytest.mark.parametrize("indices", [(0,), (0, 1)])
def test_without_blocks_the_identity_is_left(name, indices):
    """Zeros at the end of a branch add nothing; what comes after in the stage moves up."""
    model = network(name)
    channels = channels_in(model)
    blocks = residual_blocks(model, channels)
    gone = [block for index, block in enumerate(blocks) if index in indices]
    smaller, _ = without(model, channels, (), gone)
    for block in gone:
        for suffix in ("gamma", "beta"):
            norm = block.layers[-1]
            next(v for v in model.get_layer(norm).weights if suffix in v.name).assign(
                np.zeros(channels.layers[norm].output.shape)
            )
    images = np.random.default_rng(1).uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(smaller(images), model(images), rtol=1e-5, atol=1e-6)  # the same sums, in one order
    before = blocks_of(layer.name for layer in model.layers)
    after = blocks_of(layer.name for layer in smaller.layers)
    assert sum(map(len, after.values())) == sum(map(len, before.values())) - len(gone)
    assert all(places == list(range(len(places))) for places in after.values())


def test_names_of_others_stay():
    names = {"conv": 0, "s0_b1_conv": 0}
    assert renamed(names, [*names, "s0_b0_conv"]) == {name: name for name in names}
    assert renamed(["s0_b1_conv"], ["s0_b1_conv", "s0_b0_conv"]) == {"s0_b1_conv": "s0_b0_conv"}


def test_a_branch_that_others_read_is_no_block():
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(4, 1)(image)
    y = keras.layers.Conv2D(4, 1)(x)
    total = keras.layers.Add()([x, y])
    plain = keras.Model(image, keras.layers.Dense(2)(total))
    spied = keras.Model(image, keras.layers.Dense(2)(keras.layers.Add()([total, keras.layers.ReLU()(y)])))
    assert not residual_blocks(spied, channels_in(spied))
    rebuilt = keras.models.clone_model(plain)
    assert len(residual_blocks(rebuilt, channels_in(rebuilt))) == 1


@pytest.mark.parametrize(("kind", "goes"), [("relu", True), ("tanh", False)])
def test_an_activation_after_the_sum_goes_if_it_changes_nothing(kind, goes):
    image = keras.Input((4, 4, 3))
    x = keras.layers.Activation(kind)(keras.layers.Conv2D(4, 1)(image))
    y = keras.layers.Conv2D(4, 1, kernel_initializer="zeros", name="branch")(x)
    total = keras.layers.Activation(kind, name="after")(keras.layers.Add()([x, y]))
    model = keras.Model(image, keras.layers.Dense(2)(total))
    channels = channels_in(model)
    smaller, _ = without(model, channels, (), residual_blocks(model, channels))
    assert ("after" in {layer.name for layer in smaller.layers}) != goes
    pixels = np.random.default_rng(1).uniform(0, 1, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(smaller(pixels), model(pixels))


def test_a_sequential_model():
    layers = keras.layers
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(6, 3), layers.Flatten(), layers.Dense(2)])
    functional = keras.Model(model.inputs, model.outputs)
    channels = channels_in(settled(functional, seed=1))
    assert_cut_is_exact(functional, channels, some_classes(channels, 0.5, seed=3))
