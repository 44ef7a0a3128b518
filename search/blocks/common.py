"""What several blocks are made of."""

from __future__ import annotations

from core.errors import CandidateError
from search.layers import LayerList

SKIP_OPS = ("ir", "ir3", "fused", "uib")


def conv_bn(
    layers: LayerList,
    name: str,
    x: str,
    channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    padding: str = "same",
) -> str:
    """A convolution and its normalization. Raises CandidateError if `groups` does not divide the channels."""
    return conv_bn_act(
        layers,
        name,
        x,
        channels,
        kernel_size=kernel_size,
        stride=stride,
        act="linear",
        groups=groups,
        padding=padding,
    )


def conv_bn_act(
    layers: LayerList,
    name: str,
    x: str,
    channels: int,
    *,
    kernel_size: int,
    stride: int,
    act: str,
    groups: int = 1,
    padding: str = "same",
) -> str:
    """Convolution, batch normalization, activation.

    A grouped convolution is one convolution for each slice of the channels: TensorFlow has no gradient of grouped ones
    on the CPU. The .tflite holds the slices, convolutions and the concatenation too. Each group has its own
    normalization and activation, which thus fold into its convolution; after the concatenation they could not.

    Raises CandidateError if `groups` does not divide the channels.
    """
    if channels % groups:
        raise CandidateError(f"{name}_conv: {channels} output channels are not divisible by {groups} groups")
    if padding == "explicit":
        x, padding = layers.pad(f"{name}_pad", x, kernel_size // 2), "valid"
    parts = []
    for index, part in enumerate(split_evenly(layers, f"{name}_conv", x, groups)):
        end = str(index) if groups > 1 else ""
        part = layers.conv(
            f"{name}_conv{end}",
            part,
            channels // groups,
            kernel_size,
            stride,
            use_bias=layers.conv_bias,
            padding=padding,
        )
        part = layers.normalize(f"{name}_bn{end}", part)
        parts.append(layers.activation(f"{name}_{act}{end}", part, act))
    return parts[0] if groups == 1 else layers.concat(f"{name}_concat", parts)


def depthwise_bn(layers: LayerList, name: str, x: str, kernel_size: int, stride: int) -> str:
    """A depthwise convolution `name` and its normalization."""
    padding = layers.strided_padding if stride > 1 else "same"
    if padding == "explicit":
        x, padding = layers.pad(f"{name}_pad", x, kernel_size // 2), "valid"
    x = layers.depthwise(name, x, kernel_size, stride, use_bias=layers.conv_bias, padding=padding)
    return layers.normalize(f"{name}_bn", x)


def squeeze_excite(
    layers: LayerList, name: str, x: str, channels: int, *, act: str = "relu", gate: str = "sigmoid"
) -> str:
    """Channel gates from the pooled input, `channels` wide inside (Hu et al. 2018, arXiv:1709.01507)."""
    scale = layers.global_pool(f"{name}_pool", x, keepdims=True)
    scale = layers.conv(f"{name}_reduce", scale, channels, 1, 1, use_bias=True)
    scale = layers.activation(f"{name}_{act}", scale, act)
    scale = layers.conv(f"{name}_expand", scale, layers.shape(x)[2], 1, 1, use_bias=True)
    scale = layers.activation(f"{name}_{gate}", scale, gate)
    return layers.multiply(f"{name}_multiply", x, scale)


def add_skip(layers: LayerList, name: str, inputs: str, x: str, skip: bool) -> str:
    """`x` plus the block's input where that is wanted and the shapes allow it."""
    if skip and layers.shape(inputs) == layers.shape(x):
        return layers.add(f"{name}_add", inputs, x)
    return x


def split_evenly(layers: LayerList, name: str, x: str, parts: int) -> list[str]:
    """`parts` equal slices of the channels (one is `x` itself). Raises CandidateError if they do not divide."""
    channels = layers.shape(x)[2]
    if channels % parts:
        raise CandidateError(f"{name}: {channels} channels are not divisible by {parts} groups")
    if parts == 1:
        return [x]
    size = channels // parts
    return [layers.slice_channels(f"{name}_slice{part}", x, part * size, size) for part in range(parts)]
