"""Rounds the scales of int8 kernels to the 8 significant bits of a bfloat16, so that the file zips better.

A scale is the product of a trained range and of a folded batch normalization: 24 bits in which no compression finds
anything, once for each channel's kernel and once for its bias. In a network of small, pruned and clustered kernels they
are a fifth of the zipped file. Rounding multiplies a channel's weights by 1 +- 1/256 at most, which moves its largest
weight by half a step. Stored weights, zeros and clusters stay as they are; biases are expressed in the new scale. No
TensorFlow here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from deploy.flatbuffer import weights_of

SIGNIFICANT_BITS = 8
_WITH_BIAS = 3  # how many operands a convolution or dense layer has with one: input, kernel, bias


def shorten_scales(model: Any) -> None:
    """Rounds the scales of the int8 kernels of a flatbuffer object (`ModelT`), in place."""
    tensors = model.subgraphs[0].tensors
    kernels = {weight.index for weight in weights_of(model) if weight.bits == 8 and weight.scales}
    growth = {index: _shortened(tensors[index].quantization) for index in sorted(kernels)}
    done: set[int] = set()
    for operator in model.subgraphs[0].operators:
        kernel, bias = (int(operator.inputs[1]), int(operator.inputs[2])) if _has_bias(operator) else (-1, -1)
        if kernel in growth and bias not in done:
            values = np.rint(_int32(model, tensors[bias]) / growth[kernel]).astype(np.int32)
            model.buffers.append(schema.BufferT(data=values.view(np.uint8)))  # the old one may have other readers
            tensors[bias].buffer = len(model.buffers) - 1
            image = tensors[int(operator.inputs[0])].quantization
            tensors[bias].quantization.scale = np.float32(image.scale) * tensors[kernel].quantization.scale
            done.add(bias)


def rounded(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The nearest numbers of SIGNIFICANT_BITS significant bits."""
    mantissa, exponent = np.frexp(scales.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2**SIGNIFICANT_BITS) / 2**SIGNIFICANT_BITS, exponent).astype(np.float32)


def _shortened(quantization: Any) -> npt.NDArray[np.float64]:
    """Rounds the scales; returns by how much each has grown."""
    old = np.asarray(quantization.scale, np.float32)
    quantization.scale = rounded(old)
    return quantization.scale.astype(np.float64) / old


def _has_bias(operator: Any) -> bool:
    return len(operator.inputs) == _WITH_BIAS and operator.inputs[2] >= 0


def _int32(model: Any, tensor: Any) -> npt.NDArray[np.int32]:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int32)
