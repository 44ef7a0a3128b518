"""Every network of search.networks.NETWORKS, thinned to a quarter of its channels and small images.

`make test` has one block a stage, and everything up to LiteRT, post-training and quantization-aware. The slow set has
the full depth. At full size only the costs are computed, without TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.validate import keras_scores
from search.arch import ArchSpec
from search.cost import cost
from search.dataset import ImageSet
from search.named import network
from search.networks import NETWORKS
from tests.conformance import chain

# The strides of most halve the image five times; AlexNet's unpadded convolutions and pools need more.
RESOLUTIONS = {"alexnet": 67}
RESOLUTION = 32
FULL_RESOLUTION = 224


def small(name: str, depth: int | None) -> ArchSpec:
    resolution = RESOLUTIONS.get(name, RESOLUTION)
    return chain.thinned(network(name, FULL_RESOLUTION, chain.NUM_CLASSES), resolution, depth)


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_and_costs(name: str) -> None:
    full = network(name, FULL_RESOLUTION, 1000)
    chain.assert_texts(full)
    assert cost(full).macs > cost(small(name, depth=1)).macs > 0
    shallow = small(name, depth=1)
    chain.assert_texts(shallow)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_block_a_stage(name: str, tmp_path: Path) -> None:
    check(small(name, depth=1), tmp_path, steps=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_full_depth(name: str, tmp_path: Path) -> None:
    check(small(name, depth=None), tmp_path, steps=10)  # the deeper, the more steps until scores are sure


def check(arch: ArchSpec, directory: Path, steps: int) -> None:
    train, test = (images_of(arch, count, seed) for count, seed in ((chain.TRAIN_IMAGES, 1), (chain.TEST_IMAGES, 2)))
    model = chain.taught(arch, train, steps)
    scores = keras_scores(model, test.rgb())
    converted = chain.full_integer(model, train, directory / "ptq.tflite")
    chain.assert_equals_cost(converted, arch, model)
    chain.assert_integer(converted)
    chain.assert_follows(converted, scores, test)
    trained_aware = chain.quantization_aware(model, train, steps=1)
    converted = chain.full_integer(trained_aware, train, directory / "qat.tflite")
    chain.assert_integer(converted)
    chain.assert_follows(converted, scores, test)


def images_of(arch: ArchSpec, count: int, seed: int) -> ImageSet:
    return chain.easy_images(count, arch.resolution, seed)
