"""The table of blocks: op -> the function that lists its layers, and what a specification may say about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """One operator.

    Attributes:
      function: "module:function" of (LayerList, name, x, BlockSpec, out_channels) -> the name of the last layer.
      fields: the fields of BlockSpec that it reads, besides `op`; all others are inactive.
      kernel_sizes, strides: the legal values; a kernel size of 0 leaves that convolution out.
    """

    function: str
    fields: tuple[str, ...]
    kernel_sizes: tuple[int, ...] = (1, 3, 5, 7)
    strides: tuple[int, ...] = (1, 2)


_HIDDEN = "hidden_channels"
_INVERTED = (
    "kernel_size",
    "stride",
    "expand_ratio",
    _HIDDEN,
    "out_channels",
    "se_ratio",
    "se_channels",
    "activation",
    "skip",
)
_PLAIN = ("kernel_size", "stride", "out_channels", "activation")

BLOCKS: dict[str, Block] = {
    # inverted residuals
    "ir": Block("search.blocks.inverted:inverted_residual", _INVERTED),
    "ir3": Block("search.blocks.inverted:mobilenet_v3", _INVERTED),
    "fused": Block("search.blocks.inverted:fused_inverted_residual", _INVERTED),
    "irg": Block(
        "search.blocks.inverted:grouped_inverted_residual",
        ("kernel_size", "stride", "expand_ratio", _HIDDEN, "out_channels", "activation", "skip", "groups"),
    ),
    "uib": Block(
        "search.blocks.inverted:universal_inverted_bottleneck",
        ("start_kernel_size", "kernel_size", "stride", "expand_ratio", _HIDDEN, "out_channels", "activation", "skip"),
        kernel_sizes=(0, 3, 5, 7),
    ),
    # plain layers
    "conv": Block(
        "search.blocks.plain:convolution",
        (*_PLAIN, "groups", "padding"),
        kernel_sizes=(1, 3, 5, 7, 11),
        strides=(1, 2, 4),
    ),
    "ds": Block("search.blocks.plain:depthwise_separable", _PLAIN),
    "max": Block("search.blocks.plain:max_pool", ("kernel_size", "stride", "padding"), kernel_sizes=(2, 3, 5, 7)),
    "avg": Block("search.blocks.plain:average_pool", ("kernel_size", "stride", "padding"), kernel_sizes=(2, 3, 5, 7)),
    "id": Block("search.blocks.plain:identity", ("stride", "out_channels")),
    "bn": Block("search.blocks.plain:normalization", ("activation",)),
    # residual and branched blocks
    "basic": Block("search.blocks.residual:basic", (*_PLAIN, _HIDDEN)),
    "basic8": Block("search.blocks.residual:basic_of_resnet8", (*_PLAIN, _HIDDEN)),
    "bottleneck": Block("search.blocks.residual:bottleneck", (*_PLAIN, _HIDDEN)),
    "fire": Block("search.blocks.fire:fire", ("kernel_size", _HIDDEN, "out_channels", "activation")),
    "shuffle1": Block("search.blocks.shuffle:shuffle_v1", (*_PLAIN, _HIDDEN, "groups")),
    "shuffle2": Block("search.blocks.shuffle:shuffle_v2", (*_PLAIN, _HIDDEN)),
    "shufflex": Block("search.blocks.shuffle:shuffle_xception", (*_PLAIN, _HIDDEN)),
    # cells
    "cell": Block("search.blocks.cell:nasbench201_cell", ("edges", "out_channels")),
    "reduce": Block("search.blocks.cell:nasbench201_reduction", ("out_channels",)),
}
