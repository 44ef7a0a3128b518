"""Training batches as a pure function of (seed, step), so that a training can go on at any step after a kill."""

from __future__ import annotations

from core.keras_env import tf

import numpy as np

from search.dataset import ImageSet, UInt8

MAX_SHIFT_FRACTION = 0.1  # of the side: 3 pixels of 28 or 32, the usual crop padding for images of this size
# One stream of random numbers for each kind of change.
FLIP_STREAM, SHIFT_STREAM, PARTNER_STREAM, MIX_STREAM = 1, 2, 3, 4


def training_batches(
    images: ImageSet,
    *,
    batch_size: int,
    seed: int,
    augment: str,
    first_step: int,
    num_steps: int,
    mixup: float = 0.0,
    num_classes: int = 0,
) -> tf.data.Dataset:
    """Batches (float32 [batch, R, R, 3] in 0..1, int32 labels [batch]) for the steps from `first_step` on.

    With `mixup` (an alpha above 0) images are mixed in pairs and the labels are float32 [batch, num_classes].

    Every epoch visits the images in its own order, which depends on the seed and the epoch only; the last, smaller
    part of an epoch is left out so that all batches have one size.
    """
    order = _EpochOrder(images, batch_size, seed)
    resolution = images.images.shape[1]

    def read(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(order.batch, [step], (tf.uint8, tf.int32), stateful=False)
        pixels.set_shape((order.batch_size, resolution, resolution, 3))
        labels.set_shape((order.batch_size,))
        return pixels, labels

    def to_float(step: tf.Tensor, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.cast(augmented(pixels, augment, seed, step), tf.float32) / 255.0
        return mixed(batch, tf.one_hot(labels, num_classes), mixup, seed, step) if mixup else (batch, labels)

    steps = tf.data.Dataset.range(first_step, first_step + num_steps)
    batches = steps.map(lambda step: (step, *read(step)), num_parallel_calls=1)
    return batches.map(to_float, num_parallel_calls=1).prefetch(4)


def steps_per_epoch(images: ImageSet, batch_size: int) -> int:
    """Full batches in one epoch; at least one (a set smaller than a batch is one smaller batch)."""
    return max(1, len(images) // batch_size)


def augmented(pixels: tf.Tensor, augment: str, seed: int, step: tf.Tensor) -> tf.Tensor:
    """uint8 images [batch, R, R, 3], changed at random as `augment` says; the same for the same (seed, step)."""
    if augment == "none":
        return pixels
    key = _key(seed, step)
    if augment in ("flip", "flip_shift"):
        flip = tf.random.stateless_uniform([pixels.shape[0], 1, 1, 1], tf.random.fold_in(key, FLIP_STREAM)) < 0.5
        pixels = tf.where(flip, pixels[:, :, ::-1], pixels)
    return pixels if augment == "flip" else _shifted(pixels, key)


def mixed(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: int, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixup: lambda * example + (1 - lambda) * another one of the batch, lambda ~ Beta(alpha, alpha) for each pair.

    Float images [batch, R, R, 3] and labels [batch, classes]; the same for the same (seed, step).
    """
    key, batch = _key(seed, step), images.shape[0]
    partners = tf.argsort(tf.random.stateless_uniform([batch], tf.random.fold_in(key, PARTNER_STREAM)))
    # A beta is the first part of two gammas. In float64: with a small alpha float32 gammas are often both 0.
    gammas = tf.random.stateless_gamma([2, batch], tf.random.fold_in(key, MIX_STREAM), alpha, dtype=tf.float64)
    own = tf.cast(tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1]), tf.float32)
    weight = own[:, None, None, None]
    mixed_images = weight * images + (1.0 - weight) * tf.gather(images, partners)
    return mixed_images, own[:, None] * labels + (1.0 - own[:, None]) * tf.gather(labels, partners)


def _key(seed: int, step: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])


def _shifted(pixels: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    batch, side = pixels.shape[0], pixels.shape[1]
    reach = max(1, round(MAX_SHIFT_FRACTION * side))
    padded = tf.pad(pixels, [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    offsets = tf.random.stateless_uniform([batch, 2], tf.random.fold_in(key, SHIFT_STREAM), 0, 2 * reach + 1, tf.int32)
    rows = offsets[:, :1] + tf.range(side)
    columns = offsets[:, 1:] + tf.range(side)
    shifted = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(shifted, columns, axis=2, batch_dims=1)


class _EpochOrder:
    """Draws the rows of a step; keeps the permutation of the epoch it is in."""

    def __init__(self, images: ImageSet, batch_size: int, seed: int) -> None:
        self._images, self._seed = images, seed
        self.batch_size = min(batch_size, len(images))
        self._steps = steps_per_epoch(images, self.batch_size)
        self._epoch = -1
        self._permutation = np.zeros(0, np.int64)

    def batch(self, step: np.int64) -> tuple[UInt8, np.ndarray]:
        epoch, index = divmod(int(step), self._steps)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng((self._seed, epoch)).permutation(len(self._images))
            self._epoch = epoch
        # Ascending rows read a memory-mapped file in one sweep; the order inside a batch has no effect on the step.
        positions = np.sort(self._permutation[index * self.batch_size : (index + 1) * self.batch_size])
        return self._images.rgb(positions), self._images.labels[positions]
