"""Magnitude pruning with tfmot: the smallest weights of each layer become zero while the network trains on.

Schedule: Zhu and Gupta 2017, "To prune, or not to prune" (cubic rise of the sparsity). M:N patterns: Mishra et al.
2021, "Accelerating Sparse Deep Neural Networks" (arXiv:2104.08378).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.keras_env import keras

import tensorflow_model_optimization as tfmot

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable
from compress.one_shot import analyse
from compress.passes.contract import compressible
from compress.patterns import LAYER_SPARSITY, LayerNames
from compress.sensitivity import allocate
from compress.settings import LEAST_SPARSE, PruneSettings, parse_pattern
from compress.xnnpack import sparse_layers
from core.errors import CandidateError
from search.dataset import ImageSet

# The sparsity has reached its end after this part of the training; in the rest the network recovers.
RISE_FRACTION = 0.4
MASK_UPDATES = 16
# A global budget may leave a layer less: not worth a mask and a promise.
LEAST_TARGET = 0.005
NO_SPARSITY = -1.0


class Prune:
    """Every Conv2D and Dense kernel, and depthwise ones if the settings say so, gets its sparsity or pattern."""

    def __init__(self, settings: PruneSettings) -> None:
        self._settings = settings
        self._promised: dict[str, float] = {}

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with its kernels in tfmot's pruning wrappers. (`earlier` promises nothing of values.)

        Raises CandidateError if XNNPACK is to run it sparse and cannot, if there is nothing to prune, or naming a
        pattern that matches nothing.
        """
        targets = layer_sparsities(model, self._settings, fine_tune.train, earlier)
        if not targets:
            raise CandidateError(f"{model.name}: there is nothing to prune (no layer is left of those that may be)")
        kernels = {name: kernel_variable(model.get_layer(name)) for name in targets}
        self._promised = {name: self._least_sparsity(kernels[name], target) for name, target in targets.items()}

        def wrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
            if layer.name not in targets:
                return layer
            schedule = _schedule(self._settings, targets[layer.name], fine_tune.total_steps)
            return _wrapped(layer, schedule, self._settings.pattern)

        return keras.models.clone_model(model, clone_function=wrapped)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """Starts tfmot's step counter, and zeroes the masked weights after each epoch."""
        return (tfmot.sparsity.keras.UpdatePruningStep(),)

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The plain network with zeros in its kernels."""
        return tfmot.sparsity.keras.strip_pruning(wrapped)

    def promises(self) -> Invariants:
        """The sparsity of each pruned layer, reached within one weight (tfmot keeps at least one), and its pattern."""
        pattern = self._settings.pattern
        return Invariants(
            sparsity=tuple(self._promised.items()),
            patterns=tuple((name, pattern) for name in self._promised) if pattern else (),
        )

    def _least_sparsity(self, kernel: keras.backend.Variable, target: float) -> float:
        if self._settings.pattern:
            return target
        size = int(kernel.shape.num_elements())
        kept = max(1, round(size * (1.0 - target)))
        return max(0, size - kept - 1) / size


def layer_sparsities(
    model: keras.Model, settings: PruneSettings, images: ImageSet, earlier: Invariants | None = None
) -> dict[str, float]:
    """The final sparsity of each layer that is pruned, in the model's order.

    With the scope "global", a sensitivity analysis on `images` distributes the zeros (`compress.sensitivity.allocate`)
    among all layers but those to which the settings give a sparsity of their own: these are not part of the budget.
    `earlier` says what layers were called that have other names now. Raises CandidateError as
    `compress.xnnpack.sparse_layers` and `compress.patterns.LayerNames` do, and naming a layer that would have too few
    zeros for XNNPACK.
    """
    names = LayerNames(model, earlier or Invariants())
    layers = {layer.name: layer for layer in _prunable(model, settings, names)}
    if settings.pattern:
        zeros, length = parse_pattern("pattern", settings.pattern)
        found = {name: _sparsity_of_pattern(layer, zeros, length) for name, layer in layers.items()}
    else:
        found = names.values(layers, settings.layers, settings.final_sparsity, LAYER_SPARSITY)
    if settings.scope == "global":
        own = names.values(layers, settings.layers, NO_SPARSITY, LAYER_SPARSITY)
        shared = [name for name, sparsity in own.items() if sparsity == NO_SPARSITY]
        found |= allocate(analyse(model, images, shared), settings.final_sparsity) if shared else {}
    if settings.policy:
        _check_enough_zeros(model, found)
    return {name: sparsity for name, sparsity in found.items() if sparsity > LEAST_TARGET}


def _prunable(model: keras.Model, settings: PruneSettings, names: LayerNames) -> list[keras.layers.Layer]:
    layers = compressible(model, names.excluded(settings.exclude), depthwise=settings.depthwise)
    if settings.policy:
        sparse = sparse_layers(model)
        layers = [layer for layer in layers if layer.name in sparse]
    return layers


def _check_enough_zeros(model: keras.Model, sparsities: Mapping[str, float]) -> None:
    for name, sparsity in sparsities.items():
        if sparsity < LEAST_SPARSE:
            raise CandidateError(
                f"{model.name}: layer {name!r} would get a sparsity of {sparsity:g}; XNNPACK runs convolutions of less "
                f"than {LEAST_SPARSE:g} dense"
            )


def _sparsity_of_pattern(layer: keras.layers.Layer, zeros: int, length: int) -> float:
    """What M zeros in each block of N come to; a last, shorter block keeps N - M weights, as tfmot fills it up."""
    shape = kernel_variable(layer).shape
    channels = int(shape[-2])  # the last axis of the kernel in a .tflite: compress.invariants.tflite_rows
    blocks, rest = divmod(channels, length)
    return (blocks * zeros + max(0, rest - (length - zeros))) / channels


def _wrapped(layer: Any, schedule: tfmot.sparsity.keras.PruningSchedule, pattern: str) -> keras.layers.Layer:
    if type(layer) is keras.layers.DepthwiseConv2D:  # tfmot knows it as a layer without prunable weights
        layer.get_prunable_weights = lambda: [layer.depthwise_kernel]
    m_by_n = parse_pattern("pattern", pattern) if pattern else None
    return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule, sparsity_m_by_n=m_by_n)


def _schedule(settings: PruneSettings, sparsity: float, total_steps: int) -> tfmot.sparsity.keras.PruningSchedule:
    """A schedule whose last mask update falls exactly on its last step, so that the end is the final sparsity.

    tfmot makes the mask of an M:N pattern once, in the first step, whatever the schedule is.
    """
    rise_steps = max(1, int(RISE_FRACTION * total_steps))
    frequency = max(1, rise_steps // MASK_UPDATES)
    if settings.schedule == "constant":
        return tfmot.sparsity.keras.ConstantSparsity(
            sparsity, begin_step=1, end_step=1 + rise_steps // frequency * frequency, frequency=frequency
        )
    return tfmot.sparsity.keras.PolynomialDecay(
        min(settings.initial_sparsity, sparsity),
        sparsity,
        begin_step=0,
        end_step=rise_steps // frequency * frequency,
        frequency=frequency,
    )
