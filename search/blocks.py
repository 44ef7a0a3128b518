"""Blocks: spec -> primitive layers. A new block is one function and one line of BLOCKS."""

from __future__ import annotations

from collections.abc import Callable

from search.arch import ArchSpec, BlockSpec, make_divisible
from search.layers import Layer, LayerList


def conv_bn_act(layers: LayerList, name: str, x: str, channels: int, *, kernel_size: int, stride: int, act: str) -> str:
    """Convolution without bias, batch normalization, activation."""
    x = layers.conv(f"{name}_conv", x, channels, kernel_size, stride)
    x = layers.batch_norm(f"{name}_bn", x)
    return layers.activation(f"{name}_{act}", x, act)


def squeeze_excite(layers: LayerList, name: str, x: str, channels: int) -> str:
    """Channel gates from the pooled input, `channels` wide inside (Hu et al. 2018, arXiv:1709.01507)."""
    gate = layers.global_pool(f"{name}_pool", x, keepdims=True)
    gate = layers.conv(f"{name}_reduce", gate, channels, 1, 1, use_bias=True)
    gate = layers.activation(f"{name}_relu", gate, "relu")
    gate = layers.conv(f"{name}_expand", gate, layers.shape(x)[2], 1, 1, use_bias=True)
    gate = layers.activation(f"{name}_sigmoid", gate, "sigmoid")
    return layers.multiply(f"{name}_multiply", x, gate)


def inverted_residual(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """MobileNetV2's block (Sandler et al. 2018): expand 1x1, depthwise, [squeeze-excite,] project 1x1, linear.

    As in MobileNetV2, an expand ratio of 1 has no expansion layer.
    """
    inputs, channels = x, layers.shape(x)[2]
    hidden = make_divisible(channels * spec.expand_ratio)
    if spec.expand_ratio != 1:
        x = conv_bn_act(layers, f"{name}_expand", x, hidden, kernel_size=1, stride=1, act=spec.activation)
    x = layers.depthwise(f"{name}_dw", x, spec.kernel_size, spec.stride)
    x = layers.batch_norm(f"{name}_dw_bn", x)
    x = layers.activation(f"{name}_dw_{spec.activation}", x, spec.activation)
    if spec.se_ratio:
        x = squeeze_excite(layers, f"{name}_se", x, max(1, int(channels * spec.se_ratio)))
    x = layers.conv(f"{name}_project_conv", x, out_channels, 1, 1)
    x = layers.batch_norm(f"{name}_project_bn", x)
    if spec.skip and layers.shape(inputs) == layers.shape(x):
        x = layers.add(f"{name}_add", inputs, x)
    return x


BLOCKS: dict[str, Callable[[LayerList, str, str, BlockSpec, int], str]] = {"ir": inverted_residual}


def layers_of(arch: ArchSpec) -> tuple[Layer, ...]:
    """All layers of a network in the order of execution; the last, "logits", has one output per class.

    Raises CandidateError if a stride does not fit.
    """
    layers = LayerList(arch.resolution)
    stem = arch.scaled(arch.stem_channels)
    x = conv_bn_act(layers, "stem", "image", stem, kernel_size=3, stride=arch.stem_stride, act="relu6")
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.active):
            x = BLOCKS[block.op](layers, f"s{i}_b{j}", x, block, arch.scaled(block.out_channels))
    x = conv_bn_act(layers, "head", x, arch.head_channels, kernel_size=1, stride=1, act="relu6")
    x = layers.global_pool("pool", x)
    layers.dense("logits", x, arch.num_classes)
    return tuple(layers.layers.values())
