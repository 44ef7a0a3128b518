"""The units of ShuffleNet V1 and V2, and what single-path one-shot search adds to them."""

from __future__ import annotations

from core.errors import CandidateError
from search.arch import BlockSpec
from search.blocks.common import conv_bn, conv_bn_act, depthwise_bn, split_evenly
from search.layers import LayerList

BOTTLENECK_RATIO = 4
HALVES = 2
XCEPTION_PAIRS = 3


def shuffle_v1(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Grouped 1x1, shuffle, depthwise, grouped 1x1 (Zhang et al. 2018, arXiv:1707.01083, figure 2).

    With stride 2 the pooled input is concatenated, else added. As in the paper, the first convolution is not grouped
    where the input is narrower than it.
    """
    channels = layers.shape(x)[2]
    if spec.stride == 1 and channels != out_channels:
        raise CandidateError(f"{name}: stride 1 keeps {channels} channels, not {out_channels}")
    if not spec.hidden_channels and out_channels % (BOTTLENECK_RATIO * spec.groups):
        raise CandidateError(
            f"{name}: {out_channels} output channels are not divisible by {BOTTLENECK_RATIO} x {spec.groups} groups"
        )
    if spec.stride != 1 and channels >= out_channels:
        raise CandidateError(f"{name}: with stride {spec.stride} the {channels} input channels must grow")
    hidden = spec.hidden_channels or out_channels // BOTTLENECK_RATIO
    branch = out_channels if spec.stride == 1 else out_channels - channels
    groups = spec.groups if channels >= hidden else 1
    y = conv_bn_act(layers, f"{name}_1", x, hidden, kernel_size=1, stride=1, act=spec.activation, groups=groups)
    y = y if spec.groups == 1 else layers.shuffle(f"{name}_shuffle", y, spec.groups)
    y = depthwise_bn(layers, f"{name}_dw", y, spec.kernel_size, spec.stride)
    y = conv_bn(layers, f"{name}_2", y, branch, groups=spec.groups)
    if spec.stride == 1:
        x = layers.add(f"{name}_add", x, y)
    else:
        pooled = layers.pool("avg_pool", f"{name}_pool", x, 3, spec.stride, "same")
        x = layers.concat(f"{name}_concat", [pooled, y])
    return layers.activation(f"{name}_{spec.activation}", x, spec.activation)


def shuffle_v2(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """Half the channels pass, half go through 1x1, depthwise, 1x1; then a shuffle (Ma et al. 2018, arXiv:1807.11164).

    Where the stride or the channels change, both halves come from the whole input through a branch of their own.
    """
    passed, x, half = _halves(layers, name, x, spec, out_channels)
    hidden = spec.hidden_channels or half
    x = conv_bn_act(layers, f"{name}_1", x, hidden, kernel_size=1, stride=1, act=spec.activation)
    x = _depthwise_pointwise(layers, f"{name}_dw", f"{name}_2", x, half, spec, spec.stride)
    return layers.shuffle(f"{name}_shuffle", layers.concat(f"{name}_concat", [passed, x]), HALVES)


def shuffle_xception(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """As `shuffle_v2`, with three pairs of depthwise and 1x1 convolution (Guo et al. 2020, arXiv:1904.00420)."""
    passed, x, half = _halves(layers, name, x, spec, out_channels)
    for index in range(XCEPTION_PAIRS):
        stride = spec.stride if index == 0 else 1
        channels = half if index == XCEPTION_PAIRS - 1 else spec.hidden_channels or half
        x = _depthwise_pointwise(layers, f"{name}_dw{index}", f"{name}_pw{index}", x, channels, spec, stride)
    return layers.shuffle(f"{name}_shuffle", layers.concat(f"{name}_concat", [passed, x]), HALVES)


def _halves(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> tuple[str, str, int]:
    """The half that passes, what the other half is made of, and how many channels a half has."""
    if out_channels % HALVES:
        raise CandidateError(f"{name}: {out_channels} output channels are not divisible by {HALVES} halves")
    half = out_channels // HALVES
    if spec.stride == 1 and layers.shape(x)[2] == out_channels:
        passed, x = split_evenly(layers, name, x, HALVES)
        return passed, x, half
    return _depthwise_pointwise(layers, f"{name}_pass_dw", f"{name}_pass", x, half, spec, spec.stride), x, half


def _depthwise_pointwise(
    layers: LayerList, depthwise: str, pointwise: str, x: str, channels: int, spec: BlockSpec, stride: int
) -> str:
    x = depthwise_bn(layers, depthwise, x, spec.kernel_size, stride)
    return conv_bn_act(layers, pointwise, x, channels, kernel_size=1, stride=1, act=spec.activation)
