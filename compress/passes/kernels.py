"""Which kernels pruning and clustering may touch, depthwise ones among them where that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from core.keras_env import keras

from compress.passes.contract import compressible


def chosen_layers(model: keras.Model, exclude: Sequence[str], *, depthwise: bool) -> list[keras.layers.Layer]:
    """The compressible layers, and with `depthwise` those convolutions too, that match no pattern of `exclude`.

    In the model's order.
    """
    names = {layer.name for layer in compressible(model, exclude)}
    if depthwise:
        names |= {
            layer.name
            for layer in model.layers
            if type(layer) is keras.layers.DepthwiseConv2D
            and not any(fnmatchcase(layer.name, pattern) for pattern in exclude)
        }
    return [layer for layer in model.layers if layer.name in names]
