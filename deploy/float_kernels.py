"""The float kernels that a .tflite should stand for: those of the Keras model, with its batch normalizations folded in.

Folding into the layer before: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.2. TensorFlow's converter also folds a normalization into the dense layer
that reads it, if that has a bias; then each input of the kernel has a factor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.keras_env import keras

import numpy as np
import numpy.typing as npt

from compress.invariants import KERNEL_NAMES, short_name

Float32 = npt.NDArray[np.float32]
WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
# What does nothing to values once the network is trained; a linear Activation is another.
_ONLY_IN_TRAINING = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
)
_ONLY_SHAPES = (keras.layers.Flatten, keras.layers.Reshape)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedKernel:
    """A kernel in the shape that a .tflite gives it, multiplied by what was folded into it.

    Attributes:
      values: Conv2D [out, h, w, in], DepthwiseConv2D [1, h, w, channels], Dense [out, in].
      by_output, by_input: whether each output channel, each input has a factor of its own.
    """

    values: Float32
    by_output: bool
    by_input: bool


def folded_kernels(layer: keras.layers.Layer, model: keras.Model) -> Iterator[FoldedKernel]:
    """The kernels that a layer may have in the .tflite: as it is, and with what stands next to it folded in.

    Whether the converter folds depends on more than the layers (a bias that is not zero, what else reads a value, what
    fake quantization stands between): a .tflite's kernel is one of these. A layer of another kind has none.
    """
    plain = getattr(layer, "layer", layer)
    kernels = [weight.numpy() for weight in layer.weights if short_name(weight) in KERNEL_NAMES]
    if len(kernels) != 1 or not isinstance(plain, WITH_KERNEL):
        return
    kernel = _arranged(kernels[0], plain)
    before: list[Float32 | None] = [None]
    if isinstance(plain, keras.layers.Dense):
        before += _factors_before(layer, kernel.shape[-1], model)
    axis = -1 if isinstance(plain, keras.layers.DepthwiseConv2D) else 0
    for by_output, by_input in itertools.product((None, *_factors_behind(layer, model)), before):
        values = kernel
        if by_output is not None:
            values = np.moveaxis(np.moveaxis(values, axis, -1) * by_output, -1, axis)
        if by_input is not None:
            values = values * by_input
        yield FoldedKernel(values, _varies(by_output), _varies(by_input))


def nearest(found: Float32, candidates: Iterable[FoldedKernel]) -> tuple[FoldedKernel | None, float | None]:
    """The candidate from which the values found differ least, and by how much: the root mean square of the difference
    divided by that of the candidate. (None, None) if none has their shape or they are all zero."""
    fitting = [other for other in candidates if other.values.shape == found.shape]
    errors = [_relative_error(found, other.values) for other in fitting]
    place = int(np.argmin(errors)) if errors else 0
    return (fitting[place], errors[place]) if errors and np.isfinite(errors[place]) else (None, None)


def _relative_error(found: Float32, expected: Float32) -> float:
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size > 0 else np.inf


def _arranged(kernel: Float32, plain: keras.layers.Layer) -> Float32:
    if isinstance(plain, keras.layers.DepthwiseConv2D):  # [h, w, channels, multiplier]
        return kernel.reshape(1, *kernel.shape[:2], -1)
    return np.moveaxis(kernel, -1, 0)


def _factors_behind(layer: keras.layers.Layer, model: keras.Model) -> Iterator[Float32]:
    """What the normalizations behind a layer multiply its output channels by: the first, the first two, ..."""
    waiting: list[tuple[keras.layers.Layer, Float32 | None]] = [(layer, None)]
    while waiting:
        now, factor = waiting.pop()
        for reader in _neighbours((node.outbound_layer for node in now.outbound_nodes), model):
            if (own := _factor(reader)) is not None:
                product = own if factor is None else factor * own
                yield product
                waiting.append((reader, product))
            elif _passes_on(getattr(reader, "layer", reader)):
                waiting.append((reader, factor))


def _factors_before(layer: keras.layers.Layer, inputs: int, model: keras.Model) -> Iterator[Float32]:
    """What the normalizations that a layer reads multiply each of its inputs by: the last, the last two, ..."""
    factor = np.ones(inputs, np.float32)
    while True:
        sources = _neighbours(
            (source for node in layer.inbound_nodes for source in _listed(node.inbound_layers)), model
        )
        if len(sources) != 1:
            return
        (layer,) = sources
        plain = getattr(layer, "layer", layer)
        if (own := _factor(layer)) is not None and factor.size % own.size == 0:  # fewer where it is flattened
            factor = factor * np.tile(own, factor.size // own.size)
            yield factor
        elif not (_passes_on(plain) or isinstance(plain, _ONLY_SHAPES)):
            return


def _listed(layers: keras.layers.Layer | list[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return layers if isinstance(layers, list) else [layers]


def _neighbours(layers: Iterable[keras.layers.Layer], model: keras.Model) -> list[keras.layers.Layer]:
    """Those of the model, each once: a layer's nodes may also lead to other models."""
    members = {id(member) for member in model.layers}
    return list({id(layer): layer for layer in layers if id(layer) in members}.values())


def _passes_on(plain: keras.layers.Layer) -> bool:
    """Whether a layer leaves its input as it is, once trained."""
    is_linear = isinstance(plain, keras.layers.Activation) and plain.activation is keras.activations.linear
    return isinstance(plain, _ONLY_IN_TRAINING) or is_linear


def _factor(layer: keras.layers.Layer) -> Float32 | None:
    """What a layer multiplies each channel by before it adds something; None for one of another kind."""
    plain = getattr(layer, "layer", layer)
    if type(plain) is keras.layers.Rescaling:
        return np.asarray(plain.scale, np.float32).reshape(-1)
    if type(plain) is not keras.layers.BatchNormalization or list(plain.axis) != [plain.input_spec.ndim - 1]:
        return None
    deviation = np.sqrt(plain.moving_variance.numpy() + plain.epsilon)
    return np.asarray((plain.gamma.numpy() if plain.scale else 1) / deviation, np.float32)


def _varies(factor: Float32 | None) -> bool:
    return factor is not None and bool(np.ptp(factor) > 0)
