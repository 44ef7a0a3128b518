"""The blocks of ResNets (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

from search.arch import BlockSpec
from search.blocks.common import conv_bn, conv_bn_act
from search.layers import LayerList

BOTTLENECK_RATIO = 4


def basic(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Two convolutions and the input, projected by a 1x1 convolution where the shape changes."""
    y = _pair(layers, name, x, spec, out_channels)
    if _needs_projection(layers, x, spec, out_channels):
        x = conv_bn(layers, f"{name}_shortcut", x, out_channels, stride=spec.stride)
    return _join(layers, name, x, y, spec)


def basic_of_resnet8(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """As `basic`, with a projection that has a bias and no normalization (MLPerf Tiny, Banbury et al. 2021)."""
    y = _pair(layers, name, x, spec, out_channels)
    if _needs_projection(layers, x, spec, out_channels):
        x = layers.conv(f"{name}_shortcut_conv", x, out_channels, 1, spec.stride, use_bias=True)
    return _join(layers, name, x, y, spec)


def bottleneck(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """1x1, spatial and 1x1 convolution, a quarter of the output channels wide inside; the first has the stride."""
    hidden = spec.hidden_channels or max(1, out_channels // BOTTLENECK_RATIO)
    act = spec.activation
    y = conv_bn_act(layers, f"{name}_1", x, hidden, kernel_size=1, stride=spec.stride, act=act)
    y = conv_bn_act(layers, f"{name}_2", y, hidden, kernel_size=spec.kernel_size, stride=1, act=act)
    y = conv_bn(layers, f"{name}_3", y, out_channels)
    if _needs_projection(layers, x, spec, out_channels):
        x = conv_bn(layers, f"{name}_shortcut", x, out_channels, stride=spec.stride)
    return _join(layers, name, x, y, spec)


def _pair(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    y = conv_bn_act(
        layers,
        f"{name}_1",
        x,
        spec.hidden_channels or out_channels,
        kernel_size=spec.kernel_size,
        stride=spec.stride,
        act=spec.activation,
    )
    return conv_bn(layers, f"{name}_2", y, out_channels, kernel_size=spec.kernel_size)


def _needs_projection(layers: LayerList, x: str, spec: BlockSpec, out_channels: int) -> bool:
    return bool(spec.stride != 1 or layers.shape(x)[2] != out_channels)


def _join(layers: LayerList, name: str, x: str, y: str, spec: BlockSpec) -> str:
    x = layers.add(f"{name}_add", x, y)
    return layers.activation(f"{name}_{spec.activation}", x, spec.activation)
