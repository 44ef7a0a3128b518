"""EfficientNet B0 to B7 and Lite0 to Lite4: one baseline, scaled by the published coefficients."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

from search.arch import ArchSpec, BlockSpec, StageSpec, make_divisible
from search.networks.text import arch_of

_B0 = """
    stem_s2_c32_swish
    ir_r1_k3_s1_e1_c16_se0.25_swish
    ir_r2_k3_s2_e6_c24_se0.25_swish
    ir_r2_k5_s2_e6_c40_se0.25_swish
    ir_r3_k3_s2_e6_c80_se0.25_swish
    ir_r3_k5_s1_e6_c112_se0.25_swish
    ir_r4_k5_s2_e6_c192_se0.25_swish
    ir_r1_k3_s1_e6_c320_se0.25_swish
    head_c1280_swish
"""

# Width and depth coefficient.
_B_COEFFICIENTS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))
_LITE_COEFFICIENTS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))


def efficientnet(resolution: int, num_classes: int, width_multiplier: float = 1.0, *, size: int) -> ArchSpec:
    """EfficientNet-B0 to B7 (Tan & Le 2019, arXiv:1905.11946, table 1), by its authors' coefficients of a `size`."""
    width, depth = _B_COEFFICIENTS[size]
    base = arch_of(_B0, resolution, num_classes)
    width *= width_multiplier
    return dataclasses.replace(
        base,
        stem_channels=make_divisible(base.stem_channels * width),
        stages=tuple(_scaled(stage, width, depth) for stage in base.stages),
        head_channels=make_divisible(base.head_channels * width),
    )


def efficientnet_lite(resolution: int, num_classes: int, width_multiplier: float = 1.0, *, size: int) -> ArchSpec:
    """EfficientNet-Lite0 to Lite4, `size` being the number: B0 without squeeze-excite and with ReLU6, for quantization.

    As its authors did (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), stem, head
    and the depths of the first and last stage are not scaled.
    """
    width, depth = _LITE_COEFFICIENTS[size]
    base = arch_of(_B0, resolution, num_classes)
    first, *middle, last = (_plain(stage) for stage in base.stages)
    width *= width_multiplier
    stages = (
        _scaled(first, width, 1.0),
        *(_scaled(stage, width, depth) for stage in middle),
        _scaled(last, width, 1.0),
    )
    return dataclasses.replace(base, stages=stages, stem_activation="relu6", head_activation="relu6")


def _scaled(stage: StageSpec, width: float, depth: float) -> StageSpec:
    """More blocks, rounded up, with more channels."""
    first = dataclasses.replace(stage.blocks[0], out_channels=make_divisible(stage.blocks[0].out_channels * width))
    count = math.ceil(len(stage.blocks) * depth)
    return StageSpec((first, *[dataclasses.replace(first, stride=1)] * (count - 1)), count)


def _plain(stage: StageSpec) -> StageSpec:
    def without(block: BlockSpec) -> BlockSpec:
        return dataclasses.replace(block, se_ratio=0.0, activation="relu6")

    return dataclasses.replace(stage, blocks=tuple(without(block) for block in stage.blocks))


efficientnet_b0 = partial(efficientnet, size=0)
efficientnet_b1 = partial(efficientnet, size=1)
efficientnet_b2 = partial(efficientnet, size=2)
efficientnet_b3 = partial(efficientnet, size=3)
efficientnet_b4 = partial(efficientnet, size=4)
efficientnet_b5 = partial(efficientnet, size=5)
efficientnet_b6 = partial(efficientnet, size=6)
efficientnet_b7 = partial(efficientnet, size=7)
efficientnet_lite0 = partial(efficientnet_lite, size=0)
efficientnet_lite1 = partial(efficientnet_lite, size=1)
efficientnet_lite2 = partial(efficientnet_lite, size=2)
efficientnet_lite3 = partial(efficientnet_lite, size=3)
efficientnet_lite4 = partial(efficientnet_lite, size=4)
