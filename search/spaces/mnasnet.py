"""MnasNet's factorized hierarchical space (Tan et al. 2019, arXiv:1807.11626, section 4.1)."""

from __future__ import annotations

import dataclasses
from typing import Any

from search.choice import OneOf
from search.networks.searched import mnasnet_a1
from search.space import SearchSpace
from search.spaces.parts import around, choose, depths_around, searched_stage

# The paper's convolution operations as operator and expand ratio: convolution, SepConv, MBConv3, MBConv6.
MNASNET_OPS = (("fused", 1), ("ir", 1), ("ir", 3), ("ir", 6))


def mnasnet(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """For each stage: operation, kernel size, squeeze-excite, skip, channels and depth, alike in all its blocks.

    The paper's filters x {0.75, 1, 1.25} and layers {-1, 0, +1} are taken around MnasNet-A1, whose own are not all
    among those around MobileNetV2. Pooling, the paper's third skip operation, is left out.
    """
    base = mnasnet_a1(224, num_classes)
    stages = tuple(
        _stage(index, stage.blocks[0].stride, stage.blocks[0].out_channels, len(stage.blocks))
        for index, stage in enumerate(base.stages)
    )
    template = dataclasses.replace(base, stages=stages, resolution=resolution)
    return SearchSpace("mnasnet", template)


def _stage(index: int, stride: int, channels: int, repeats: int) -> Any:
    """The choice among whole stages of one operation each; the rest is tied, so that the operation alone differs."""
    depths = depths_around(repeats)
    fields = {
        "kernel_size": OneOf((3, 5), f"stage{index}/kernel_size"),
        "se_ratio": OneOf((0.0, 0.25), f"stage{index}/se_ratio"),
        "skip": OneOf((True, False), f"stage{index}/skip"),
        "out_channels": choose(around(channels, 0.75, 1.25), f"stage{index}/out_channels"),
    }
    stages = [
        dataclasses.replace(
            searched_stage(stride=stride, depths=depths, op=op, expand_ratio=expand, activation="relu", **fields),
            depth=OneOf(depths, f"stage{index}/depth"),
        )
        for op, expand in MNASNET_OPS
    ]
    return OneOf(tuple(stages))
