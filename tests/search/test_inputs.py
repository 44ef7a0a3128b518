"""Training batches: a pure function of (seed, step), each image at most once an epoch, augmented as bytes."""

from __future__ import annotations

from core.keras_env import tf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.dataset import ImageSet
from search.inputs import MAX_SHIFT_FRACTION, augmented, mixed, steps_per_epoch, training_batches

SIDE = 20
REACH = 2  # pixels: a tenth of the side


def numbered_images(count: int, offset: int = 3) -> ImageSet:
    """Grey images that tell their number: image n has the byte n everywhere and the label n. Some rows are others'."""
    total = count + offset
    images = np.repeat(np.arange(total, dtype=np.uint8), 8 * 8).reshape(total, 8, 8, 1)
    return ImageSet(images, np.arange(total, dtype=np.int32), np.arange(offset, total, dtype=np.int64))


def batches(images: ImageSet, *, seed: int = 1, augment: str = "none", first: int = 0, count: int = 8, size: int = 5):
    dataset = training_batches(images, batch_size=size, seed=seed, augment=augment, first_step=first, num_steps=count)
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def same(first: list[tuple[np.ndarray, np.ndarray]], second: list[tuple[np.ndarray, np.ndarray]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(a, b) and np.array_equal(c, d) for (a, c), (b, d) in pairs)


def test_a_batch_is_rgb_floats_from_0_to_1_with_its_own_labels():
    (pixels, labels), *_ = batches(numbered_images(17))
    assert (pixels.shape, pixels.dtype, labels.shape, labels.dtype) == ((5, 8, 8, 3), np.float32, (5,), np.int32)
    expected = labels.astype(np.float32)[:, None, None, None] / np.float32(255)
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected, pixels.shape))


@pytest.mark.parametrize("augment", ["none", "flip", "flip_shift"])
@pytest.mark.parametrize("first", [1, 3, 4, 7])
def test_starting_at_a_step_is_skipping_to_it(augment, first):
    """17 images in batches of 5: three steps an epoch, so the starts lie inside and at the ends of epochs."""
    images = numbered_images(17)
    whole = batches(images, augment=augment, count=8)
    assert same(batches(images, augment=augment, first=first, count=8 - first), whole[first:])


def test_seed_and_nothing_else_changes_the_batches():
    images = numbered_images(17)
    assert same(batches(images, augment="shift"), batches(images, augment="shift"))
    assert not same(batches(images), batches(images, seed=2))


def test_an_epoch_visits_each_image_at_most_once_and_epochs_differ():
    images = numbered_images(17)
    assert steps_per_epoch(images, 5) == 3
    labels = [y for _, y in batches(images, count=6)]
    epochs = [np.concatenate(labels[:3]), np.concatenate(labels[3:])]
    for epoch in epochs:
        assert len(set(epoch)) == 15
        assert set(epoch) <= set(range(3, 20)), "rows of other sets"
    assert not np.array_equal(*epochs)


def test_over_many_epochs_every_image_is_used():
    labels = np.concatenate([y for _, y in batches(numbered_images(17), count=30)])
    assert set(labels) == set(range(3, 20))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_set_smaller_than_a_batch_is_one_smaller_batch(count):
    images = numbered_images(count)
    assert steps_per_epoch(images, 5) == 1
    for _, labels in batches(images, count=3):
        assert set(labels) == set(range(3, 3 + count))
        assert len(labels) == count


