"""The float kernels that a .tflite should stand for: those of the Keras model, with its batch normalizations folded in.

Folding: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.keras_env import keras

import numpy as np
import numpy.typing as npt

from compress.invariants import KERNEL_NAMES, plain_name, short_name

Float32 = npt.NDArray[np.float32]
WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def folded_kernels(model: keras.Model) -> Mapping[str, Float32]:
    """The kernel of each convolution and dense layer by the layer's plain name, in the shape that a .tflite gives it.

    Conv2D [out, h, w, in], DepthwiseConv2D [1, h, w, channels], Dense [out, in]. A batch normalization that alone reads
    a convolution is multiplied into its kernel, as the converter does. Layers of other kinds are left out.
    """
    found = {}
    for layer in model.layers:
        kernels = [weight.numpy() for weight in layer.weights if short_name(weight) in KERNEL_NAMES]
        plain = getattr(layer, "layer", layer)
        if len(kernels) == 1 and isinstance(plain, WITH_KERNEL):
            factor = _norm_factor(layer, model)
            is_depthwise = isinstance(plain, keras.layers.DepthwiseConv2D)
            found[plain_name(layer)] = _arranged(kernels[0], factor, is_depthwise)
    return found


def _arranged(kernel: Float32, factor: Float32 | None, is_depthwise: bool) -> Float32:
    if is_depthwise:  # [h, w, channels, multiplier]
        height, width = kernel.shape[:2]
        flat = kernel.reshape(1, height, width, -1)
        return flat if factor is None else flat * factor
    scaled = kernel if factor is None else kernel * factor
    return np.moveaxis(scaled, -1, 0)


def _norm_factor(layer: keras.layers.Layer, model: keras.Model) -> Float32 | None:
    """What the batch normalization behind a layer multiplies each channel by; None without one to fold."""
    members = {id(member) for member in model.layers}
    readers = {id(node.outbound_layer): node.outbound_layer for node in layer.outbound_nodes}
    inside = [reader for key, reader in readers.items() if key in members]
    norm = getattr(inside[0], "layer", inside[0]) if len(inside) == 1 else None
    if norm is None or type(norm) is not keras.layers.BatchNormalization:
        return None
    deviation = np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    gamma = norm.gamma.numpy() if norm.scale else np.float32(1)
    return np.asarray(gamma / deviation, np.float32)
