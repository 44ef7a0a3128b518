"""What compression passes promise, and the check that a model still keeps it. No TensorFlow here.

All figures are about a layer's float kernel variable, as stored in the checkpoint: not what its fake quantization makes
of it (under quantization-aware training, int8 conversion only ever adds zeros and merges values, per output channel).
Layers go by the name they have in the plain network, also inside tfmot's wrappers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from compress.settings import parse_pattern
from core.errors import InvariantError

if TYPE_CHECKING:
    from core.keras_env import keras

KERNEL_NAMES = ("kernel", "depthwise_kernel")


@dataclass(frozen=True, slots=True)
class LayerState:
    """One kernel: the fraction of zeros, how many distinct values (zero included), and how many weights.

    `pattern` is "M:N" where a pattern of blocks of N was looked for: each block has at least M zeros.
    """

    layer: str
    sparsity: float
    unique_values: int
    size: int
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Invariants:
    """What must hold from now on, layer by layer, and what has become of the first network's layers.

    Attributes:
      sparsity: (layer, least sparsity 0..1).
      clusters: (layer, most distinct values, zero included).
      patterns: (layer, "M:N"): at least M zeros in each block of N weights (see `fewest_zeros`).
      origins: (layer, its name before) of layers that a pass has named anew: those of blocks that moved up, and the
        factors of a layer that was cut. A pass says what they were called in the network that it was given; after
        `merged`, it is what they were called in the network before the first pass.
      gone: the names before, likewise, of the layers that a pass has removed.
    """

    sparsity: tuple[tuple[str, float], ...] = ()
    clusters: tuple[tuple[str, int], ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    origins: tuple[tuple[str, str], ...] = ()
    gone: tuple[str, ...] = ()

    def merged(self, other: Invariants) -> Invariants:
        """Both promises; where both speak of a layer, `other`'s (the later) counts."""
        first = dict(self.origins)
        return Invariants(
            tuple({**dict(self.sparsity), **dict(other.sparsity)}.items()),
            tuple({**dict(self.clusters), **dict(other.clusters)}.items()),
            tuple({**dict(self.patterns), **dict(other.patterns)}.items()),
            tuple({**first, **{name: first.get(before, before) for name, before in other.origins}}.items()),
            tuple(dict.fromkeys((*self.gone, *(first.get(name, name) for name in other.gone)))),
        )


def observe(model: keras.Model, patterns: Iterable[tuple[str, str]] = ()) -> tuple[LayerState, ...]:
    """The state of every kernel of a plain or quantization-aware (stripped) model, in the model's order.

    `patterns` are those of the invariants: they say in which layers to look for blocks, and of which length.
    """
    lengths = {name: parse_pattern(name, pattern)[1] for name, pattern in patterns}
    states = []
    for layer in model.layers:
        name = plain_name(layer)
        states += [_state(name, variable.numpy(), lengths.get(name, 0)) for variable in _kernels(layer)]
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
    for name, pattern in required.patterns:
        state = _find(by_layer, name, pass_name)
        if not keeps_pattern(state.pattern, pattern):
            found = f"layer {name!r} has the pattern {state.pattern or 'none'}"
            raise InvariantError(f"after pass {pass_name!r} {found}, required {pattern}")


def keeps_pattern(found: str, required: str) -> bool:
    """Whether "M:N" as found has at least the required zeros in blocks of the required length."""
    if not found:
        return False
    zeros, length = (int(number) for number in found.split(":"))  # unchecked: what was found may well be 0:N
    least_zeros, required_length = parse_pattern("pattern", required)
    return length == required_length and zeros >= least_zeros


def fewest_zeros(rows: npt.NDArray[Any], length: int, zero: float = 0.0) -> int:
    """The fewest zeros in any block of `length` neighbours along the last axis of `rows`.

    That axis is the one along which a .tflite has its weights: the input channels of a convolution or dense layer, the
    channels of a depthwise one. A last, shorter block is filled up with zeros, as tfmot does when it makes the pattern.
    `zero` is the stored value that stands for 0.
    """
    is_zero = rows.reshape(-1, rows.shape[-1]) == zero
    filled = np.pad(is_zero, ((0, 0), (0, -rows.shape[-1] % length)), constant_values=True)
    return int(filled.reshape(-1, length).sum(axis=1).min())


def kernel_variable(layer: keras.layers.Layer) -> keras.backend.Variable:
    """The float kernel of a layer or of the layer inside a wrapper. Raises ValueError if there is not exactly one."""
    (kernel,) = _kernels(layer)
    return kernel


def tflite_rows(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A Keras kernel as rows along the last axis that it has in a .tflite.

    [h, w, in, out] of a convolution and [in, out] of a dense layer -> [out * h * w, in]; [h, w, c, 1] of a depthwise
    convolution -> [h * w, c].
    """
    return np.moveaxis(kernel, -1, 0).reshape(-1, kernel.shape[-2])


def plain_name(layer: keras.layers.Layer) -> str:
    """The layer's name in the plain network (wrappers add a prefix)."""
    return str(getattr(layer, "layer", layer).name)


def short_name(variable: keras.backend.Variable) -> str:
    """A variable's name without scopes and suffix: "kernel" of "quant_stem_conv/stem_conv/kernel:0"."""
    return str(variable.name).rsplit("/", 1)[-1].split(":", 1)[0]


def _kernels(layer: keras.layers.Layer) -> list[keras.backend.Variable]:
    """By variable name, because tfmot's wrappers replace the layer's `kernel` attribute by tensors."""
    return [variable for variable in layer.weights if short_name(variable) in KERNEL_NAMES]


def _state(name: str, kernel: npt.NDArray[np.float32], block_length: int) -> LayerState:
    zeros = int(np.count_nonzero(kernel == 0.0))
    pattern = f"{fewest_zeros(tflite_rows(kernel), block_length)}:{block_length}" if block_length else ""
    return LayerState(name, zeros / kernel.size, int(np.unique(kernel).size), int(kernel.size), pattern)


def _find(by_layer: dict[str, LayerState], name: str, pass_name: str) -> LayerState:
    if name not in by_layer:
        raise InvariantError(f"after pass {pass_name!r} layer {name!r} is gone, and with it what earlier passes left")
    return by_layer[name]
