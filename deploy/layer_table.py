"""What each layer's weights became in a .tflite: one row per kernel, and what was promised but is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.keras_env import keras

from compress.invariants import Invariants, fewest_zeros, plain_name
from compress.settings import parse_pattern
from deploy.flatbuffer import Graph, WeightTensor
from deploy.float_kernels import FoldedKernel, folded_kernels, nearest


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One weight tensor of the .tflite. `layer` is the Keras layer, or the tensor's name if none matches.

    Attributes:
      max_unique_values: the largest count among weights that share a scale and what was folded into them: those of one
        output channel, of one input, or of the tensor. None where each weight has a factor of its own: where a
        normalization before a dense layer was folded into it, and another behind it or scales of its rows.
      bits: of a stored weight.
      scales: how many scales the tensor has; `scale_min` and `scale_max` are the extremes of them. 0 for float weights.
      zero_point: the stored value that stands for 0.
      pattern: the promised "M:N" (at least M zeros in each block of N weights), "" if none was promised.
      float_error: root mean square of what the stored weights differ from the Keras model's, with the normalizations
        that the converter folded in, divided by the root mean square of those; None if the layer is not known.
    """

    layer: str
    operator: str
    weights: int
    sparsity: float
    unique_values: int
    max_unique_values: int | None
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
    layers = {plain_name(layer): layer for layer in model.layers}
    rows = []
    for weight in graph.weights:
        name = names.get(id(weight), weight.name)
        candidates = tuple(folded_kernels(layers[name], model)) if name in layers else ()
        rows.append(_row(name, weight, patterns.get(name, ""), candidates))
    return tuple(rows)


def _row(layer: str, weight: WeightTensor, pattern: str, candidates: tuple[FoldedKernel, ...]) -> LayerWeights:
    folded, float_error = nearest(weight.real_values, candidates)
    # What may have been folded in behind a layer counts as folded; of a layer that is not known, nothing is.
    by_output = len(weight.scales) > 1 or folded is None or any(other.by_output for other in candidates)
    by_input = folded is not None and folded.by_input
    return LayerWeights(
        layer=layer,
        operator=weight.operator,
        weights=int(weight.values.size),
        sparsity=weight.sparsity,
        unique_values=weight.unique_values,
        max_unique_values=_max_unique_values(weight, by_output, by_input),
        bits=weight.bits,
        scales=len(weight.scales),
        scale_min=min(weight.scales, default=0.0),
        scale_max=max(weight.scales, default=0.0),
        zero_point=weight.zero_point,
        pattern=pattern,
        float_error=float_error,
    )


def _max_unique_values(weight: WeightTensor, by_output: bool, by_input: bool) -> int | None:
    """Among weights that share a scale, where each output or each input has one of its own."""
    if by_output and by_input:
        return None
    axis = weight.channel_axis if by_output else -1 if by_input else None
    return weight.most_unique_values(axis)


def broken_promises(
    by_layer: Mapping[str, WeightTensor], rows: Iterable[LayerWeights], promised: Invariants
) -> list[str]:
    """One line for each layer that has lost sparsity, clusters or pattern, or is not in the file.

    `rows` are those of `layer_table`. Clusters are not looked for where each weight has a factor of its own.
    """
    problems = []
    unique_values = {row.layer: row.max_unique_values for row in rows}
    for layer, least in promised.sparsity:
        # 1e-9: both sides are a count divided by the same size; only the last bit of the quotient may differ.
        if layer in by_layer and by_layer[layer].sparsity < least - 1e-9:
            problems.append(f"layer {layer}: sparsity {by_layer[layer].sparsity:.4f}; expected at least {least:.4f}")
    for layer, most in promised.clusters:
        if (found := unique_values.get(layer)) is not None and found > most:
            problems.append(f"layer {layer}: {found} distinct weights of one scale; expected at most {most}")
    for layer, pattern in promised.patterns:
        zeros, length = parse_pattern(f"layer {layer}", pattern)
        if layer in by_layer and (found := _fewest_zeros(by_layer[layer], length)) < zeros:
            problems.append(f"layer {layer}: a block of {length} weights has {found} zeros; expected at least {zeros}")
    wanted = {layer for layer, _ in (*promised.sparsity, *promised.clusters, *promised.patterns)}
    return problems + [f"layer {layer}: its weights are not in the file" for layer in sorted(wanted - by_layer.keys())]


def _fewest_zeros(weight: WeightTensor, length: int) -> int:
    return fewest_zeros(weight.values, length, weight.zero_point)
