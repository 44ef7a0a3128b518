"""Attention transfer and hints: where networks are compared, the values of the losses, exact resume."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset, tf

import numpy as np
import pytest

from compress.distill import distillation_supervision
from compress.distill_features import REGRESSOR, feature_maps
from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.passes.prune import Prune
from compress.passes.quantize import Quantize
from core.errors import CandidateError
from search.settings import TrainConfig
from search.train import Supervision, fit
from tests.compress.nets import NUM_CLASSES, RESOLUTION, SPECS, blob_images, fine_tune, small_network

Layers = keras.layers
T, ALPHA, WEIGHT = 3.0, 0.4, 2.5
TRAIN = blob_images(32)
CONFIG = TrainConfig(epochs=2, batch_size=16, learning_rate=0.01)
# float32 sums of a few hundred terms of size 1 against float64
TOLERANCE = 1e-4


def teacher(side: int = RESOLUTION) -> keras.Model:
    """Another kind of network with more channels; maps of 6x6, 3x3 and, by a padding, 8x8."""
    keras.utils.set_random_seed(3)
    image = keras.Input((side, side, 3))
    x = Layers.Rescaling(2.0, offset=-1.0)(image)
    x = Layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="first")(x)
    x = Layers.ZeroPadding2D()(x)
    x = Layers.Conv2D(10, 3, strides=2, activation="relu", name="second")(x)
    model = keras.Model(image, Layers.Dense(NUM_CLASSES)(Layers.GlobalAveragePooling2D()(x)))
    model.trainable = False
    return model


def supervision(features: str, model: keras.Model | None = None) -> Supervision:
    model = model or teacher()
    return distillation_supervision(model, NUM_CLASSES, T, ALPHA, features=features, feature_weight=WEIGHT)


def test_places_are_the_last_maps_of_each_size() -> None:
    found = feature_maps(teacher())
    assert {size: x._keras_history.layer.name for size, x in found.items()} == {(6, 6): "first", (3, 3): "second"}
    assert list(feature_maps(small_network())) == [(6, 6)], "no gates, no pooled features, not the image"


def attention(maps: np.ndarray) -> np.ndarray:
    energy = np.sum(np.square(maps.astype(np.float64)), axis=-1).reshape(len(maps), -1)
    return energy / np.linalg.norm(energy, axis=1, keepdims=True)


def loss_of(bound: Supervision, view: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
    return bound.loss.call(bound.targets(images, labels), view(images, training=False)).numpy()


@pytest.mark.parametrize("features", ["attention", "fitnet"])
def test_loss_is_the_papers(features: str) -> None:
    given, student = teacher(), small_network()
    view, bound = supervision(features, given).bind(student)
    images, labels = tf.constant(np.random.default_rng(0).random((3, 12, 12, 3)), tf.float32), tf.constant([0, 1, 2])
    logits_only = supervision("none", given)
    plain = logits_only.loss.call(logits_only.targets(images, labels), student(images, training=False)).numpy()

    own = keras.Model(student.input, feature_maps(student)[6, 6])(images).numpy()
    theirs = keras.Model(given.input, feature_maps(given)[6, 6])(images).numpy()
    if features == "attention":
        expected = np.sum((attention(own) - attention(theirs)) ** 2, axis=1)
    else:
        kernel, bias = view.get_layer(REGRESSOR).get_weights()
        squares = (np.einsum("nhwc,cd->nhwd", own, kernel[0, 0]) + bias - theirs) ** 2
        expected = np.mean(squares, axis=(1, 2, 3)) / np.mean(theirs.astype(np.float64) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss_of(bound, view, images, labels), plain + WEIGHT * expected, rtol=TOLERANCE)
    (metric,) = bound.metrics
    metric.update_state(bound.targets(images, labels), view(images))
    assert int(metric.count) == 3
    assert int(metric.total) == np.sum(np.argmax(student(images), axis=1) == labels.numpy())


@pytest.mark.parametrize("features", ["attention", "fitnet"])
def test_a_network_is_at_no_distance_from_itself(features: str) -> None:
    student = small_network()
    view, bound = supervision(features, student).bind(student)
    if features == "fitnet":
        regressor = view.get_layer(REGRESSOR)
        regressor.set_weights([np.eye(regressor.kernel.shape[2])[None, None], np.zeros(regressor.bias.shape)])
    images, labels = tf.constant(TRAIN.rgb(slice(0, 4)), tf.float32) / 255, tf.constant(TRAIN.labels[:4])
    hard = (1 - ALPHA) * keras.losses.sparse_categorical_crossentropy(labels, student(images), from_logits=True)
    np.testing.assert_allclose(loss_of(bound, view, images, labels), hard, rtol=TOLERANCE)


def train(features: str, checkpoint: Path | None = None, seed: int = 1, **options: object) -> keras.Model:
    student = small_network()
    if seed != 1:
        reset(seed)
        student = keras.models.clone_model(student)  # other weights
    fit(student, TRAIN, CONFIG, supervision(features), seed=5, augment="shift", checkpoint=checkpoint, **options)
    return student


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """With the weights of the hints' regressor, which are in the checkpoint and not in the network."""
    whole = train("fitnet")
    with pytest.raises(KeyboardInterrupt):
        train("fitnet", tmp_path / "training.npz", callbacks=[Kill()])
    resumed = train("fitnet", tmp_path / "training.npz", seed=9)
    for expected, found in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(whole.weights) == len(resumed.weights) == len(small_network().weights)


@pytest.mark.parametrize("pass_class", [Prune, Quantize])
def test_wrapped_networks_have_their_features_too(pass_class: type) -> None:
    tuning: FineTune = fine_tune(TRAIN, 1, 16)
    compress_pass = pass_class(SPECS["prune" if pass_class is Prune else "quantize"].settings)
    wrapped = compress_pass.wrap(small_network(), Invariants(), tuning)
    assert list(feature_maps(wrapped)) == [(6, 6)]
    before = [weight.copy() for weight in wrapped.get_weights()]
    fit(
        wrapped,
        TRAIN,
        TrainConfig(epochs=1, batch_size=16),
        supervision("attention"),
        seed=1,
        augment="none",
        callbacks=compress_pass.callbacks(),
    )
    assert any((a != b).any() for a, b in zip(before, wrapped.get_weights(), strict=True))
    assert compress_pass.strip(wrapped).output_shape == (None, NUM_CLASSES)


def test_networks_without_a_common_size_are_refused() -> None:
    image = keras.Input((12, 12, 3))
    x = Layers.GlobalAveragePooling2D()(Layers.Conv2D(4, 3, strides=3)(image))
    other = keras.Model(image, Layers.Dense(NUM_CLASSES)(x))
    with pytest.raises(CandidateError, match=r"features = 'attention': .* 6x6 in the student, 4x4 in the teacher$"):
        supervision("attention", other).bind(small_network())
