"""What a network costs, from its spec alone: multiply-accumulates, parameters, peak activation memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.arch import ArchSpec
from search.blocks import layers_of
from search.layers import Layer


@dataclass(frozen=True, slots=True)
class Cost:
    """`macs` of one image; `params` as Keras counts them (batch norms have four per channel);
    `peak_memory_bytes` of int8 activations, batch norms and activations being fused into their producers."""

    macs: int
    params: int
    peak_memory_bytes: int


def cost(arch: ArchSpec) -> Cost:
    """The cost of a network. Raises CandidateError if its strides do not fit."""
    layers = layers_of(arch)
    by_name = {layer.name: layer for layer in layers}
    return Cost(
        macs=sum(_macs(layer, by_name) for layer in layers),
        params=sum(_params(layer, by_name) for layer in layers),
        peak_memory_bytes=_peak_activation_bytes(layers),
    )


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


def _peak_activation_bytes(layers: tuple[Layer, ...]) -> int:
    """The most bytes that must be alive at once: a tensor lives from its producer to its last consumer."""
    producer: dict[str, str] = {}  # the tensor that each layer's output is stored in
    for layer in layers:
        fused = layer.kind in ("batch_norm", "activation")
        producer[layer.name] = producer[layer.inputs[0]] if fused else layer.name
    tensors = [layer for layer in layers if producer[layer.name] == layer.name]
    order = {layer.name: index for index, layer in enumerate(tensors)}
    last_use = dict(order)
    for layer in tensors:
        for name in layer.inputs:
            last_use[producer[name]] = order[layer.name]
    lives = [(order[layer.name], last_use[layer.name], math.prod(layer.out_shape)) for layer in tensors]
    return max(sum(size for born, dies, size in lives if born <= now <= dies) for now in range(len(tensors)))