@given(st.integers(1, 1000), st.integers(1, 100))
def test_steps_per_epoch_counts_full_batches(count, size):
    images = numbered_images(1)
    images = ImageSet(images.images, images.all_labels, np.zeros(count, np.int64))
    assert steps_per_epoch(images, size) == max(1, count // size)


def noise(count: int) -> np.ndarray:
    """Random bytes from 1 on: no image is a translation or mirror image of itself, and padding (0) can be told."""
    return np.random.default_rng(7).integers(1, 256, (count, SIDE, SIDE, 3), np.uint8)


def translations(image: np.ndarray) -> dict[tuple[int, int], bytes]:
    """The image moved by (rows, columns) within the reach, the uncovered border being 0."""
    padded = np.pad(image, ((REACH, REACH), (REACH, REACH), (0, 0)))
    moves = range(2 * REACH + 1)
    return {(r - REACH, c - REACH): padded[r : r + SIDE, c : c + SIDE].tobytes() for r in moves for c in moves}


def found_moves(augment: str, seed: int = 3, step: int = 5) -> list[tuple[bool, tuple[int, int]]]:
    """(flipped, translation) of each of 200 images; fails if one is anything else."""
    images = noise(200)
    result = augmented(tf.constant(images), augment, seed, tf.constant(step, tf.int64)).numpy()
    assert (result.dtype, result.shape) == (np.uint8, images.shape)
    found = []
    for image, changed in zip(images, result, strict=True):
        candidates = {
            (flip, move): pixels
            for flip, source in ((False, image), (True, image[:, ::-1]))
            for move, pixels in translations(source).items()
        }
        found += [key for key, pixels in candidates.items() if pixels == changed.tobytes()]
    assert len(found) == len(images)
    return found


def test_reach_is_a_tenth_of_the_side():
    assert round(MAX_SHIFT_FRACTION * SIDE) == REACH


def test_none_changes_nothing():
    images = noise(3)
    assert np.array_equal(augmented(tf.constant(images), "none", 3, tf.constant(5, tf.int64)), images)


@pytest.mark.parametrize(("augment", "flips"), [("shift", {False}), ("flip_shift", {False, True})])
def test_shift_stays_in_reach_and_only_flip_shift_flips(augment, flips):
    """200 draws of 25 moves: the chance to miss one is 25 * (24/25)^200 = 0.7 %, and the seed is fixed."""
    found = found_moves(augment)
    assert {flip for flip, _ in found} == flips
    moves = {move for _, move in found}
    assert {r for r, _ in moves} == {c for _, c in moves} == set(range(-REACH, REACH + 1))
    assert len(moves) == 25


def test_flip_alone_moves_nothing():
    assert set(found_moves("flip")) == {(False, (0, 0)), (True, (0, 0))}


def test_augmentation_is_a_function_of_seed_and_step():
    assert found_moves("flip_shift") == found_moves("flip_shift")
    assert found_moves("flip_shift") != found_moves("flip_shift", step=6)
    assert found_moves("flip_shift") != found_moves("flip_shift", seed=4)


def mixed_batches(alpha: float, *, seed: int = 1, first: int = 0, count: int = 8, images: ImageSet | None = None):
    options = {"batch_size": 5, "augment": "none", "first_step": first, "num_steps": count, "num_classes": 20}
    dataset = training_batches(images or numbered_images(17), seed=seed, mixup=alpha, **options)
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def test_mixup_mixes_pixels_and_labels_alike():
    """The images tell their number: the mean label of a mixed image is its brightness. float32 keeps seven digits."""
    parts = []
    for pixels, labels in mixed_batches(0.4):
        assert (labels.shape, labels.dtype) == ((5, 20), np.float32)
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-6)
        assert ((labels > 0).sum(axis=1) <= 2).all()
        expected = (labels @ np.arange(20)) / 255
        np.testing.assert_allclose(pixels, np.broadcast_to(expected[:, None, None, None], pixels.shape), rtol=1e-5)
        parts.append(labels.max(axis=1))
    assert 0 < np.mean(np.concatenate(parts) < 0.999) < 1, "some pairs are mixed, some images meet themselves"


def test_mixup_is_a_function_of_seed_and_step():
    whole = mixed_batches(0.3)
    assert same(mixed_batches(0.3), whole)
    assert same(mixed_batches(0.3, first=3, count=5), whole[3:])
    assert not same(mixed_batches(0.3, seed=2), whole)


def test_mixup_leaves_the_batches_and_their_changes_as_they_are():
    """Each mixed batch is made of the images of the plain one; without mixup nothing else changes."""
    for (_, mixed_labels), (_, labels) in zip(mixed_batches(0.3), batches(numbered_images(17)), strict=True):
        assert set(np.nonzero(mixed_labels.sum(axis=0))[0]) <= set(labels)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0])
def test_parts_are_of_the_beta_distribution(alpha):
    """Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1)). 2000 draws: both within 4 standard errors."""
    count = 2000
    labels = tf.eye(count)
    found, _ = mixed(tf.reshape(tf.range(float(count)), [-1, 1, 1, 1]), labels, alpha, 3, tf.constant(5, tf.int64))
    _, weights = mixed(tf.zeros([count, 1, 1, 1]), labels, alpha, 3, tf.constant(5, tf.int64))
    own = tf.linalg.diag_part(weights).numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert np.isfinite(found).all()
    assert abs(own.mean() - 0.5) < 4 * np.sqrt(variance / count)
    assert abs(own.var() - variance) < 4 * 0.25 / np.sqrt(count)
