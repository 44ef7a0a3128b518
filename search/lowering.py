"""Spec -> primitive layers: stem, blocks, head, classifier."""

from __future__ import annotations

from core.registry import load
from search.arch import ArchSpec
from search.blocks.common import conv_bn_act
from search.blocks.table import BLOCKS
from search.layers import Layer, LayerList

_FUNCTIONS = {op: block.function for op, block in BLOCKS.items()}


def layers_of(arch: ArchSpec) -> tuple[Layer, ...]:
    """All layers of a network in the order of execution; the last has one output per class.

    Layers of block j of stage i are named "s{i}_b{j}_...". Raises CandidateError, beginning with such a name, if a
    shape does not fit.
    """
    layers = LayerList(arch.resolution, arch.norm, arch.form)
    x = "image"
    if arch.stem_channels:
        x = conv_bn_act(
            layers,
            "stem",
            x,
            arch.scaled(arch.stem_channels),
            kernel_size=3,
            stride=arch.stem_stride,
            act=arch.stem_activation,
            padding=layers.strided_padding if arch.stem_stride > 1 else "same",
        )
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.active):
            function = load(_FUNCTIONS, block.op, "op")
            x = function(layers, f"s{i}_b{j}", x, block, arch.scaled(block.out_channels))
    _head(layers, x, arch)
    return tuple(layers.layers.values())


def _head(layers: LayerList, x: str, arch: ArchSpec) -> None:
    act = arch.head_activation
    if arch.head_channels:
        x = conv_bn_act(layers, "head", x, arch.head_channels, kernel_size=1, stride=1, act=act)
    if arch.pooling == "scores":
        x = layers.conv("scores", x, arch.num_classes, 1, 1, use_bias=True)
        layers.global_pool("logits", layers.activation(f"scores_{act}", x, act))
        return
    if arch.pooling == "flatten":
        x = layers.flatten("flatten", x)
    else:
        x = layers.global_pool("pool", x, keepdims=arch.head_norm or arch.form == "xnnpack")
        if arch.form == "xnnpack" and not arch.head_norm:
            x = layers.flatten("flatten", x)
    for index, units in enumerate(arch.head_units):
        if arch.head_norm:
            x = conv_bn_act(layers, f"units{index}", x, units, kernel_size=1, stride=1, act=act)
        else:
            x = layers.activation(f"units{index}_{act}", layers.dense(f"units{index}", x, units), act)
    if arch.head_norm:
        x = layers.flatten("flatten", x)
    layers.dense("logits", x, arch.num_classes)
