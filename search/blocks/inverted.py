"""Inverted residuals: the MobileNet, MnasNet, EfficientNet, ProxylessNAS, FBNet and Once-for-All families."""

from __future__ import annotations

from search.arch import BlockSpec, make_divisible
from search.blocks.common import add_skip, conv_bn, conv_bn_act, depthwise_bn, squeeze_excite
from search.layers import LayerList


def inverted_residual(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """MobileNetV2's block (Sandler et al. 2018): expand 1x1, depthwise, [squeeze-excite,] project 1x1, linear.

    As in MobileNetV2, an expand ratio of 1 has no expansion layer (a width in `hidden_channels` always has one): with a
    linear projection that is MnasNet's SepConv (Tan et al. 2019, arXiv:1807.11626), and other ratios are its MBConv.
    The squeeze-excite of MnasNet and EfficientNet (Tan & Le 2019, arXiv:1905.11946) is `se_ratio` of the block's
    *input* wide; swish blocks have a swish in it too.
    """
    inputs, channels = x, layers.shape(x)[2]
    x = _expand(layers, name, x, spec)
    x = depthwise_bn(layers, f"{name}_dw", x, spec.kernel_size, spec.stride)
    x = layers.activation(f"{name}_dw_{spec.activation}", x, spec.activation)
    if spec.se_ratio or spec.se_channels:
        x = _squeeze_excite_of_input(layers, name, x, spec, channels)
    x = conv_bn(layers, f"{name}_project", x, out_channels)
    return add_skip(layers, name, inputs, x, spec.skip)


def mobilenet_v3(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """MobileNetV3's block (Howard et al. 2019, arXiv:1905.02244): as V2's, but for the squeeze-excite.

    That is `se_ratio` of the *expanded* channels wide, rounded to a multiple of 8, and its gate is a hard sigmoid.
    """
    inputs = x
    x = _expand(layers, name, x, spec)
    hidden = layers.shape(x)[2]
    x = depthwise_bn(layers, f"{name}_dw", x, spec.kernel_size, spec.stride)
    x = layers.activation(f"{name}_dw_{spec.activation}", x, spec.activation)
    if spec.se_ratio or spec.se_channels:
        width = spec.se_channels or make_divisible(hidden * spec.se_ratio)
        x = squeeze_excite(layers, f"{name}_se", x, width, gate="hard_sigmoid")
    x = conv_bn(layers, f"{name}_project", x, out_channels)
    return add_skip(layers, name, inputs, x, spec.skip)


def fused_inverted_residual(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """FusedMBConv (Tan & Le 2021, EfficientNetV2, arXiv:2104.00298): one full convolution expands and is spatial.

    An expand ratio of 1 leaves that convolution alone, with its activation.
    """
    inputs, channels = x, layers.shape(x)[2]
    is_single = not spec.hidden_channels and spec.expand_ratio == 1
    hidden = out_channels if is_single else _hidden(channels, spec)
    x = conv_bn_act(
        layers,
        f"{name}_fused",
        x,
        hidden,
        kernel_size=spec.kernel_size,
        stride=spec.stride,
        act=spec.activation,
    )
    if spec.se_ratio or spec.se_channels:
        x = _squeeze_excite_of_input(layers, name, x, spec, channels)
    if not is_single:
        x = conv_bn(layers, f"{name}_project", x, out_channels)
    return add_skip(layers, name, inputs, x, spec.skip)


def grouped_inverted_residual(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """FBNet's block (Wu et al. 2019, arXiv:1812.03443, figure 3): as V2's, but its 1x1 convolutions may be grouped.

    The channels are then shuffled after the first one, which is there with an expand ratio of 1 too.
    """
    inputs, hidden = x, _hidden(layers.shape(x)[2], spec)
    act, groups = spec.activation, spec.groups
    x = conv_bn_act(layers, f"{name}_expand", x, hidden, kernel_size=1, stride=1, act=act, groups=groups)
    x = layers.shuffle(f"{name}_shuffle", x, groups) if groups > 1 else x
    x = depthwise_bn(layers, f"{name}_dw", x, spec.kernel_size, spec.stride)
    x = layers.activation(f"{name}_dw_{act}", x, act)
    x = conv_bn(layers, f"{name}_project", x, out_channels, groups=groups)
    return add_skip(layers, name, inputs, x, spec.skip)


def universal_inverted_bottleneck(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """MobileNetV4's block (Qin et al. 2024, arXiv:2404.10518): [depthwise,] expand 1x1, [depthwise,] project 1x1.

    `start_kernel_size` and `kernel_size` are the depthwise kernels before and after the expansion; 0 leaves one out
    (both: a feed-forward block; the first: an inverted bottleneck; the second: a ConvNext-like block). The stride is
    the second's where it exists, else the first's; without any, the projection has it.
    """
    inputs, channels = x, layers.shape(x)[2]
    stride = spec.stride
    if spec.start_kernel_size:
        x = depthwise_bn(layers, f"{name}_start_dw", x, spec.start_kernel_size, 1 if spec.kernel_size else stride)
        stride = stride if spec.kernel_size else 1
    hidden = _hidden(channels, spec)
    x = conv_bn_act(layers, f"{name}_expand", x, hidden, kernel_size=1, stride=1, act=spec.activation)
    if spec.kernel_size:
        x = depthwise_bn(layers, f"{name}_dw", x, spec.kernel_size, stride)
        x = layers.activation(f"{name}_dw_{spec.activation}", x, spec.activation)
        stride = 1
    x = conv_bn(layers, f"{name}_project", x, out_channels, stride=stride)
    return add_skip(layers, name, inputs, x, spec.skip)


def _squeeze_excite_of_input(layers: LayerList, name: str, x: str, spec: BlockSpec, channels: int) -> str:
    """Squeeze-excite as in MnasNet and EfficientNet, by the `channels` of the block's input."""
    act = "swish" if spec.activation == "swish" else "relu"
    width = spec.se_channels or max(1, int(channels * spec.se_ratio))
    return squeeze_excite(layers, f"{name}_se", x, width, act=act)


def _expand(layers: LayerList, name: str, x: str, spec: BlockSpec) -> str:
    if not spec.hidden_channels and spec.expand_ratio == 1:
        return x
    hidden = _hidden(layers.shape(x)[2], spec)
    return conv_bn_act(layers, f"{name}_expand", x, hidden, kernel_size=1, stride=1, act=spec.activation)


def _hidden(channels: int, spec: BlockSpec) -> int:
    """The inner width of a block with that many input channels."""
    return spec.hidden_channels or make_divisible(channels * spec.expand_ratio)
