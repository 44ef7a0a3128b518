"""Networks whose channels depend on each other in every way that there is, and the check of what is cut."""

from __future__ import annotations

from collections.abc import Collection

from core.keras_env import keras, reset, tf

import numpy as np

from compress.finetune import FineTune
from compress.model_cost import KERNELS
from compress.storage import copy_of
from compress.structured.channels import Channels
from compress.structured.surgery import without
from search.build import build
from search.dataset import ImageSet
from search.grammar import from_text
from search.settings import TrainConfig
from search.train import labels_supervision

RESOLUTION = 16
NUM_CLASSES = 4
NETWORKS = {
    "gates": "stem_s2_c8_hswish ir3_r2_k3_s1_e2_c16_se0.5_hswish ir_r2_k3_s2_e2_c16_se0.25_swish head_c24_u16_hswish",
    "residual": "stem_s2_c16_relu basic8_r2_k3_s1_c16_relu bottleneck_r2_k3_s2_c32_relu head_c0",
    "groups": "stem_s2_c8 irg_r2_k3_s2_e2_c16_g2 conv_r1_k3_s1_c16_g2_relu shuffle1_r2_k3_s2_c32_g2_relu head_c0",
    "shuffles": "stem_s2_c16_relu max_r1_k3_s1 shuffle2_r2_k3_s2_c32_relu shufflex_r1_k3_s2_c32_relu head_c32_relu",
    "branches": "stem_s2_c16 fire_r1_k3_c32_relu fused_r1_k3_s1_e2_c16 uib_r1_a3_k5_s2_e2_c16 head_c0_u16_flatten",
    "cells": "stem_s1_c16 cell_r2_c16_x213401 reduce_r1_c16 bn_r1_relu ds_r1_k3_s1_c16 head_c0_scores",
}


def text_of(name: str) -> str:
    """The whole text of a network of NETWORKS."""
    return f"input_r{RESOLUTION}_n{NUM_CLASSES}_w1 {NETWORKS[name]}"


def network(name: str) -> keras.Model:
    """A network of NETWORKS with normalizations as after a training: no channel is like another."""
    reset(1)
    return settled(build(from_text(text_of(name))), seed=1)


def settled(model: keras.Model, seed: int) -> keras.Model:
    """The model with random biases, slopes and normalizations; its kernels are random already."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(0.0, 0.3, variable.shape)
        if "gamma" in variable.name or "variance" in variable.name:
            variable.assign(np.abs(values) + 0.5)
        elif "kernel" not in variable.name:
            variable.assign(values)
    return model


def other_model() -> keras.Model:
    """A model of a user, with layers, shapes and uses that our networks do not have; two outputs."""
    layers = keras.layers
    reset(3)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(2.0, -1.0)(image)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="first")(x)
    grouped = layers.Conv2D(12, 3, groups=3, padding="same", name="grouped")(x)
    x = layers.Average()([x, layers.PReLU(shared_axes=[1, 2])(grouped)])
    wide = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="doubled")(x)
    narrow = layers.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    above = layers.Concatenate(axis=1)([narrow, layers.LeakyReLU()(narrow)])  # [16, 8, 8]: the channels stay
    shared = layers.Conv2D(8, 1, name="shared")
    above = shared(shared(above))
    joined = layers.Concatenate()([wide, narrow, layers.MaxPooling2D((2, 1))(above)])
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(joined)  # one gate for all channels of a place
    joined = layers.Multiply()([joined, mask])
    rows = layers.Reshape((64, -1), name="rows")(joined)
    normal = layers.LayerNormalization(name="normal")(layers.Dense(10, name="per_place")(rows))  # its channels stay
    flat = layers.Flatten()(normal)
    hidden = layers.Dense(48, activation="relu", name="hidden")(layers.Flatten()(joined))
    square = layers.Reshape((2, 2, 12), name="square")(hidden)
    square = layers.Conv2D(6, 2, name="last")(square)
    scores = layers.Dense(4, name="scores")(layers.Concatenate()([flat, layers.Flatten()(square)]))
    return settled(keras.Model(image, [scores, layers.GlobalMaxPooling2D()(above)]), seed=2)


def some_classes(channels: Channels, share: float, seed: int) -> set[int]:
    """Classes at random that may go, so that something is left of every layer."""
    rng = np.random.default_rng(seed)
    gone: set[int] = set()
    for item in rng.permutation(np.flatnonzero(~channels.frozen))[: int(share * np.sum(~channels.frozen))].tolist():
        holders = (layer.output for layer in channels.layers.values() if item in layer.output)
        if all(set(output.tolist()) - gone - {item} for output in holders):
            gone.add(item)
    return gone


def masked(model: keras.Model, channels: Channels, classes: Collection[int]) -> keras.Model:
    """A copy whose kernels do not read those classes."""
    copy = copy_of(model)
    for layer in channels.layers.values():
        variables = copy.get_layer(layer.name).weights
        for variable, known in zip(variables, layer.variables, strict=True):
            if known.name in KERNELS and known.axes[-2] is not None:
                values = variable.numpy()
                values[..., np.isin(known.axes[-2], list(classes)), :] = 0.0
                variable.assign(values)
    return copy


def assert_cut_is_exact(model: keras.Model, channels: Channels, classes: Collection[int]) -> keras.Model:
    """The network without some classes computes what the whole one does whose kernels do not read them."""
    smaller, _ = without(model, channels, classes)
    images = np.random.default_rng(5).uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    expected = tf.nest.flatten(masked(model, channels, classes)(images, training=False))
    for one, other in zip(tf.nest.flatten(smaller(images, training=False)), expected, strict=True):
        scale = float(np.abs(other).max())
        # float32 sums over other numbers of terms, over some twenty layers
        np.testing.assert_allclose(one, other, atol=1e-4 * scale)
    assert smaller.count_params() < model.count_params()
    return smaller


def fine_tune(count: int = 32, seed: int = 5, resolution: int = RESOLUTION) -> FineTune:
    """Images of noise with random labels."""
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (count, resolution, resolution, 3)).astype(np.uint8)
    labels = rng.integers(0, NUM_CLASSES, count).astype(np.int32)
    train = ImageSet(images, labels, np.arange(count))
    return FineTune(train, labels_supervision(NUM_CLASSES), TrainConfig(1, 16, 1e-3), "none", seed=seed)
