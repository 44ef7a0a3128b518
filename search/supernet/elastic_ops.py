"""Operations whose sizes are tensors: one graph of them serves networks of many shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.keras_env import tf

import numpy as np

from search.keras_layers import HARD_RANGE, HARD_SHIFT
from search.supernet.weight_specs import WeightSpec

_CENTRED = ("kernel", "depthwise")


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x + HARD_SHIFT) * (1 / HARD_RANGE)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "linear": tf.identity,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "hswish": lambda x: x * _hard_sigmoid(x),
    "swish": lambda x: x * tf.sigmoid(x),
}


def resized(images: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Float images [batch, R, R, 3] with so many pixels a side: bilinear, with antialiasing."""

    def resize() -> tf.Tensor:
        return tf.image.resize(images, tf.stack([side, side]), antialias=True)

    result = tf.cond(tf.equal(tf.shape(images)[1], side), lambda: images, resize)
    result.set_shape([images.shape[0], None, None, images.shape[3]])
    return result


def leading(weight: tf.Tensor, sizes: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """The first `sizes` places of each axis; None: all of it."""
    if all(size is None for size in sizes):
        return tf.convert_to_tensor(weight)
    return weight[tuple(slice(size) for size in sizes)]


def conv(x: tf.Tensor, kernel: tf.Tensor, stride: int, is_explicit: bool = False) -> tf.Tensor:
    """x [batch, h, w, in] by a kernel [k, k, in, out], padded as "same" or with k // 2 zeros (then k is static)."""
    if is_explicit:
        pixels = int(kernel.shape[0]) // 2
        return tf.nn.conv2d(x, kernel, stride, [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]])
    return tf.nn.conv2d(x, kernel, stride, "SAME")


def depthwise(x: tf.Tensor, kernel: tf.Tensor, stride: int, is_explicit: bool = False) -> tf.Tensor:
    """A depthwise convolution [batch, h, w, c] by a kernel [k, k, c, 1], padded as "same" or with k // 2 zeros."""
    padding = "SAME"
    if is_explicit:
        pixels = tf.shape(kernel)[0] // 2
        x, padding = tf.pad(x, [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]), "VALID"
    return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=[1, stride, stride, 1], padding=padding)


def shrunk(
    kernel: tf.Tensor, transforms: Sequence[tf.Tensor], kernel_sizes: Sequence[int], size: tf.Tensor
) -> tf.Tensor:
    """The kernel of `size` out of the largest one, [k, k, ...].

    As in Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.3) each size is the centre of the next larger one
    times a matrix that all channels share.

    All sizes are computed, as they cost next to nothing, and one is taken: a tf.cond in each block would make the graph
    and its gradient much larger. What is not taken gets gradients of exactly 0.

    Args:
      kernel_sizes: falling; `transforms[i]` [k * k, k * k] leads to kernel_sizes[i + 1].
    """
    largest = kernel_sizes[0]
    result = current = kernel
    for before, smaller, transform in zip(kernel_sizes, kernel_sizes[1:], transforms, strict=False):
        current = transformed(current, before, transform, smaller)
        margin = (largest - smaller) // 2
        padded = tf.pad(current, [[margin, margin], [margin, margin], [0, 0], [0, 0]])
        result = tf.where(size <= smaller, padded, result)
    begin = (largest - size) // 2
    return result[begin : begin + size, begin : begin + size]


def transformed(kernel: tf.Tensor, size: int, transform: tf.Tensor, smaller: int) -> tf.Tensor:
    """The centre of a kernel [size, size, ...], smaller x smaller, its places mixed by [smaller^2, smaller^2]."""
    begin = (size - smaller) // 2
    centre = kernel[begin : begin + smaller, begin : begin + smaller]
    mixed = tf.matmul(transform, tf.reshape(centre, [smaller * smaller, -1]))
    return tf.reshape(mixed, tf.shape(centre))


def batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """x normalized by its own statistics, and these: mean and (unbiased) variance, [channels]."""
    return tuple(tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon, is_training=True))


def normalized(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """x normalized by given statistics."""
    return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]


def mask_of(spec: WeightSpec, sizes: Sequence[tf.Tensor | None], active: tf.Tensor | None) -> tf.Tensor:
    """bool, the weight's shape: which places are in use if so much of each axis (None: all) is, and it is at all."""
    mask = tf.ones([1] * len(spec.shape), tf.bool) if active is None else active
    for axis, size in enumerate(sizes):
        if size is not None:
            shape = [-1 if other == axis else 1 for other in range(len(spec.shape))]
            mask = tf.logical_and(mask, tf.reshape(_used(spec, axis, size), shape))
    return tf.broadcast_to(mask, spec.shape)


def _used(spec: WeightSpec, axis: int, size: tf.Tensor) -> tf.Tensor:
    """bool [places of the axis]."""
    places = np.arange(spec.shape[axis], dtype=np.int32)
    if spec.kind in _CENTRED and axis < 2:
        return 2 * _distance(places, spec.shape[axis]) < size
    if spec.kind == "transform":
        side = round(len(places) ** 0.5)
        return 2 * np.maximum(_distance(places // side, side), _distance(places % side, side)) < size
    return places < size


def _distance(places: np.ndarray, side: int) -> np.ndarray:
    """From the middle of a side."""
    return np.abs(places - side // 2)
