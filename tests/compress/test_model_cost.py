"""The cost of any model: of our networks what their specification says, of others by hand."""

from __future__ import annotations

from core.keras_env import keras

import pytest

from compress.model_cost import ModelCost, model_cost
from core.errors import CandidateError
from search.build import build
from search.cost import cost
from search.grammar import from_text

NETWORKS = (
    "input_r16_n4_w1 stem_s2_c8 ir3_r2_k3_s1_e2_c8_se0.25_hswish irg_r1_k3_s2_h24_c16_g2 head_c16_u8",
    "input_r16_n4_w1_biasbn stem_s1_c8_relu basic8_r1_k3_s2_h12_c16 shuffle2_r2_k3_s2_h20_c24_relu head_c0_flatten",
    "input_r16_n4_w1_nobn stem_s2_c8 fire_r1_k3_h6_c16_relu max_r1_k3_s2_explicit head_c0_relu_scores",
)


@pytest.mark.parametrize("text", NETWORKS)
def test_our_networks_cost_what_their_specification_says(text):
    arch = from_text(text)
    assert model_cost(build(arch)) == ModelCost(cost(arch).macs, cost(arch).params)


def test_other_layers_by_hand():
    """6x8 images of 4 channels; what a kernel multiplies is its size at each place."""
    layers = keras.layers
    image = keras.Input((6, 8, 4))
    grouped = layers.Conv2D(6, 3, groups=2, padding="same", use_bias=False)  # 3 * 3 * 2 * 6 weights at 48 places
    separable = layers.SeparableConv2D(10, 3, strides=2, padding="same", use_bias=False)  # 3 * 3 * 6 + 6 * 10 at 12
    transposed = layers.Conv2DTranspose(2, 3, strides=2, use_bias=False)  # 3 * 3 * 2 * 10, at the 12 places it reads
    x = transposed(separable(grouped(image)))
    places = x.shape[1] * x.shape[2]
    scores = layers.Dense(5)(x)  # 2 * 5 at each place of 9 x 13
    kernels = 108 + 54 + 60 + 180
    macs = 108 * 48 + (54 + 60 + 180) * 12 + 10 * places
    assert model_cost(keras.Model(image, scores)) == ModelCost(macs, kernels + 15)


def test_a_layer_used_twice_multiplies_twice_and_is_stored_once():
    dense = keras.layers.Dense(4)
    x = keras.Input((4,))
    assert model_cost(keras.Model(x, dense(dense(x)))) == ModelCost(2 * 16, 20)


def test_models_inside_models_and_sequential_ones():
    inner = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, keras.layers.Dense(2)(inner(image)))
    assert model_cost(inner) == ModelCost(16 * 54, 56)
    assert model_cost(model) == ModelCost(16 * 54 + 64, 56 + 66)


def test_images_of_any_size_have_no_cost():
    image = keras.Input((None, None, 3))
    with pytest.raises(CandidateError, match=r"^layer 'wide': the size of its images is not fixed"):
        model_cost(keras.Model(image, keras.layers.Conv2D(2, 3, name="wide")(image)))
