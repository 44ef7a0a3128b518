"""Batch normalizations' statistics after a network has changed: those of the old one no longer fit.

Without them a short fine-tuning ends before the moving averages have come round, above all in networks with Keras'
default momentum of 0.99 (cf. Li et al. 2020, "EagleEye", adaptive batch normalization).
"""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, tf

from compress.structured.graph import replay
from search.dataset import ImageSet

BATCHES = 8
BATCH_SIZE = 64


def renew_statistics(model: keras.Model, images: ImageSet) -> None:
    """Sets all moving means and variances to the averages over up to BATCHES batches; everything else stays."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for index in range(min(BATCHES, len(images) // BATCH_SIZE or 1) if norms else 0):
        for norm in norms:
            norm.momentum = index / (index + 1)  # so that all batches count alike
        pixels = images.rgb(slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE))
        replay(model, tf.cast(pixels, tf.float32) / 255.0, _run)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _run(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
    """Only the normalizations are called as in training: no dropout."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer(*args, **{**kwargs, "training": True})
    return layer(*args, **kwargs)
