"""The built Keras model is what the spec says: its cost, its shapes, and for MobileNetV2 its outputs."""

from __future__ import annotations

import math
import random

from core.keras_env import keras, reset

import numpy as np
import pytest

from core.errors import CandidateError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.build import build
from search.cost import cost
from search.lowering import layers_of
from search.named import network, space


def macs_of_model(model: keras.Model) -> int:
    """Multiply-accumulates from the built kernels and output shapes alone."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = layer.depthwise_kernel
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            kernel = layer.kernel
        else:
            continue
        places = math.prod(layer.output_shape[1:3]) if len(layer.output_shape) == 4 else 1
        total += math.prod(kernel.shape) * places
    return total


# Odd sides, where "same" padding rounds up, and few classes are among them.
SAMPLES = [
    ("mobilenet_v2", 96, 10, 1),
    ("mobilenet_v2_small", 28, 10, 1),
    ("mobilenet_v2_small", 33, 2, 2),
    ("mobilenet_v2_small_se", 32, 100, 1),
    ("mobilenet_v2_small_se", 45, 10, 2),
]


@pytest.mark.parametrize(("name", "resolution", "num_classes", "seed"), SAMPLES)
def test_cost_and_shapes_are_the_models(name, resolution, num_classes, seed):
    named = space(name, resolution, num_classes)
    draw = random.Random(seed)
    arch = named.decode(tuple(draw.randrange(len(gene.choices)) for gene in named.genes))
    reset(0)
    model = build(arch)
    computed = cost(arch)
    assert computed.params == model.count_params()
    assert computed.macs == macs_of_model(model)
    for layer in layers_of(arch):
        shape = model.get_layer(layer.name).output_shape
        shape = shape[0] if isinstance(shape, list) else shape
        assert math.prod(shape[1:]) == math.prod(layer.out_shape), layer
        assert len(shape) == 2 or shape[1:] == layer.out_shape, layer
    assert model.input_shape == (None, resolution, resolution, 3)
    assert model(np.zeros((2, resolution, resolution, 3), np.float32)).shape == (2, num_classes)


def test_weights_depend_on_the_seed_alone():
    arch = network("mobilenet_v2_small", 28, 10)
    weights = []
    for seed in (5, 5, 6):
        reset(seed)
        weights.append(build(arch).get_weights())
    first, again, other = weights
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_tfmot_sees_the_layers_it_can_quantize():
    """relu6 as a ReLU layer of its own, never inside a convolution or as an Activation (DESIGN: tfmot)."""
    blocks = (BlockSpec(activation="relu", se_ratio=0.25), BlockSpec())
    model = build(ArchSpec(8, (StageSpec(blocks, 2),), 16, resolution=16, num_classes=3))
    assert all(layer.activation is keras.activations.linear for layer in model.layers if hasattr(layer, "kernel"))
    maxima = [layer.max_value for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    assert maxima.count(None) == 2 + 1  # the first block's two and its gate's
    assert maxima.count(6.0) == 2 + 2  # the second block's, the stem's and the head's


def test_what_does_not_fit_is_the_candidates_fault():
    blocks = (BlockSpec(stride=2),) * 4
    with pytest.raises(CandidateError, match=r"^s0_b3_dw: stride 2 does not fit an input of 1x1 pixels$"):
        build(ArchSpec(8, (StageSpec(blocks, 4),), 16, resolution=16, num_classes=3))


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """Keras' own MobileNetV2, with weights and batch-norm statistics far from their initial zeros and ones."""
    reset(0)
    model = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    draw = np.random.default_rng(0)
    model.set_weights([_random_like(weight, draw) for weight in model.weights])
    return model


def _random_like(weight: object, draw: np.random.Generator) -> np.ndarray:
    shape, name = tuple(weight.shape), weight.name
    if "kernel" in name:
        fan_in = math.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return draw.normal(0, math.sqrt(2 / fan_in), shape).astype(np.float32)
    low, high = (0.5, 1.5) if "gamma" in name or "variance" in name else (-0.3, 0.3)
    return draw.uniform(low, high, shape).astype(np.float32)


def test_mobilenet_v2_has_keras_weights_in_keras_order(published):
    model = build(network("mobilenet_v2", 224, 1000))
    assert model.count_params() == published.count_params() == 3_538_984
    assert macs_of_model(model) == 300_774_272
    assert [w.shape for w in model.get_weights()] == [w.shape for w in published.get_weights()]


def test_mobilenet_v2_computes_what_keras_model_computes(published):
    """Keras pads stride-2 convolutions explicitly (at the bottom and right for even sides) as "same" padding does."""
    model = build(network("mobilenet_v2", 224, 1000))
    model.set_weights(published.get_weights())
    images = np.random.default_rng(1).uniform(0, 1, (2, 224, 224, 3)).astype(np.float32)
    expected, found = published(images, training=False).numpy(), model(images, training=False).numpy()
    assert expected.std() > 0.01, "the comparison means something: the logits differ between classes"
    # The same sums of float32, at most in another order (padding as a layer or inside the convolution): through 53
    # layers that changes the last two or three of the seven digits.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("width", [0.35, 1.4])
def test_other_widths_have_keras_shapes(width):
    reference = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=width, weights=None)
    model = build(network("mobilenet_v2", 96, 1000, width))
    assert [w.shape for w in model.get_weights()] == [w.shape for w in reference.get_weights()]
