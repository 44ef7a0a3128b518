"""The elastic supernet: one set of weights, one traced graph, and all networks of a space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.keras_env import keras, tf

import numpy as np
from numpy.typing import NDArray

from core.errors import LitesmithError, bad_value
from search.arch import ArchSpec, canonical
from search.build import BATCH_NORM_EPSILON
from search.dataset import ImageSet
from search.grammar import to_text
from search.space import SearchSpace
from search.supernet.elastic_ops import batch_norm, leading, mask_of, normalized
from search.supernet.extract import extracted
from search.supernet.forward import Normalize, Pass, Slots, slots_of
from search.supernet.layout import layout_of
from search.supernet.parts import Width
from search.supernet.shared import load_arrays, save_arrays
from search.supernet.weight_specs import WeightSpec

LARGEST_BATCH = 256
# AutoGraph has nothing to convert here, but would spend seconds on looking.
_AS_WRITTEN = tf.autograph.experimental.do_not_convert


class ElasticNetwork:
    """A search.supernet.shared.SharedWeights whose networks are slices of one largest network.

    As Once-for-All (Cai et al. 2020, arXiv:1908.09791) has it: fewer channels are the leading ones, smaller kernels
    transformed centres of larger ones, fewer blocks the first ones. Operators have weights of their own.

    Attributes:
      layout: what there is, and what each network takes of it.
      weights: trainable variables by name. `statistics`: those of the batch normalizations, of the latest network that
        was recalibrated.
      traces: how often the functions of this object were traced.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """Weights as search.build would begin with for the largest network. Raises UsageError as `layout_of`."""
        self.space, self.layout = space, layout_of(space)
        self.weights = _variables(self.layout.weights, seed, trainable=True)
        self.statistics = _variables(self.layout.statistics, seed, trainable=False)
        self.traces = 0
        # In double precision: a variance is the difference of two sums, each of which may be far larger.
        self._sums = {
            spec.name: tf.Variable(tf.zeros(spec.shape, tf.float64), trainable=False) for spec in self.layout.statistics
        }
        self._calibrated: ArchSpec | None = None
        signature = [tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([len(self.layout.slots)], tf.int32)]
        self._inferred = tf.function(self._infer, input_signature=signature, autograph=False)
        with_share = [*signature, tf.TensorSpec([], tf.float64)]
        self._summed = tf.function(self._sum, input_signature=with_share, autograph=False)

    @_AS_WRITTEN
    def forward(self, images: tf.Tensor, setting: tf.Tensor, *, training: bool) -> tf.Tensor:
        """The logits [batch, classes] of one network; to be called inside a tf.function.

        Args:
          images: float32 [batch, R, R, 3] in 0..1, of the space's resolution; of any, where that is searched.
          setting: int32 [slots], as `layout.setting` gives it.
          training: whether to normalize by the batch's statistics, else by `statistics`. Nothing is updated.
        """
        slots = slots_of(self.layout, setting)
        return self._pass(slots, self._by_batch(slots) if training else self._by_statistics(slots), images)

    @_AS_WRITTEN
    def masks(self, setting: tf.Tensor) -> dict[str, tf.Tensor]:
        """For each weight, in its shape, bool: the places that a network uses."""
        slots = slots_of(self.layout, setting)
        return {name: self._mask(name, slots) for name in self.weights}

    def recalibrate(self, arch: ArchSpec, images: ImageSet) -> None:
        """Sets `statistics` to those of this network's activations over all of `images`.

        The batches' means and variances are combined to those of the whole set. Raises UsageError for a network of
        another space, or if there is no image.
        """
        if not len(images):
            raise bad_value("recalibrate: images", 0, "at least one")
        arch, setting = canonical(arch), self.layout.setting(arch)
        self._check_images(images)
        self.forget_statistics()
        for variable in self._sums.values():
            variable.assign(tf.zeros_like(variable))
        for pixels in _batches(images):
            self._summed(pixels, setting, np.float64(len(pixels) / len(images)))
        for name, mean in self._sums.items():
            if name.endswith("/moving_mean"):
                squares = name.replace("/moving_mean", "/moving_variance")
                variance = tf.maximum(self._sums[squares] - mean * mean, 0.0)
                self.statistics[name].assign(tf.cast(mean, tf.float32))
                self.statistics[squares].assign(tf.cast(variance, tf.float32))
        self._calibrated = arch

    def forget_statistics(self) -> None:
        """To be called by all that changes `weights`: no network is judged before it is recalibrated again."""
        self._calibrated = None

    def logits(self, arch: ArchSpec, images: ImageSet) -> NDArray[np.float32]:
        """float32 [n, classes] in inference mode.

        Raises LitesmithError unless `arch` was recalibrated last, and with the weights as they are.
        """
        arch, setting = canonical(arch), self.layout.setting(arch)
        self._check_calibrated(arch)
        self._check_images(images)
        return np.concatenate([self._inferred(pixels, setting).numpy() for pixels in _batches(images)])

    def extract(self, arch: ArchSpec) -> keras.Model:
        """search.build.build(arch) with its part of the weights and the statistics of the latest `recalibrate`.

        Raises UsageError for a network of another space, LitesmithError unless it was recalibrated last.
        """
        self.layout.setting(arch)
        arch = canonical(arch)
        self._check_calibrated(arch)
        return extracted(self.layout, {**self.weights, **self.statistics}, arch)

    def save(self, path: Path) -> None:
        """Writes all weights to one .npz, whole or not at all."""
        save_arrays(path, {name: variable.numpy() for name, variable in self.weights.items()})

    def load(self, path: Path) -> None:
        """Reads what `save` wrote; a network must be recalibrated before it is judged. Raises UsageError."""
        arrays = load_arrays(path, {spec.name: spec.shape for spec in self.layout.weights})
        for name, variable in self.weights.items():
            variable.assign(arrays[name])
        self.forget_statistics()

    def _infer(self, pixels: tf.Tensor, setting: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        return self.forward(_floats(pixels), setting, training=False)

    def _sum(self, pixels: tf.Tensor, setting: tf.Tensor, share: tf.Tensor) -> None:
        """Adds a batch's statistics, in proportion to its `share` of all images, to `_sums`."""
        self.traces += 1
        slots = slots_of(self.layout, setting)

        def normalize(name: str, x: tf.Tensor, channels: Width) -> tf.Tensor:
            y, mean, variance = self._batch_norm(slots, name, x, channels)
            mean, variance = tf.cast(mean, tf.float64), tf.cast(variance, tf.float64)
            for kind, value in (("moving_mean", mean), ("moving_variance", variance + mean * mean)):
                total = self._sums[f"{name}/{kind}"]
                total.assign_add(tf.pad(share * value, [[0, channels.size - tf.shape(value)[0]]]))
            return y

        self._pass(slots, normalize, _floats(pixels))

    def _pass(self, slots: Slots, normalize: Normalize, images: tf.Tensor) -> tf.Tensor:
        return Pass(self.layout, self.weights, slots, normalize).logits(images)

    def _by_batch(self, slots: Slots) -> Normalize:
        return lambda name, x, channels: self._batch_norm(slots, name, x, channels)[0]

    def _batch_norm(self, slots: Slots, name: str, x: tf.Tensor, channels: Width) -> Any:
        size = [slots.size(channels.slot)]
        gamma, beta = (leading(self.weights[f"{name}/{kind}"], size) for kind in ("gamma", "beta"))
        return batch_norm(x, gamma, beta, BATCH_NORM_EPSILON)

    def _by_statistics(self, slots: Slots) -> Normalize:
        def normalize(name: str, x: tf.Tensor, channels: Width) -> tf.Tensor:
            size = [slots.size(channels.slot)]
            gamma, beta = (leading(self.weights[f"{name}/{kind}"], size) for kind in ("gamma", "beta"))
            mean, variance = (
                leading(self.statistics[f"{name}/{kind}"], size) for kind in ("moving_mean", "moving_variance")
            )
            return normalized(x, gamma, beta, mean, variance, BATCH_NORM_EPSILON)

        return normalize

    def _mask(self, name: str, slots: Slots) -> tf.Tensor:
        spec = self.layout.spec(name)
        active = slots.is_on[spec.active] if spec.active else None
        return mask_of(spec, [slots.size(slot) for slot in spec.axes], active)

    def _check_calibrated(self, arch: ArchSpec) -> None:
        if arch != self._calibrated:
            text = " ".join(to_text(arch).split())
            raise LitesmithError(f"network {text}: the batch-norm statistics are not its own; recalibrate it first")

    def _check_images(self, images: ImageSet) -> None:
        resolution, side = self.space.template.resolution, images.images.shape[1]
        if isinstance(resolution, int) and side != resolution:
            raise bad_value("images", f"{side} pixels a side", f"{resolution}, as space {self.space.name} has it")


def _variables(specs: tuple[WeightSpec, ...], seed: int, *, trainable: bool) -> dict[str, tf.Variable]:
    return {
        spec.name: tf.Variable(_initial(spec, seed + index), trainable=trainable, name=spec.name)
        for index, spec in enumerate(specs)
    }


def _initial(spec: WeightSpec, seed: int) -> Any:
    """The values that Keras' layers of search.build begin with; transforms change nothing yet."""
    if spec.kind in ("kernel", "depthwise"):
        return keras.initializers.HeNormal(seed)(spec.shape)
    if spec.kind == "dense":
        return keras.initializers.GlorotUniform(seed)(spec.shape)
    if spec.kind == "transform":
        return tf.eye(spec.shape[0])
    return tf.ones(spec.shape) if spec.kind in ("gamma", "moving_variance") else tf.zeros(spec.shape)


def _floats(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(pixels, tf.float32) / 255.0


def _batches(images: ImageSet) -> Iterator[NDArray[np.uint8]]:
    """All images in as few batches of nearly equal size as `LARGEST_BATCH` allows."""
    count = -(-len(images) // LARGEST_BATCH)
    for positions in np.array_split(np.arange(len(images)), count):
        yield images.rgb(positions)
