"""What a network costs, from its spec alone: multiply-accumulates, parameters, memory and size of its .tflite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.arch import ArchSpec
from search.layers import Layer
from search.lowering import layers_of
from search.tflite_plan import file_size_bytes, operators_of, peak_activation_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs of one image and of the files.

    Attributes:
      macs: multiply-accumulates of the convolutions and dense layers of one image.
      params: as Keras counts them: a batch normalization has four per channel.
      peak_memory_bytes: the most bytes of activations alive at once in the full-integer .tflite, as
        search.tflite_plan.peak_activation_bytes counts them.
      int8_size_bytes: the size of that file, estimated to a few per cent.
    """

    macs: int
    params: int
    peak_memory_bytes: int
    int8_size_bytes: int


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer adds to a network's `macs` and `params`."""

    layer: Layer
    macs: int
    params: int


def cost(arch: ArchSpec) -> Cost:
    """The cost of a network. Raises CandidateError if its strides do not fit."""
    layers = layers_of(arch)
    costs = layer_costs(layers)
    operators = operators_of(layers)
    return Cost(
        macs=sum(item.macs for item in costs),
        params=sum(item.params for item in costs),
        peak_memory_bytes=peak_activation_bytes(operators),
        int8_size_bytes=file_size_bytes(operators),
    )


def layer_costs(layers: Sequence[Layer]) -> tuple[LayerCost, ...]:
    """The costs of each layer of a network."""
    by_name = {layer.name: layer for layer in layers}
    return tuple(LayerCost(layer, _macs(layer, by_name), _params(layer, by_name)) for layer in layers)


def _input_channels(layer: Layer, by_name: dict[str, Layer]) -> int:
    return by_name[layer.inputs[0]].out_shape[2]


def _macs(layer: Layer, by_name: dict[str, Layer]) -> int:
    height, width, channels = layer.out_shape
    if layer.kind in ("conv", "dense"):
        return height * width * channels * layer.kernel_size**2 * _input_channels(layer, by_name)
    if layer.kind == "depthwise":
        return height * width * channels * layer.kernel_size**2
    return 0


def _params(layer: Layer, by_name: dict[str, Layer]) -> int:
    channels = layer.out_shape[2]
    bias = channels if layer.use_bias else 0
    if layer.kind in ("conv", "dense"):
        return layer.kernel_size**2 * _input_channels(layer, by_name) * channels + bias
    if layer.kind == "depthwise":
        return layer.kernel_size**2 * channels + bias
    return 4 * channels if layer.kind == "batch_norm" else 0
