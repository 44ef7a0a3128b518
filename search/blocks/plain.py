"""Single layers as blocks, and MobileNetV1's pair of convolutions."""

from __future__ import annotations

from search.arch import BlockSpec
from search.blocks.common import conv_bn, conv_bn_act, depthwise_bn
from search.layers import LayerList


def convolution(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """A (grouped) convolution with its normalization and activation."""
    return conv_bn_act(
        layers,
        name,
        x,
        out_channels,
        kernel_size=spec.kernel_size,
        stride=spec.stride,
        act=spec.activation,
        groups=spec.groups,
        padding=spec.padding,
    )


def depthwise_separable(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """MobileNetV1's block (Howard et al. 2017, arXiv:1704.04861): depthwise and 1x1, each with an activation."""
    x = depthwise_bn(layers, f"{name}_dw", x, spec.kernel_size, spec.stride)
    x = layers.activation(f"{name}_dw_{spec.activation}", x, spec.activation)
    return conv_bn_act(layers, f"{name}_pw", x, out_channels, kernel_size=1, stride=1, act=spec.activation)


def max_pool(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Maximum pooling."""
    return _pool(layers, "max_pool", name, x, spec)


def average_pool(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Average pooling; "same" padding is not counted in the means."""
    return _pool(layers, "avg_pool", name, x, spec)


def identity(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Nothing, where the shape stays; else the linear 1x1 convolution that gives it."""
    if spec.stride == 1 and layers.shape(x)[2] == out_channels:
        return x
    return conv_bn(layers, f"{name}_project", x, out_channels, stride=spec.stride)


def normalization(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Batch normalization and an activation by themselves, as at the end of pre-activation networks."""
    return layers.activation(f"{name}_{spec.activation}", layers.normalize(f"{name}_bn", x), spec.activation)


def _pool(layers: LayerList, kind: str, name: str, x: str, spec: BlockSpec) -> str:
    padding = spec.padding
    if padding == "explicit":
        x, padding = layers.pad(f"{name}_pad", x, spec.kernel_size // 2), "valid"
    return layers.pool(kind, f"{name}_{kind}", x, spec.kernel_size, spec.stride, padding)
