"""One traced graph gives for every network what its own model gives, and moves nothing but that network's part."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import tf

import numpy as np
import pytest

from core.errors import LitesmithError, UsageError
from search.arch import ArchSpec
from search.supernet.elastic_ops import resized
from search.supernet.layout import layout_of
from search.supernet.network import ElasticNetwork
from search.supernet.sorting import sort_channels
from tests.search.supernet.elastic_spaces import (
    SHARED_SPACES,
    named_space,
    rich_space,
    shaken,
    some_archs,
    some_images,
    xnnpack_space,
)

IMAGES = some_images(24, 16)
# Float32 sums of some hundred terms of size 1, rounded in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=[rich_space, xnnpack_space], ids=["plain", "xnnpack"])
def network(request: pytest.FixtureRequest) -> ElasticNetwork:
    return shaken(request.param())


def _pixels(side: int, images: object = IMAGES) -> tf.Tensor:
    """The network's input, resized as the supernet does."""
    return resized(tf.cast(images.rgb(), tf.float32) / 255.0, tf.constant(side))  # type: ignore[attr-defined]


def _assert_extracted_equals(network: ElasticNetwork, arch: ArchSpec, images: object = IMAGES) -> None:
    network.recalibrate(arch, images)  # type: ignore[arg-type]
    model = network.extract(arch)
    expected = model(_pixels(arch.resolution, images), training=False).numpy()
    found = network.logits(arch, images)  # type: ignore[arg-type]
    assert found.std() > 100 * TOLERANCE  # else the comparison would say nothing
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_20_networks_equal_their_extracted_models_in_one_trace(network: ElasticNetwork) -> None:
    for arch in some_archs(network.space, 20):
        _assert_extracted_equals(network, arch)
    assert network.traces == 2  # one graph for the statistics, one for the outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED_SPACES)
def test_20_networks_of_each_space_equal_their_extracted_models(name: str) -> None:
    space = named_space(name, 28 if "small" in name else 64)
    network, images = shaken(space), some_images(12, space.template.resolution)
    for arch in some_archs(space, 20):
        _assert_extracted_equals(network, arch, images)
    assert network.traces == 2


class _Step:
    """One step of the training of any network: logits, gradients and masks, traced once."""

    def __init__(self, network: ElasticNetwork) -> None:
        self.network, self.traces = network, 0
        self.run = tf.function(self._run)

    def _run(self, images: tf.Tensor, setting: tf.Tensor) -> tuple[tf.Tensor, dict, dict]:
        self.traces += 1
        with tf.GradientTape() as tape:
            logits = self.network.forward(images, setting, training=True)
            loss = tf.reduce_mean(tf.square(logits - tf.random.stateless_normal(tf.shape(logits), (1, 2))))
        return logits, tape.gradient(loss, self.network.weights), self.network.masks(setting)


def test_a_networks_gradients_are_in_its_part_and_everywhere_in_it(network: ElasticNetwork) -> None:
    step, images = _Step(network), tf.cast(IMAGES.rgb(), tf.float32) / 255.0
    for arch in some_archs(network.space, 20, seed=1):
        _, gradients, masks = step.run(images, network.layout.setting(arch))
        moved = used = 0
        for name, gradient in gradients.items():
            assert not np.any(gradient.numpy()[~masks[name].numpy()]), name
            moved += np.count_nonzero(gradient)
            used += np.count_nonzero(masks[name])
        # All but the places whose channel is switched off (a negative squeeze), and kernel borders that only ever see
        # the padding of images of a few pixels: up to an eighth of these networks. That a mask is not too large
        # is counted in test_supernet_train.
        assert moved > 0.8 * used
    assert step.traces == 1


def test_in_training_it_answers_as_the_model_of_the_same_weights_does(network: ElasticNetwork) -> None:
    images = tf.cast(IMAGES.rgb(), tf.float32) / 255.0
    for arch in some_archs(network.space, 2, seed=2):
        network.recalibrate(arch, IMAGES)
        expected = network.extract(arch)(_pixels(arch.resolution), training=True)
        found = network.forward(images, tf.constant(network.layout.setting(arch)), training=True)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_activations_beyond_their_linear_part_are_those_of_the_models() -> None:
    """relu6 and the hard swish saturate at 6 and 3: shifts of up to 8 reach both."""
    network = shaken(rich_space())
    draw = np.random.default_rng(3)
    for name, variable in network.weights.items():
        if name.endswith("beta"):
            variable.assign(draw.uniform(-8, 8, variable.shape))
    for arch in some_archs(network.space, 3, seed=3):
        network.recalibrate(arch, IMAGES)
        expected = network.extract(arch)(_pixels(arch.resolution), training=False).numpy()
        # As TOLERANCE, of sums of terms that are up to 8 and not 1.
        np.testing.assert_allclose(network.logits(arch, IMAGES), expected, rtol=0, atol=8 * TOLERANCE)


def test_a_step_updates_nothing(network: ElasticNetwork) -> None:
    before = {name: variable.numpy() for name, variable in (network.weights | network.statistics).items()}
    network.forward(_pixels(16), tf.constant(network.layout.setting(network.layout.largest)), training=True)
    for name, variable in (network.weights | network.statistics).items():
        np.testing.assert_array_equal(variable.numpy(), before[name], name)


