"""MobileNets V1, V3 and V4."""

from __future__ import annotations

import dataclasses

from search.arch import ArchSpec, BlockSpec, make_divisible
from search.networks.text import arch_of

_V1 = """
    stem_s2_c32
    ds_r1_k3_s1_c64
    ds_r2_k3_s2_c128
    ds_r2_k3_s2_c256
    ds_r6_k3_s2_c512
    ds_r2_k3_s2_c1024
    head_c0
"""

# The expand ratios are the table's "exp size" over the input channels: 184 / 80 = 2.3, 88 / 24 = 3.6667.
_V3_LARGE = """
    stem_s2_c16_hswish
    ir3_r1_k3_s1_e1_c16_relu
    ir3_r1_k3_s2_e4_c24_relu+ir3_r1_k3_s1_e3_c24_relu
    ir3_r1_k5_s2_e3_c40_se0.25_relu+ir3_r2_k5_s1_e3_c40_se0.25_relu
    ir3_r1_k3_s2_e6_c80_hswish+ir3_r1_k3_s1_e2.5_c80_hswish+ir3_r2_k3_s1_e2.3_c80_hswish
    ir3_r2_k3_s1_e6_c112_se0.25_hswish
    ir3_r3_k5_s2_e6_c160_se0.25_hswish
    head_c960_u1280_hswish
"""

_V3_SMALL = """
    stem_s2_c16_hswish
    ir3_r1_k3_s2_e1_c16_se0.25_relu
    ir3_r1_k3_s2_e4.5_c24_relu+ir3_r1_k3_s1_e3.6667_c24_relu
    ir3_r1_k5_s2_e4_c40_se0.25_hswish+ir3_r2_k5_s1_e6_c40_se0.25_hswish
    ir3_r2_k5_s1_e3_c48_se0.25_hswish
    ir3_r3_k5_s2_e6_c96_se0.25_hswish
    head_c576_u1024_hswish
"""
V3_HEAD_RATIO = 6  # head channels / channels of the last block

_V4_CONV_SMALL = """
    stem_s2_c32_relu
    conv_r1_k3_s2_c32_relu+conv_r1_k1_s1_c32_relu
    conv_r1_k3_s2_c96_relu+conv_r1_k1_s1_c64_relu
    uib_r1_a5_k5_s2_e3_c96_relu+uib_r4_a0_k3_s1_e2_c96_relu+uib_r1_a3_k0_s1_e4_c96_relu
    uib_r1_a3_k3_s2_e6_c128_relu+uib_r1_a5_k5_s1_e4_c128_relu+uib_r1_a0_k5_s1_e4_c128_relu
        +uib_r1_a0_k5_s1_e3_c128_relu+uib_r2_a0_k3_s1_e4_c128_relu
    head_c960_u1280_relu_unorm
"""

_V4_CONV_MEDIUM = """
    stem_s2_c32_relu
    fused_r1_k3_s2_e4_c48_relu
    uib_r1_a3_k5_s2_e4_c80_relu+uib_r1_a3_k3_s1_e2_c80_relu
    uib_r1_a3_k5_s2_e6_c160_relu+uib_r2_a3_k3_s1_e4_c160_relu+uib_r1_a3_k5_s1_e4_c160_relu
        +uib_r1_a3_k3_s1_e4_c160_relu+uib_r1_a3_k0_s1_e4_c160_relu+uib_r1_a0_k0_s1_e2_c160_relu
        +uib_r1_a3_k0_s1_e4_c160_relu
    uib_r1_a5_k5_s2_e6_c256_relu+uib_r1_a5_k5_s1_e4_c256_relu+uib_r2_a3_k5_s1_e4_c256_relu
        +uib_r1_a0_k0_s1_e4_c256_relu+uib_r1_a3_k0_s1_e4_c256_relu+uib_r1_a3_k5_s1_e2_c256_relu
        +uib_r1_a5_k5_s1_e4_c256_relu+uib_r2_a0_k0_s1_e4_c256_relu+uib_r1_a5_k0_s1_e2_c256_relu
    head_c960_u1280_relu_unorm
"""


def mobilenet_v1(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNet (Howard et al. 2017, arXiv:1704.04861, table 1); with the ReLU6 of its authors' code."""
    return arch_of(_V1, resolution, num_classes, width_multiplier)


def mobilenet_v3_large(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244, table 1)."""
    return _v3(_V3_LARGE, resolution, num_classes, width_multiplier)


def mobilenet_v3_small(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV3-Small (Howard et al. 2019, arXiv:1905.02244, table 2)."""
    return _v3(_V3_SMALL, resolution, num_classes, width_multiplier)


def mobilenet_v3_large_minimalistic(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV3-Large as its authors released it for chips without squeeze-excite, hard swish and 5x5 kernels."""
    return _minimalistic(mobilenet_v3_large(resolution, num_classes, width_multiplier))


def mobilenet_v3_small_minimalistic(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV3-Small, likewise without squeeze-excite, hard swish and 5x5 kernels."""
    return _minimalistic(mobilenet_v3_small(resolution, num_classes, width_multiplier))


def mobilenet_v4_conv_small(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV4-Conv-S (Qin et al. 2024, arXiv:2404.10518)."""
    return arch_of(_joined(_V4_CONV_SMALL), resolution, num_classes, width_multiplier)


def mobilenet_v4_conv_medium(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MobileNetV4-Conv-M (Qin et al. 2024, arXiv:2404.10518)."""
    return arch_of(_joined(_V4_CONV_MEDIUM), resolution, num_classes, width_multiplier)


def _joined(lines: str) -> str:
    """A stage over several lines, each beginning with "+", as one token."""
    return lines.replace("\n        +", "+")


def _v3(lines: str, resolution: int, num_classes: int, width_multiplier: float) -> ArchSpec:
    """The authors' widths: the stem keeps its 16 channels, the head follows the last block, hidden layers only grow."""
    base = arch_of(lines, resolution, num_classes)
    if width_multiplier == 1:
        return base
    stages = tuple(
        dataclasses.replace(stage, blocks=tuple(_widened(block, width_multiplier) for block in stage.blocks))
        for stage in base.stages
    )
    head = make_divisible(stages[-1].blocks[-1].out_channels * V3_HEAD_RATIO)
    units = tuple(make_divisible(units * max(1.0, width_multiplier)) for units in base.head_units)
    return dataclasses.replace(base, stages=stages, head_channels=head, head_units=units)


def _widened(block: BlockSpec, width_multiplier: float) -> BlockSpec:
    return dataclasses.replace(block, out_channels=make_divisible(block.out_channels * width_multiplier))


def _minimalistic(arch: ArchSpec) -> ArchSpec:
    stages = tuple(
        dataclasses.replace(
            stage,
            blocks=tuple(
                dataclasses.replace(block, kernel_size=3, se_ratio=0.0, activation="relu") for block in stage.blocks
            ),
        )
        for stage in arch.stages
    )
    return dataclasses.replace(arch, stages=stages, stem_activation="relu", head_activation="relu")
