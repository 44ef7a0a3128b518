"""What compression passes promise, and the check that a model still keeps it. No TensorFlow here.

All figures are about a layer's float kernel variable, as stored in the checkpoint: not what its fake quantization makes
of it (under quantization-aware training, int8 conversion only ever adds zeros and merges values, per output channel).
Layers go by the name they have in the plain network, also inside tfmot's wrappers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.errors import InvariantError

if TYPE_CHECKING:
    from core.keras_env import keras

KERNEL_NAMES = ("kernel", "depthwise_kernel")


@dataclass(frozen=True, slots=True)
class LayerState:
    """One kernel: the fraction of zeros, how many distinct values (zero included), and how many weights."""

    layer: str
    sparsity: float
    unique_values: int
    size: int


@dataclass(frozen=True, slots=True)
class Invariants:
    """What must hold from now on: (layer, least sparsity 0..1) and (layer, most distinct values incl. zero)."""

    sparsity: tuple[tuple[str, float], ...] = ()
    clusters: tuple[tuple[str, int], ...] = ()

    def merged(self, other: Invariants) -> Invariants:
        """Both promises; where both speak of a layer, `other`'s (the later) counts."""
        return Invariants(
            tuple({**dict(self.sparsity), **dict(other.sparsity)}.items()),
            tuple({**dict(self.clusters), **dict(other.clusters)}.items()),
        )


def observe(model: keras.Model) -> tuple[LayerState, ...]:
    """The state of every kernel of a plain or quantization-aware (stripped) model, in the model's order."""
    states = []
    for layer in model.layers:
        states += [_state(plain_name(layer), variable.numpy()) for variable in _kernels(layer)]
    return tuple(states)


def check(states: Iterable[LayerState], required: Invariants, pass_name: str) -> None:
    """Raises InvariantError naming layer and pass if a kernel is all zero or breaks what is required.

    (tfmot's cluster-preserving training can zero whole layers: tfmot issue 979.)
    """
    by_layer = {state.layer: state for state in states}
    for state in by_layer.values():
        if state.sparsity == 1.0:
            raise InvariantError(
                f"pass {pass_name!r} zeroed layer {state.layer!r} whole (all its {state.size} weights)"
            )
    for name, least in required.sparsity:
        state = _find(by_layer, name, pass_name)
        if state.sparsity < least - 0.5 / state.size:  # half a weight: forgives float rounding only
            found = f"layer {name!r} has sparsity {state.sparsity:.4f}"
            raise InvariantError(f"after pass {pass_name!r} {found}, required at least {least:.4f}")
    for name, most in required.clusters:
        state = _find(by_layer, name, pass_name)
        if state.unique_values > most:
            found = f"layer {name!r} has {state.unique_values} distinct values"
            raise InvariantError(f"after pass {pass_name!r} {found}, required at most {most}")


def kernel_variable(layer: keras.layers.Layer) -> keras.backend.Variable:
    """The float kernel of a layer or of the layer inside a wrapper. Raises ValueError if there is not exactly one."""
    (kernel,) = _kernels(layer)
    return kernel


def plain_name(layer: keras.layers.Layer) -> str:
    """The layer's name in the plain network (wrappers add a prefix)."""
    return str(getattr(layer, "layer", layer).name)


def short_name(variable: keras.backend.Variable) -> str:
    """A variable's name without scopes and suffix: "kernel" of "quant_stem_conv/stem_conv/kernel:0"."""
    return str(variable.name).rsplit("/", 1)[-1].split(":", 1)[0]


def _kernels(layer: keras.layers.Layer) -> list[keras.backend.Variable]:
    """By variable name, because tfmot's wrappers replace the layer's `kernel` attribute by tensors."""
    return [variable for variable in layer.weights if short_name(variable) in KERNEL_NAMES]


def _state(name: str, kernel: npt.NDArray[np.float32]) -> LayerState:
    zeros = int(np.count_nonzero(kernel == 0.0))
    return LayerState(name, zeros / kernel.size, int(np.unique(kernel).size), int(kernel.size))


def _find(by_layer: dict[str, LayerState], name: str, pass_name: str) -> LayerState:
    if name not in by_layer:
        raise InvariantError(f"after pass {pass_name!r} layer {name!r} is gone, and with it what earlier passes left")
    return by_layer[name]
