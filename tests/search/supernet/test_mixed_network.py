"""A mixture of operators as shared weights: what leaves it equals what it computes, whatever the operators."""

from __future__ import annotations

import random
from pathlib import Path

from core.keras_env import tf

import numpy as np
import pytest

from core.errors import LitesmithError, UsageError
from search.dataset import ImageSet
from search.named import space
from search.sampling import random_genotype
from search.supernet.mixed import MixedNetwork
from search.train import predict
from tests.search.supernet.mixed_spaces import VARIED
from tests.search.supernet.planted import planted_space

# The tolerance of issue 7: another order of float32 additions.
TOLERANCE = 1e-5


def noise(side: int, count: int = 60) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    return ImageSet(pixels, np.zeros(count, np.int32), np.arange(count))


@pytest.fixture(scope="module")
def network() -> MixedNetwork:
    return MixedNetwork(VARIED, seed=1)


IMAGES = noise(16)


def assert_extracts(network: MixedNetwork, images: ImageSet, count: int = 20) -> None:
    named, rng = network.space, random.Random(3)
    for _ in range(count):
        arch = named.decode(random_genotype(named, rng))
        network.recalibrate(arch, images)
        outputs = network.logits(arch, images)
        np.testing.assert_allclose(predict(network.extract(arch), images), outputs, rtol=0, atol=TOLERANCE)
        assert outputs.std() > 100 * TOLERANCE, "outputs that tell something"


def test_what_is_extracted_computes_the_same_and_nothing_is_traced_again(network):
    assert_extracts(network, IMAGES)
    assert network.traces == 2  # the statistics, and the inference


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("proxyless_small", 28), ("nasbench_macro", 24)])
def test_networks_of_named_spaces_are_extracted(name, side):
    assert_extracts(MixedNetwork(space(name, side, 10), seed=0), noise(side))


def test_recalibrated_statistics_are_those_of_all_images(network):
    """Of the first convolution, which nothing normalizes before: computed here by its own definition."""
    genotype = (0, 0, 0)
    network.recalibrate_path(genotype, IMAGES)
    model = network.extract(VARIED.decode(genotype))
    stem = tf.nn.conv2d(IMAGES.rgb() / np.float32(255), model.get_layer("stem_conv").kernel, 2, "SAME").numpy()
    # Float32 sums; the unbiased variance of 60 x 8 x 8 values is larger by 1/3840.
    np.testing.assert_allclose(model.get_layer("stem_bn").moving_mean, stem.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(model.get_layer("stem_bn").moving_variance, stem.var((0, 1, 2)), rtol=1e-3)


def test_parts_of_images_count_by_their_size(network, monkeypatch):
    network.recalibrate_path((1, 1, 0), IMAGES)
    whole = network.statistics[0].numpy()
    monkeypatch.setattr("search.supernet.mixed.BATCH", 17)  # four parts
    network.recalibrate_path((1, 1, 0), IMAGES)
    # Float32, and the correction of the variance for parts of 15 x 8 x 8 values: 1/960.
    np.testing.assert_allclose(network.statistics[0].numpy(), whole, rtol=2e-3, atol=1e-5)


def test_a_mixture_of_one_is_its_path(network):
    genotype = (2, 5, 0)
    for place, chosen in enumerate(genotype):
        network.alpha[place, chosen].assign(1e4)
    try:
        network.recalibrate_mixture(IMAGES)
        mixture = network.mixture_logits(IMAGES)
        network.recalibrate_path(genotype, IMAGES)
        np.testing.assert_allclose(network.path_logits(genotype, IMAGES), mixture, rtol=0, atol=TOLERANCE)
        assert network.discretized() == genotype
        assert network.genotype_of(VARIED.decode((2, 1, 1))) == genotype  # one network, and its likelier place
    finally:
        network.alpha.assign(tf.zeros_like(network.alpha))


def test_what_is_saved_is_read_again_and_equal_seeds_make_equal_weights(tmp_path: Path):
    named = planted_space()
    arch, images = named.decode((2, 1, 2)), noise(16)
    network, again, other = (MixedNetwork(named, seed) for seed in (1, 1, 2))
    for ours, theirs in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    network.recalibrate(arch, images)
    network.save(tmp_path / "weights.npz")
    other.recalibrate(arch, images)
    assert np.abs(other.logits(arch, images) - network.logits(arch, images)).max() > 0.1  # other weights
    other.load(tmp_path / "weights.npz")
    other.recalibrate(arch, images)
    np.testing.assert_array_equal(other.logits(arch, images), network.logits(arch, images))


def test_an_illegal_genotype_is_refused(network):
    for call in (network.recalibrate_path, network.path_logits):
        with pytest.raises(UsageError, match=r"^space varied: genotype: .* is not legal; expected 3 choice indices$"):
            call((0, 0), IMAGES)
        with pytest.raises(UsageError, match=r"^space varied: stages/0/blocks/0: 99 is not legal; expected an index"):
            call((99, 0, 0), IMAGES)


def test_statistics_of_another_network_or_of_older_weights_are_refused(network):
    arch = VARIED.decode((0, 0, 0))
    network.recalibrate(arch, IMAGES)
    for judge in (
        lambda: network.path_logits((1, 1, 0), IMAGES),
        lambda: network.extract(VARIED.decode((1, 1, 0))),
        lambda: network.mixture_logits(IMAGES),
    ):
        with pytest.raises(LitesmithError, match="recalibrate it first"):
            judge()
    network.logits(arch, IMAGES)
    network.forget_statistics()
    with pytest.raises(LitesmithError, match="recalibrate it first"):
        network.logits(arch, IMAGES)


def test_bad_input_is_refused(network, tmp_path: Path):
    (tmp_path / "weights.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"weights\.npz: not a file of shared weights"):
        network.load(tmp_path / "weights.npz")
    with pytest.raises(UsageError, match=r"^network: 'input_r28.* expected a network of space varied$"):
        network.logits(space("proxyless_small", 28, 10).decode((0,) * 9), IMAGES)
    with pytest.raises(
        UsageError, match=r"^space varied: images: '60 of 12 pixels' is not legal; .* 16 pixels a side$"
    ):
        network.recalibrate(VARIED.decode((0, 0, 0)), noise(12))
