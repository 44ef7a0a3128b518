"""What a network is, as plain values: blocks, stages and architectures. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.checks import in_range
from core.errors import UsageError, bad_value
from search.blocks.table import BLOCKS
from search.choice import OneOf

OPS = tuple(BLOCKS)
ACTIVATIONS = ("relu6", "relu", "hswish", "swish", "linear")
PADDINGS = ("same", "valid", "explicit")
NORMS = ("bn", "bias_bn", "bias")
POOLINGS = ("mean", "flatten", "scores")
FORMS = ("plain", "xnnpack")
STEM_STRIDES = (1, 2)
CHANNEL_DIVISOR = 8
# NAS-Bench-201: operations of a cell's edges, in the order of the benchmark's indices, and the edges' order.
CELL_OPS = ("none", "skip", "conv1x1", "conv3x3", "avg3x3")
CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL_NODES = 4
# Absolute widths and the ratios that they make inactive.
OVERRIDES = {"hidden_channels": "expand_ratio", "se_channels": "se_ratio"}


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One block. In a template any field, and any item of `edges`, may hold a OneOf.

    An operator reads some of the fields (search.blocks.table.BLOCKS says which); the others are inactive.

    Attributes:
      op: the operator, a name of search.blocks.table.BLOCKS ("ir": MobileNetV2's inverted residual).
      kernel_size: side of the (depthwise) kernel in pixels.
      stride: spatial stride.
      expand_ratio: hidden channels / input channels, where `hidden_channels` is 0.
      out_channels: output channels before the width multiplier.
      se_ratio: squeeze-excite channels / block input channels ("ir3": / hidden channels); 0 means no squeeze-excite.
      activation: one of ACTIVATIONS.
      skip: whether the input is added to the output where both have one shape.
      groups: of grouped convolutions.
      start_kernel_size: the universal inverted bottleneck's first depthwise kernel; 0 leaves it out.
      padding: "same", "valid", or "explicit": half a kernel of zeros on each side, then "valid".
      edges: a cell's operations, one of CELL_OPS for each of CELL_EDGES.
      hidden_channels: the inner width, whatever the width multiplier is; 0: as the expand ratio or the operator's own
        rule says.
      se_channels: likewise the squeeze-excite channels; 0: as `se_ratio` says.
    """

    op: Any = "ir"
    kernel_size: Any = 3
    stride: Any = 1
    expand_ratio: Any = 6
    out_channels: Any = 16
    se_ratio: Any = 0.0
    activation: Any = "relu6"
    skip: Any = True
    groups: Any = 1
    start_kernel_size: Any = 0
    padding: Any = "same"
    edges: tuple[Any, ...] = ()
    hidden_channels: Any = 0
    se_channels: Any = 0

    def __post_init__(self) -> None:
        _check(self.op, OPS, "op")
        for field, legal in (("kernel_size", "kernel_sizes"), ("stride", "strides")):
            reading = [BLOCKS[op] for op in _values(self.op) if field in BLOCKS[op].fields]
            if reading:  # each choice must be legal for each operator that may read it
                _check(getattr(self, field), _common(getattr(block, legal) for block in reading), field)
        _check(self.activation, ACTIVATIONS, "activation")
        _check(self.skip, (True, False), "skip")
        _check(self.start_kernel_size, (0, 3, 5, 7), "start_kernel_size")
        _check(self.padding, PADDINGS, "padding")
        _check_range(self.expand_ratio, 1, 64, "expand_ratio")
        _check_whole(self.out_channels, 1, 65_536, "out_channels")
        _check_whole(self.groups, 1, 1024, "groups")
        _check_whole(self.hidden_channels, 0, 65_536, "hidden_channels")
        _check_whole(self.se_channels, 0, 65_536, "se_channels")
        _check_range(self.se_ratio, 0, 1, "se_ratio")
        if self._is_read("edges"):
            _check_edges(self.edges)

    def _is_read(self, field: str) -> bool:
        return any(field in BLOCKS[op].fields for op in _values(self.op))


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Blocks in a row, of which the first `depth` are active."""

    blocks: tuple[BlockSpec, ...]
    depth: Any

    def __post_init__(self) -> None:
        if not self.blocks:
            raise UsageError("stage: blocks () is not legal; expected at least one block")
        _check_whole(self.depth, 1, len(self.blocks), "depth")

    @property
    def active(self) -> tuple[BlockSpec, ...]:
        """The blocks that the network has."""
        return self.blocks[: self.depth]


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """A whole network: stem convolution, stages, 1x1 head convolution, pooling, hidden layers, classifier.

    The channels of the stem and of the blocks are multiplied by `width_multiplier` and, if it is not 1, rounded to a
    multiple of 8. Those of head and hidden layers are taken as they are.

    Attributes:
      stem_channels: of the 3x3 convolution on the image; 0 means none.
      head_channels: of the 1x1 convolution before the pooling; 0 means none.
      resolution: the input side in pixels.
      stem_activation, head_activation: of the stem; of the head and the hidden layers.
      head_units: widths of hidden layers between pooling and classifier.
      head_norm: whether the hidden layers are normalized (else they have a bias).
      pooling: "mean" over the image, "flatten" for none, or "scores": a classifier for each place, then the mean.
      norm: what follows the convolutions: "bn" (batch normalization), "bias_bn" (a bias and batch normalization) or
        "bias" (a bias alone, as after folding).
      form: "plain", or "xnnpack": with the paddings and the pooling that XNNPACK's sparse kernels need (zeros on each
        side before the stem and before depthwise convolutions of stride 2; see compress.xnnpack).
    """

    stem_channels: Any
    stages: tuple[StageSpec, ...]
    head_channels: Any
    width_multiplier: Any = 1.0
    resolution: Any = 224
    num_classes: int = 1000
    stem_stride: Any = 2
    stem_activation: Any = "relu6"
    head_activation: Any = "relu6"
    head_units: tuple[Any, ...] = ()
    head_norm: bool = False
    pooling: str = "mean"
    norm: str = "bn"
    form: str = "plain"

    def __post_init__(self) -> None:
        if not self.stages:
            raise bad_value("stages", self.stages, "at least one stage")
        _check_whole(self.stem_channels, 0, 65_536, "stem_channels")
        _check_whole(self.head_channels, 0, 65_536, "head_channels")
        _check_range(self.width_multiplier, 0.05, 20, "width_multiplier")
        _check_whole(self.resolution, 8, 4096, "resolution")
        _check_whole(self.num_classes, 2, 1_000_000, "num_classes")
        _check(self.stem_stride, STEM_STRIDES, "stem_stride")
        _check(self.stem_activation, ACTIVATIONS, "stem_activation")
        _check(self.head_activation, ACTIVATIONS, "head_activation")
        for units in self.head_units:
            _check_whole(units, 1, 65_536, "head_units")
        _check(self.head_norm, (True, False), "head_norm")
        _check(self.pooling, POOLINGS, "pooling")
        _check(self.norm, NORMS, "norm")
        _check(self.form, FORMS, "form")
        if self.head_norm and (self.pooling != "mean" or not self.head_units):
            raise bad_value("head_norm", True, "False where no hidden layer follows a mean")
        if self.head_units and self.pooling == "scores":
            raise bad_value("head_units", self.head_units, "none where the scores are pooled")
        if self.form == "xnnpack" and (
            self.pooling != "mean" or self.stem_stride != 2 or 0 in _values(self.stem_channels)
        ):
            raise bad_value("form", self.form, "'plain' without a stem of stride 2 and a mean over the image")

    def scaled(self, channels: int) -> int:
        """`channels` times the width multiplier, rounded to a multiple of 8 unless that is 1."""
        if not channels or self.width_multiplier == 1:
            return channels
        return make_divisible(channels * self.width_multiplier)


def make_divisible(channels: float, divisor: int = CHANNEL_DIVISOR) -> int:
    """The nearest multiple of `divisor` that loses at most 10 % (the rounding of the MobileNet papers' code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def cell_edges(edges: tuple[str, ...]) -> tuple[tuple[int, int, str], ...]:
    """(source node, target node, operation) of each edge of a cell."""
    return tuple((source, target, op) for (source, target), op in zip(CELL_EDGES, edges, strict=True))


def cell_nodes_in_use(edges: tuple[str, ...]) -> frozenset[int]:
    """The nodes of a cell on its paths from input to output; empty if no path leads there."""
    used = [(source, target) for source, target, op in cell_edges(edges) if op != "none"]
    forward, backward = {0}, {CELL_NODES - 1}
    for source, target in used:  # in the order of their targets
        if source in forward:
            forward.add(target)
    for source, target in reversed(used):
        if target in backward:
            backward.add(source)
    return frozenset(forward & backward)


def canonical(arch: ArchSpec) -> ArchSpec:
    """The same network with everything inactive taken out, so that genotypes that differ only there get one content id.

    Blocks beyond the depth go, and so does an identity that changes no shape (a stage of nothing else keeps one);
    fields that an operator does not read take their defaults; edges on no path of a cell become "none"; where the
    shapes forbid the addition, `skip` is inactive and takes the value of the next block of the stage (True in the
    last).
    """
    stages, channels = [], arch.scaled(arch.stem_channels) or 3
    for stage in arch.stages:
        blocks, skip_is_active = [], []
        active = [_without_inactive(block) for block in stage.active]
        for block in active:
            fields = BLOCKS[block.op].fields
            out = arch.scaled(block.out_channels) if "out_channels" in fields else channels
            keeps_shape = block.stride == 1 and channels == out
            if block.op != "id" or not keeps_shape:
                skip_is_active.append("skip" in fields and keeps_shape)
                blocks.append(block)
            channels = out
        stages.append(_with_canonical_skips(blocks or active[:1], skip_is_active or [False]))
    has_units = arch.head_channels or arch.head_units or arch.pooling == "scores"
    return dataclasses.replace(
        arch,
        stages=tuple(stages),
        width_multiplier=float(arch.width_multiplier),
        stem_stride=arch.stem_stride if arch.stem_channels else 1,
        stem_activation=arch.stem_activation if arch.stem_channels else _ARCH_DEFAULTS["stem_activation"],
        head_activation=arch.head_activation if has_units else _ARCH_DEFAULTS["head_activation"],
    )


@functools.lru_cache(maxsize=1 << 16)  # a search decodes the same few blocks again and again
def _without_inactive(block: BlockSpec) -> BlockSpec:
    read = ("op", *BLOCKS[block.op].fields)
    values = {name: getattr(block, name) if name in read else default for name, default in _BLOCK_DEFAULTS.items()}
    values |= {name: float(values[name]) for name in ("expand_ratio", "se_ratio")}
    for width, ratio in OVERRIDES.items():
        if values[width]:
            values[ratio] = float(_BLOCK_DEFAULTS[ratio])
    if block.op == "conv" and block.kernel_size == 1:  # which has nothing to pad
        values["padding"] = _BLOCK_DEFAULTS["padding"]
    if "edges" in read:
        nodes = cell_nodes_in_use(block.edges)
        values["edges"] = tuple(
            op if {source, target} <= nodes else "none" for source, target, op in cell_edges(block.edges)
        )
    return BlockSpec(**values)


def _with_canonical_skips(active: list[BlockSpec], skip_is_active: list[bool]) -> StageSpec:
    blocks: list[BlockSpec] = []
    skip = True
    for block, is_active in reversed(list(zip(active, skip_is_active, strict=True))):
        if "skip" in BLOCKS[block.op].fields:
            skip = block.skip if is_active else skip
            block = block if block.skip == skip else dataclasses.replace(block, skip=skip)
        blocks.append(block)
    return StageSpec(tuple(reversed(blocks)), len(blocks))


_BLOCK_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(BlockSpec)}
_ARCH_DEFAULTS = {field.name: field.default for field in dataclasses.fields(ArchSpec)}


def _check(value: Any, legal: tuple[Any, ...], name: str) -> None:
    for item in _values(value):
        if type(item) is not type(legal[0]) or item not in legal:  # 1 == True == 1.0, but only one of them is meant
            raise bad_value(name, item, "one of " + ", ".join(str(choice) for choice in legal))


def _check_whole(value: Any, low: int, high: int, name: str) -> None:
    for item in _values(value):
        if isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high:
            raise bad_value(name, item, f"a whole number from {low:g} to {high:g}")


def _check_range(value: Any, low: float, high: float, name: str) -> None:
    for item in _values(value):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise bad_value(name, item, f"a number from {low:g} to {high:g}")
        in_range(name, item, low, high)


def _check_edges(edges: Any) -> None:
    if not isinstance(edges, tuple) or len(edges) != len(CELL_EDGES):
        raise bad_value("edges", edges, f"{len(CELL_EDGES)} operations")
    for edge in edges:
        _check(edge, CELL_OPS, "edges")


def _common(choices: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    first, *others = choices
    return tuple(choice for choice in first if all(choice in other for other in others))


def _values(value: Any) -> tuple[Any, ...]:
    return value.choices if isinstance(value, OneOf) else (value,)
