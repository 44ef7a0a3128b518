"""A sub-network leaves the supernet: an ordinary model of its ArchSpec, with the weights in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.keras_env import keras

import numpy as np
from numpy.typing import NDArray

from search.arch import ArchSpec
from search.build import build
from search.supernet.layout import Layout

Array = NDArray[np.float32]


def extracted(layout: Layout, variables: Mapping[str, Any], arch: ArchSpec) -> keras.Model:
    """search.build.build(arch) with its part of a supernet's weights and statistics, which are given by their names."""
    model = build(arch)
    for layer in model.layers:
        if layer.weights:
            name = layout.name_of(arch, layer.name)
            layer.set_weights([_part(variables, name, _short(weight.name), weight.shape) for weight in layer.weights])
    return model


def _short(weight: str) -> str:
    """ "s0_b0_dw/depthwise_kernel:0" -> "kernel"."""
    return weight.rpartition("/")[2].partition(":")[0].removeprefix("depthwise_")


def _part(variables: Mapping[str, Any], layer: str, weight: str, shape: tuple[int, ...]) -> Array:
    """What a layer takes of a weight of the supernet."""
    whole = variables[f"{layer}/{weight}"].numpy()
    if len(shape) == 4:
        whole = _with_side(variables, layer, whole, int(shape[0]))
    return whole[tuple(slice(size) for size in shape)]


def _with_side(variables: Mapping[str, Any], layer: str, kernel: Array, side: int) -> Array:
    """The kernel of that side out of the largest one, as search.supernet.elastic_ops.shrunk makes it."""
    for smaller in range(kernel.shape[0] - 1, side - 1, -1):
        name = f"{layer}/transform{smaller}"
        if name in variables:
            begin = (kernel.shape[0] - smaller) // 2
            centre = kernel[begin : begin + smaller, begin : begin + smaller]
            mixed = variables[name].numpy() @ centre.reshape(smaller * smaller, -1)
            kernel = mixed.reshape(centre.shape)
    return kernel
