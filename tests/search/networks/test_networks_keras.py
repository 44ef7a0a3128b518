"""The networks that tf_keras.applications has: the same parameters and, with its weights, the same outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from core.keras_env import keras, reset

import numpy as np
import pytest

from search.build import build
from search.cost import cost
from search.named import network
from search.networks.published import PUBLISHED
from search.weights import copy_weights

APPLICATIONS = keras.applications
NORMALIZATION_PARAMS = 7  # EfficientNet's Normalization layer: mean and variance of three channels, and a count

# All parameters at 1000 classes, as `Model.summary()` of tf_keras.applications prints them.
KERAS_PARAMS = {
    "vgg16": 138_357_544,
    "resnet50": 25_636_712,
    "mobilenet_v1": 4_253_864,
    "mobilenet_v2": 3_538_984,
    "mobilenet_v3_large": 5_507_432,
    "mobilenet_v3_small": 2_554_968,
    "mobilenet_v3_large_minimalistic": 3_948_688,
    "mobilenet_v3_small_minimalistic": 2_056_848,
    "efficientnet_b0": 5_330_571 - NORMALIZATION_PARAMS,
    "efficientnet_b1": 7_856_239 - NORMALIZATION_PARAMS,
    "efficientnet_b2": 9_177_569 - NORMALIZATION_PARAMS,
    "efficientnet_b3": 12_320_535 - NORMALIZATION_PARAMS,
    "efficientnet_b4": 19_466_823 - NORMALIZATION_PARAMS,
    "efficientnet_b5": 30_562_527 - NORMALIZATION_PARAMS,
    "efficientnet_b6": 43_265_143 - NORMALIZATION_PARAMS,
    "efficientnet_b7": 66_658_687 - NORMALIZATION_PARAMS,
}


def v3(name: str, **arguments: Any) -> Callable[..., keras.Model]:
    """MobileNetV3 without its Rescaling layer."""
    return lambda **shape: getattr(APPLICATIONS, name)(include_preprocessing=False, **arguments, **shape)


KERAS: dict[str, Callable[..., keras.Model]] = {
    "vgg16": APPLICATIONS.VGG16,
    "resnet50": APPLICATIONS.ResNet50,
    "mobilenet_v1": APPLICATIONS.MobileNet,
    "mobilenet_v2": APPLICATIONS.MobileNetV2,
    "mobilenet_v3_large": v3("MobileNetV3Large"),
    "mobilenet_v3_small": v3("MobileNetV3Small"),
    "mobilenet_v3_large_minimalistic": v3("MobileNetV3Large", minimalistic=True),
    "mobilenet_v3_small_minimalistic": v3("MobileNetV3Small", minimalistic=True),
    **{f"efficientnet_b{size}": getattr(APPLICATIONS, f"EfficientNetB{size}") for size in range(8)},
}
FAST = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet50", "efficientnet_b0")
CASES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in KERAS]


@pytest.mark.parametrize("name", KERAS_PARAMS)
def test_parameters_are_as_many_as_in_keras(name: str) -> None:
    assert cost(network(name, PUBLISHED[name].resolution, 1000)).params == KERAS_PARAMS[name]


@pytest.mark.parametrize("name", CASES)
def test_a_network_computes_what_keras_computes(name: str) -> None:
    """Small images, odd for B0; ResNet50's epsilon is another, and EfficientNet's has pixels of 0..255."""
    resolution = 65 if name == "efficientnet_b0" else 64
    reset(0)
    source = KERAS[name](input_shape=(resolution, resolution, 3), weights=None, classes=10, classifier_activation=None)
    is_efficientnet = name.startswith("efficientnet")
    top = 255.0 if is_efficientnet else 1.0
    images = np.random.default_rng(1).uniform(0, 1, (8, resolution, resolution, 3)).astype(np.float32)
    randomize(source, images * top)
    model = build(network(name, resolution, 10))
    assert model.count_params() == source.count_params() - (NORMALIZATION_PARAMS if is_efficientnet else 0)
    copy_weights(source, model, input_range=(0.0, top))
    expected, found = source(images * top, training=False).numpy(), model(images, training=False).numpy()
    # The same sums of float32 in another order (padding as a layer, kernels scaled) move the logits by up to 3e-5 of
    # the largest; 10 % of the kernel of any single layer move them by 5e-3 at least (both measured on five networks).
    tolerance = 2e-4 * np.abs(expected).max()
    assert np.abs(expected[1:] - expected[0]).max() > 50 * tolerance, "the logits come from the images"
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("width", [0.75, 1.25])
def test_other_widths_of_mobilenet_v3_have_keras_parameters(width: float) -> None:
    reference = APPLICATIONS.MobileNetV3Small(input_shape=(64, 64, 3), alpha=width, weights=None, minimalistic=True)
    assert cost(network("mobilenet_v3_small_minimalistic", 64, 1000, width)).params == reference.count_params()


def randomize(model: keras.Model, images: np.ndarray) -> None:
    """Random weights, and the statistics that the model's normalizations find in `images`, as after training.

    Both random statistics were tried: with gains about 1 a deep network is chaotic (Keras' EfficientNetB4 itself moves
    by 10 % when its input does by 1e-6), with smaller ones it is blind (10 % of a squeeze-excite kernel move the logits
    by 1e-7, less than rounding does). With the data's own, every layer counts and rounding does not.
    """
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            # Means would reach into the padding, where an offset cannot be folded: see search.weights.
            mean, variance, count = layer.get_weights()
            layer.set_weights([mean, draw.uniform(0.1, 0.2, variance.shape), count])
            layer.finalize_state()
        else:
            layer.set_weights([_random_like(weight, draw) for weight in layer.weights])
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.0  # the statistics of the next batch, instead of a moving average
    model(images, training=True)


def _random_like(weight: Any, draw: np.random.Generator) -> np.ndarray:
    shape, name = tuple(weight.shape), weight.name.rpartition("/")[2]
    if "kernel" in name:
        fan_in = math.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return draw.normal(0, math.sqrt(2 / fan_in), shape).astype(np.float32)
    low, high = (0.5, 1.5) if "gamma" in name or "variance" in name else (-0.3, 0.3)
    return draw.uniform(low, high, shape).astype(np.float32)