def test_the_statistics_are_those_of_all_images(network: ElasticNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first layer, which sees the images as they are, whatever the batches are."""
    arch, images = network.layout.largest, some_images(50, 16)
    kernel = network.weights["stem_conv/kernel"].numpy()[..., : arch.scaled(arch.stem_channels)]
    padding = "SAME" if arch.form == "plain" else [[0, 0], [1, 1], [1, 1], [0, 0]]
    stem = tf.nn.conv2d(_pixels(16, images), kernel, 2, padding).numpy().astype(np.float64)
    monkeypatch.setattr("search.supernet.network.LARGEST_BATCH", 20)
    network.recalibrate(arch, images)
    # Float32 sums of 3000 terms; the variance of a batch of 1088 places is 1/1088 larger for being unbiased.
    np.testing.assert_allclose(
        network.statistics["stem_bn/moving_mean"].numpy(), stem.mean((0, 1, 2)), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(network.statistics["stem_bn/moving_variance"].numpy(), stem.var((0, 1, 2)), rtol=2e-3)


def test_a_network_is_judged_by_its_own_statistics_alone(network: ElasticNetwork) -> None:
    one, other = network.layout.largest, network.layout.smallest
    network.recalibrate(one, IMAGES)
    for judge in (lambda: network.logits(other, IMAGES), lambda: network.extract(other)):
        with pytest.raises(LitesmithError, match="the batch-norm statistics are not its own") as caught:
            judge()
        assert "\n" not in str(caught.value)


def test_statistics_of_weights_that_have_changed_are_refused(network: ElasticNetwork) -> None:
    arch = network.layout.smallest
    for change in (network.forget_statistics, lambda: sort_channels(network)):
        network.recalibrate(arch, IMAGES)
        network.logits(arch, IMAGES)
        change()
        with pytest.raises(LitesmithError, match="recalibrate it first"):
            network.logits(arch, IMAGES)


def test_a_small_variance_about_a_large_mean_is_neither_lost_nor_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    """The squares of such means exceed the variances by more than float32 can tell."""
    monkeypatch.setattr("search.supernet.network.LARGEST_BATCH", 3)
    network = ElasticNetwork(rich_space(stages=rich_space().template.stages[:1]), 0)
    for name, variable in network.weights.items():
        if name.endswith("project_bn/gamma"):
            variable.assign(0.01 * tf.ones_like(variable))
        elif name.endswith("project_bn/beta"):
            variable.assign(100.0 * tf.ones_like(variable))
    network.recalibrate(network.layout.largest, IMAGES)
    found = network.statistics["head_bn/moving_variance"].numpy()
    kernel = network.weights["head_conv/kernel"].numpy()[0, 0]
    assert (found > 0).all()
    # Inputs of variance 0.01^2 a block (two are added), correlated: between nothing and all of them in step.
    assert (found < 2 * (0.02 * np.abs(kernel).sum(axis=0)) ** 2).all()


def test_a_network_of_another_space_is_refused(network: ElasticNetwork) -> None:
    arch = layout_of(named_space("mobilenet_v2_small", 28)).smallest
    for call in (network.recalibrate, network.logits, lambda arch, _: network.extract(arch)):
        with pytest.raises(UsageError, match="expected a network of space rich"):
            call(arch, IMAGES)


def test_images_of_another_size_are_refused_where_the_resolution_is_not_searched() -> None:
    network = ElasticNetwork(rich_space(resolution=16), 0)
    with pytest.raises(UsageError, match="images: '20 pixels a side' is not legal; expected 16"):
        network.recalibrate(network.layout.largest, some_images(2, 20))


def test_no_image_is_refused() -> None:
    network = ElasticNetwork(rich_space(), 0)
    with pytest.raises(UsageError, match="recalibrate: images: 0 is not legal"):
        network.recalibrate(network.layout.largest, some_images(0, 16))


def test_weights_are_saved_and_loaded_whole(network: ElasticNetwork, tmp_path: Path) -> None:
    arch, path = some_archs(network.space, 1)[0], tmp_path / "weights.npz"
    network.recalibrate(arch, IMAGES)
    network.save(path)
    other = ElasticNetwork(network.space, 99)
    other.load(path)
    with pytest.raises(LitesmithError, match="recalibrate it first"):
        other.logits(arch, IMAGES)
    for name, variable in network.weights.items():
        np.testing.assert_array_equal(other.weights[name].numpy(), variable.numpy())


def test_weights_of_another_space_are_refused(tmp_path: Path) -> None:
    ElasticNetwork(rich_space(), 0).save(tmp_path / "weights.npz")
    with pytest.raises(UsageError, match="weights of another space"):
        ElasticNetwork(rich_space(head_channels=32), 0).load(tmp_path / "weights.npz")


def test_the_seed_alone_says_what_the_weights_begin_with() -> None:
    one, same, other = (ElasticNetwork(rich_space(), seed).weights for seed in (1, 1, 2))
    for name, variable in one.items():
        np.testing.assert_array_equal(variable.numpy(), same[name].numpy())
    assert not np.array_equal(one["stem_conv/kernel"].numpy(), other["stem_conv/kernel"].numpy())
    first, second = (one[f"s1_b{place}/ir3/project_conv/kernel"].numpy() for place in (1, 2))
    assert not np.array_equal(first, second)
