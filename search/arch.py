"""What a network is, as plain values: blocks, stages and architectures. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.checks import in_range
from core.errors import UsageError, bad_value
from search.choice import OneOf

OPS = ("ir",)
KERNEL_SIZES = (1, 3, 5, 7)
STRIDES = (1, 2)
ACTIVATIONS = ("relu6", "relu")
CHANNEL_DIVISOR = 8


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One block. In a template any field may hold a OneOf.

    Attributes:
      op: the operator, a name of search.blocks.BLOCKS ("ir": MobileNetV2's inverted residual).
      kernel_size: side of the (depthwise) kernel in pixels.
      stride: spatial stride, 1 or 2.
      expand_ratio: hidden channels / input channels.
      out_channels: output channels before the width multiplier.
      se_ratio: squeeze-excite channels / block input channels; 0 means no squeeze-excite.
      activation: "relu6" or "relu".
      skip: whether the input is added to the output where both have one shape.
    """

    op: Any = "ir"
    kernel_size: Any = 3
    stride: Any = 1
    expand_ratio: Any = 6
    out_channels: Any = 16
    se_ratio: Any = 0.0
    activation: Any = "relu6"
    skip: Any = True

    def __post_init__(self) -> None:
        _check(self.op, OPS, "op")
        _check(self.kernel_size, KERNEL_SIZES, "kernel_size")
        _check(self.stride, STRIDES, "stride")
        _check(self.activation, ACTIVATIONS, "activation")
        _check(self.skip, (True, False), "skip")
        _check_range(self.expand_ratio, 1, 64, "expand_ratio")
        _check_whole(self.out_channels, 1, 65_536, "out_channels")
        _check_range(self.se_ratio, 0, 1, "se_ratio")


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
    """A whole network: stem convolution, stages, 1x1 head convolution, global pooling, classifier.

    `resolution` is the input side in pixels. The channels of the stem and of the blocks are multiplied by
    `width_multiplier` and rounded to a multiple of 8; `head_channels` and `num_classes` are taken as they are.
    """

    stem_channels: Any
    stages: tuple[StageSpec, ...]
    head_channels: Any
    width_multiplier: Any = 1.0
    resolution: Any = 224
    num_classes: int = 1000
    stem_stride: Any = 2

    def __post_init__(self) -> None:
        if not self.stages:
            raise bad_value("stages", self.stages, "at least one stage")
        _check_whole(self.stem_channels, 1, 65_536, "stem_channels")
        _check_whole(self.head_channels, 1, 65_536, "head_channels")
        _check_range(self.width_multiplier, 0.05, 20, "width_multiplier")
        _check_whole(self.resolution, 8, 4096, "resolution")
        _check_whole(self.num_classes, 2, 1_000_000, "num_classes")
        _check(self.stem_stride, STRIDES, "stem_stride")

    def scaled(self, channels: int) -> int:
        """`channels` times the width multiplier, rounded to a multiple of 8."""
        return make_divisible(channels * self.width_multiplier)


def make_divisible(channels: float, divisor: int = CHANNEL_DIVISOR) -> int:
    """The nearest multiple of `divisor` that loses at most 10 % (the rounding of the MobileNet papers' code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def canonical(arch: ArchSpec) -> ArchSpec:
    """The same network with everything inactive taken out, so that genotypes that differ only there get one content id.

    Blocks beyond the depth go; where the shapes forbid the addition, `skip` is inactive and takes the value of the next
    block of the stage (True in the last).
    """
    stages, channels = [], arch.scaled(arch.stem_channels)
    for stage in arch.stages:
        active = []
        for block in stage.active:
            out = arch.scaled(block.out_channels)
            active.append(block.stride == 1 and channels == out)
            channels = out
        stages.append(_canonical_stage(stage, active))
    return ArchSpec(
        stem_channels=arch.stem_channels,
        stages=tuple(stages),
        head_channels=arch.head_channels,
        width_multiplier=float(arch.width_multiplier),
        resolution=arch.resolution,
        num_classes=arch.num_classes,
        stem_stride=arch.stem_stride,
    )


def _canonical_stage(stage: StageSpec, skip_is_active: list[bool]) -> StageSpec:
    blocks: list[BlockSpec] = []
    skip = True
    for block, active in reversed(list(zip(stage.active, skip_is_active, strict=True))):
        skip = block.skip if active else skip
        ratios = {"expand_ratio": float(block.expand_ratio), "se_ratio": float(block.se_ratio)}
        blocks.append(dataclasses.replace(block, skip=skip, **ratios))
    return StageSpec(tuple(reversed(blocks)), len(blocks))


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


def _values(value: Any) -> tuple[Any, ...]:
    return value.choices if isinstance(value, OneOf) else (value,)
