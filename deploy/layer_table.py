"""What each layer's weights became in a .tflite: one row per kernel, and what was promised but is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.keras_env import keras

import numpy as np

from compress.invariants import Invariants, fewest_zeros
from compress.settings import parse_pattern
from deploy.flatbuffer import Graph, WeightTensor
from deploy.float_kernels import Float32, folded_kernels


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One weight tensor of the .tflite. `layer` is the Keras layer, or the tensor's name if none matches.

    Attributes:
      max_unique_values: the largest count among weights that share a scale: one output channel, or the tensor.
      bits: of a stored weight.
      scales: how many scales the tensor has; `scale_min` and `scale_max` are the extremes of them. 0 for float weights.
      zero_point: the stored value that stands for 0.
      pattern: the promised "M:N" (at least M zeros in each block of N weights), "" if none was promised.
      float_error: root mean square of what the stored weights differ from the Keras model's, its batch normalizations
        folded in, divided by the root mean square of those; None if the layer is not known.
    """

    layer: str
    operator: str
    weights: int
    sparsity: float
    unique_values: int
    max_unique_values: int
    bits: int = 0
    scales: int = 0
    scale_min: float = 0.0
    scale_max: float = 0.0
    zero_point: int = 0
    pattern: str = ""
    float_error: float | None = None


def layer_table(
    graph: Graph, by_layer: Mapping[str, WeightTensor], model: keras.Model, promised: Invariants
) -> tuple[LayerWeights, ...]:
    """The rows in the order of the .tflite's operators."""
    names = {id(weight): name for name, weight in by_layer.items()}
    patterns = dict(promised.patterns)
    kernels = folded_kernels(model)
    rows = []
    for weight in graph.weights:
        layer = names.get(id(weight), weight.name)
        rows.append(_row(layer, weight, patterns.get(layer, ""), kernels.get(layer)))
    return tuple(rows)


def _row(layer: str, weight: WeightTensor, pattern: str, kernel: Float32 | None) -> LayerWeights:
    return LayerWeights(
        layer=layer,
        operator=weight.operator,
        weights=int(weight.values.size),
        sparsity=weight.sparsity,
        unique_values=weight.unique_values,
        max_unique_values=weight.max_unique_values,
        bits=weight.bits,
        scales=len(weight.scales),
        scale_min=min(weight.scales, default=0.0),
        scale_max=max(weight.scales, default=0.0),
        zero_point=weight.zero_point,
        pattern=pattern,
        float_error=None if kernel is None else _relative_error(weight.real_values, kernel),
    )


def _relative_error(found: Float32, expected: Float32) -> float | None:
    if found.shape != expected.shape:
        return None
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size > 0 else None


def broken_promises(by_layer: Mapping[str, WeightTensor], promised: Invariants) -> list[str]:
    """One line for each layer that has lost sparsity, clusters or pattern, or is not in the file."""
    problems = []
    for layer, least in promised.sparsity:
        # 1e-9: both sides are a count divided by the same size; only the last bit of the quotient may differ.
        if layer in by_layer and by_layer[layer].sparsity < least - 1e-9:
            problems.append(f"layer {layer}: sparsity {by_layer[layer].sparsity:.4f}; expected at least {least:.4f}")
    for layer, most in promised.clusters:
        if layer in by_layer and (found := by_layer[layer].max_unique_values) > most:
            problems.append(f"layer {layer}: {found} distinct weights of one scale; expected at most {most}")
    for layer, pattern in promised.patterns:
        zeros, length = parse_pattern(f"layer {layer}", pattern)
        if layer in by_layer and (found := _fewest_zeros(by_layer[layer], length)) < zeros:
            problems.append(f"layer {layer}: a block of {length} weights has {found} zeros; expected at least {zeros}")
    wanted = {layer for layer, _ in (*promised.sparsity, *promised.clusters, *promised.patterns)}
    return problems + [f"layer {layer}: its weights are not in the file" for layer in sorted(wanted - by_layer.keys())]


def _fewest_zeros(weight: WeightTensor, length: int) -> int:
    return fewest_zeros(weight.values, length, weight.zero_point)
