from __future__ import annotations

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt
import pytest

from compress.distill import distillation_supervision, ends_in_softmax
from search.settings import TrainConfig
from search.train import fit
from tests.compress.nets import NUM_CLASSES, blob_images, small_network

Floats = npt.NDArray[np.float64]
T, ALPHA, SMOOTHING = 3.0, 0.6, 0.1
# float32 sums of a few terms of size 1..10 against float64
TOLERANCE = 1e-5


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def linear_teacher(final: str | None) -> keras.Model:
    image = keras.Input((2, 2, 3))
    return keras.Model(image, keras.layers.Dense(NUM_CLASSES, activation=final)(keras.layers.Flatten()(image)))


@pytest.mark.parametrize("final", [None, "softmax"])
@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
def test_loss_is_hintons(final: str | None, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    teacher = linear_teacher(final)
    images, labels = rng.random((6, 2, 2, 3)).astype(np.float32), rng.integers(0, NUM_CLASSES, 6)
    student = rng.normal(size=(6, NUM_CLASSES)) * 3

    supervision = distillation_supervision(teacher, NUM_CLASSES, T, ALPHA, smoothing)
    y_true = supervision.targets(tf.constant(images), tf.constant(labels))
    found = supervision.loss(y_true, tf.constant(student, tf.float32))

    outputs = teacher(images).numpy().astype(np.float64)
    soft, own = softmax((np.log(outputs) if final else outputs) / T), softmax(student / T)
    divergence = np.sum(soft * np.log(soft / own), axis=1)
    target = np.eye(NUM_CLASSES)[labels] * (1 - smoothing) + smoothing / NUM_CLASSES
    hard = -np.sum(target * np.log(softmax(student)), axis=1)
    expected = np.mean(ALPHA * T**2 * divergence + (1 - ALPHA) * hard)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)


def test_mixed_labels_and_images_are_distilled() -> None:
    """The teacher sees the mixed image; the hard part is against both labels in their parts."""
    teacher = linear_teacher(None)
    supervision = distillation_supervision(teacher, NUM_CLASSES, T, ALPHA)
    images, labels = np.full((1, 2, 2, 3), 0.3, np.float32), np.array([[0.25, 0.0, 0.75, 0.0]], np.float32)
    y_true = supervision.targets(tf.constant(images), tf.constant(labels)).numpy()
    np.testing.assert_array_equal(y_true, np.concatenate([labels, teacher(images)], axis=1))
    student = np.array([[1.0, 2.0, 3.0, 4.0]])
    soft, own = softmax(y_true[:, NUM_CLASSES:] / T), softmax(student / T)
    hard = -np.sum(labels * np.log(softmax(student)))
    expected = ALPHA * T**2 * np.sum(soft * np.log(soft / own)) + (1 - ALPHA) * hard
    np.testing.assert_allclose(supervision.loss(y_true, tf.constant(student, tf.float32)), expected, rtol=TOLERANCE)


def test_metric_is_the_accuracy_against_the_labels() -> None:
    supervision = distillation_supervision(linear_teacher(None), NUM_CLASSES, T, ALPHA)
    (metric,) = supervision.metrics
    labels = tf.constant([0, 1, 2, 3])
    y_true = supervision.targets(tf.zeros((4, 2, 2, 3)), labels)
    metric.update_state(y_true, tf.one_hot([0, 1, 2, 0], NUM_CLASSES))
    assert metric.name == "accuracy"
    assert float(metric.result()) == 0.75


def test_softmax_is_found_at_the_end_only() -> None:
    inner = linear_teacher(None)
    assert ends_in_softmax(keras.Sequential([inner, keras.layers.Softmax()]))
    assert ends_in_softmax(keras.Sequential([inner, keras.layers.Activation("softmax")]))
    assert ends_in_softmax(keras.Sequential([keras.Input((2, 2, 3)), linear_teacher("softmax")]))
    assert not ends_in_softmax(inner)


def test_student_learns_from_a_teacher_in_the_input_pipeline() -> None:
    images = blob_images(64)
    teacher, student = small_network(), small_network()
    before = [weight.copy() for weight in teacher.get_weights()]
    supervision = distillation_supervision(teacher, NUM_CLASSES, T, alpha=1.0)
    student.get_layer("logits").kernel.assign_add(tf.ones_like(student.get_layer("logits").kernel))
    history = fit(student, images, TrainConfig(epochs=4, batch_size=32), supervision, seed=1, augment="none")
    assert history.loss[-1] < history.loss[0]
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
