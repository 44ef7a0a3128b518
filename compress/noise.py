"""Dropout whose masks are a function of (seed, epoch), so that a training goes on exactly at any whole epoch.

Keras' layers draw from random operations that count their calls: a resumed training would see other masks than an
undisturbed one. Here they draw, while they are trained, from generators that are set anew when an epoch begins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from core.keras_env import keras, tf

import numpy as np

RandomLayer = keras.__internal__.layers.BaseRandomLayer


@contextlib.contextmanager
def repeatable_noise(model: keras.Model, seed: int) -> Iterator[tuple[keras.callbacks.Callback, ...]]:
    """Inside, the model's random layers draw by seed and epoch, if it is trained with the callbacks this gives.

    Layers inside others (in wrappers, in attention) are among them. Afterwards they are what they were.
    """
    layers = [part for part in model.submodules if isinstance(part, RandomLayer)]
    before = [layer._random_generator for layer in layers]
    sources = [type(source)(seed=0, rng_type="stateful") for source in before]
    for layer, source in zip(layers, sources, strict=True):
        source._maybe_init()
        _draw_from(layer, source)
    try:
        yield (_Reseed([source._generator for source in sources], seed),) if layers else ()
    finally:
        for layer, source in zip(layers, before, strict=True):
            _draw_from(layer, source)


@tf.__internal__.tracking.no_automatic_dependency_tracking  # what a layer draws from is none of its weights
def _draw_from(layer: keras.layers.Layer, source: object) -> None:
    layer._random_generator = source


class _Reseed(keras.callbacks.Callback):
    def __init__(self, generators: Sequence[tf.random.Generator], seed: int) -> None:
        super().__init__()
        self._generators, self._seed = generators, seed
        self._supports_tf_logs = True  # reads no metrics

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """`epoch` counts from the training's begin, also after a resumption."""
        for index, generator in enumerate(self._generators):
            (state,) = np.random.SeedSequence((self._seed, epoch, index)).generate_state(1)
            generator.reset_from_seed(int(state))
