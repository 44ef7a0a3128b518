"""Zero-cost proxies on networks that can be calculated by hand, and what must not change them."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from core.spec_io import content_id
from search.build import build
from search.cost import cost
from search.evaluate import Candidate
from search.named import space
from search.settings import PROXIES, PROXY_SCORE
from search.zero_cost import ZeroCostEvaluator, bounded, logsynflow, macs, naswot, params, proxy, synflow

SPACE = space("mobilenet_v2_small", 28, 10)
SMALLEST = tuple(0 for _ in SPACE.genes)
LARGEST = tuple(len(gene.choices) - 1 for gene in SPACE.genes)


def images(count: int = 8, size: int = 28) -> np.ndarray:
    return np.random.default_rng(0).random((count, size, size, 3)).astype(np.float32)


def built(genotype: tuple[int, ...], seed: int = 1) -> keras.Model:
    reset(seed)
    return build(SPACE.decode(genotype))


def dense(*kernels: list[list[float]], activation: str | None = "relu") -> keras.Model:
    """A network of dense layers without biases; the last one is linear."""
    inputs = keras.Input((len(kernels[0]),))
    tensor = inputs
    for number, kernel in enumerate(kernels):
        last = number == len(kernels) - 1
        tensor = keras.layers.Dense(len(kernel[0]), activation=None if last else activation, use_bias=False)(tensor)
    model = keras.Model(inputs, tensor)
    model.set_weights([np.array(kernel) for kernel in kernels])
    return model


TWO_LAYERS = ([[1.0, -2.0], [3.0, 1.0]], [[2.0], [-1.0]])


def test_synflow_of_a_network_calculated_by_hand():
    """|W1| of two ones is [4, 3]; R = 4 * 2 + 3 * 1 = 11, and each of the two layers sums to R."""
    assert synflow(dense(*TWO_LAYERS), np.zeros((1, 2), np.float32)) == pytest.approx(22)


def test_logsynflow_of_a_network_calculated_by_hand():
    """The slopes: in the first layer [2, 1] for both inputs, in the second [4, 3]."""
    first = 1 * np.log(3) + 2 * np.log(2) + 3 * np.log(3) + 1 * np.log(2)
    second = 2 * np.log(5) + 1 * np.log(4)
    assert logsynflow(dense(*TWO_LAYERS), np.zeros((1, 2), np.float32)) == pytest.approx(first + second)


def test_naswot_of_a_network_calculated_by_hand():
    """Codes of three units for three images: 110, 010, 001. K = 3 - Hamming distances."""
    model = dense([[1.0, 1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]], [[1.0]] * 3)
    found = naswot(model, np.eye(3, dtype=np.float32))
    kernel = np.array([[3, 2, 0], [2, 3, 1], [0, 1, 3]])
    assert found == pytest.approx(np.log(np.linalg.det(kernel)))


def test_naswot_does_not_mind_scale_or_order_nor_touch_the_network():
    model, batch = built(SMALLEST), images()
    before = model.get_weights()
    value = naswot(model, batch)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert naswot(model, batch[::-1].copy()) == pytest.approx(value)
    # The first convolution is followed by a batch norm, which takes its scale out (but for an epsilon of 0.001).
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    stem.set_weights([4 * weight for weight in stem.get_weights()])
    assert naswot(model, batch) == pytest.approx(value, rel=0.02)


def test_naswot_cannot_tell_equal_images_apart():
    with pytest.raises(CandidateError, match="treats some of the 2 images alike"):
        naswot(built(SMALLEST), np.repeat(images(1), 2, axis=0))
    with pytest.raises(CandidateError, match="no activation that switches"):
        naswot(dense(*TWO_LAYERS, activation=None), np.eye(2, dtype=np.float32))


def test_synflow_is_the_same_for_a_rescaled_network():
    """A layer's weights times 4 and the next one's by 4 compute the same. Signs do not count."""
    first, second = (np.array(kernel) for kernel in TWO_LAYERS)
    data = np.zeros((1, 2), np.float32)
    assert synflow(dense(4 * first, -second / 4), data) == pytest.approx(synflow(dense(first, second), data))


def test_synflow_sums_to_the_same_in_every_layer_of_a_chain():
    """Tanaka's conservation: the network has no skip connections or gates, so the value is layers times R."""
    reset(3)
    inputs = keras.Input((8, 8, 3))
    tensor = keras.layers.Conv2D(4, 3, use_bias=False, padding="same")(inputs)
    tensor = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(tensor))
    tensor = keras.layers.DepthwiseConv2D(3, strides=2, use_bias=False, padding="same")(tensor)
    tensor = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("swish")(tensor))
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, activation="softmax")(tensor))
    one_layer = keras.Model(inputs, inputs)
    assert synflow(one_layer, images(1, 8)) == 0
    weights = model.get_weights()
    value = synflow(model, images(1, 8))
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    # Doubling one layer doubles R; the three layers have equal shares, so each of them does the same to the sum.
    for layer in (model.layers[1], model.layers[4], model.layers[-1]):
        layer.set_weights([2 * weight for weight in layer.get_weights()])
        assert synflow(model, images(1, 8)) == pytest.approx(2 * value)
        layer.set_weights([weight / 2 for weight in layer.get_weights()])


@pytest.mark.parametrize("genotype", [SMALLEST, LARGEST])
def test_params_and_macs_are_those_of_the_cost_model(genotype):
    model, computed = built(genotype), cost(SPACE.decode(genotype))
    assert (params(model, images(1)), macs(model, images(1))) == (computed.params, computed.macs)


def test_every_proxy_prefers_the_largest_network():
    large, small = built(LARGEST), built(SMALLEST)
    for name in PROXIES:
        assert proxy(name)(large, images()) > proxy(name)(small, images()), name


def test_squeeze_and_excitation_has_a_flow():
    named = space("mobilenet_v2_small_se", 28, 10)
    reset(1)
    model = build(named.decode(tuple(len(gene.choices) - 1 for gene in named.genes)))
    assert all(np.isfinite(proxy(name)(model, images())) for name in ("synflow", "logsynflow", "naswot"))


def test_the_evaluator_gives_the_proxy_and_its_place_between_0_and_1():
    arch = SPACE.decode(SMALLEST)
    candidate = Candidate(arch, content_id(arch), SMALLEST, seed=5)
    evaluator = ZeroCostEvaluator("naswot", images())
    found = evaluator.evaluate(candidate, epochs=3).metrics
    assert found[PROXY_SCORE] == bounded(found["naswot"])
    assert found["macs"] == cost(arch).macs
    assert found == evaluator.evaluate(candidate, epochs=1).metrics


def test_bounded_keeps_the_order_of_values_of_any_size():
    values = [-1e40, -3.0, 0.0, 1e-3, 1.0, 1700.0, 1700.1, 5e7, 5e7 + 1, 1e40, 1.01e40]
    pressed = [bounded(value) for value in values]
    assert pressed == sorted(set(pressed)) and pressed[0] > 0 and pressed[-1] < 1


def test_an_unknown_proxy_is_refused():
    with pytest.raises(UsageError, match="'x' is not legal; expected one of logsynflow, macs, naswot"):
        proxy("x")
