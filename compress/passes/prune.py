"""Magnitude pruning with tfmot: the smallest weights of each layer become zero while the network trains on.

Schedule: Zhu and Gupta 2017, "To prune, or not to prune" (cubic rise of the sparsity).
"""

from __future__ import annotations

from collections.abc import Sequence

from core.keras_env import keras

import tensorflow_model_optimization as tfmot

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable
from compress.passes.contract import compressible
from compress.recipe import PruneSettings

# The sparsity has reached its end after this part of the training; in the rest the network recovers.
RISE_FRACTION = 0.4
MASK_UPDATES = 16


class Prune:
    """Every Conv2D and Dense kernel (depthwise and excluded ones not) gets `final_sparsity` of zeros."""

    def __init__(self, settings: PruneSettings) -> None:
        self._settings = settings
        self._sizes: dict[str, int] = {}

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with its kernels in tfmot's pruning wrappers. (`earlier` is empty: nothing comes before.)"""
        chosen = compressible(model, self._settings.exclude)
        self._sizes = {layer.name: int(kernel_variable(layer).shape.num_elements()) for layer in chosen}
        schedule = _schedule(self._settings, fine_tune.total_steps)

        def wrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
            if layer.name not in self._sizes:
                return layer
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

        return keras.models.clone_model(model, clone_function=wrapped)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """Starts tfmot's step counter, and zeroes the masked weights after each epoch."""
        return (tfmot.sparsity.keras.UpdatePruningStep(),)

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The plain network with zeros in its kernels."""
        return tfmot.sparsity.keras.strip_pruning(wrapped)

    def promises(self) -> Invariants:
        """The sparsity of each pruned layer, reached within one weight (tfmot keeps at least one weight)."""
        return Invariants(sparsity=tuple((name, self._least_sparsity(size)) for name, size in self._sizes.items()))

    def _least_sparsity(self, size: int) -> float:
        kept = max(1, round(size * (1.0 - self._settings.final_sparsity)))
        return max(0, size - kept - 1) / size


def _schedule(settings: PruneSettings, total_steps: int) -> tfmot.sparsity.keras.PolynomialDecay:
    """A schedule whose last mask update falls exactly on its last step, so that the end is the final sparsity."""
    end_step = max(1, int(RISE_FRACTION * total_steps))
    frequency = max(1, end_step // MASK_UPDATES)
    return tfmot.sparsity.keras.PolynomialDecay(
        settings.initial_sparsity,
        settings.final_sparsity,
        begin_step=0,
        end_step=end_step // frequency * frequency,
        frequency=frequency,
    )
