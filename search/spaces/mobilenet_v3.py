"""Spaces of MobileNetV3's blocks (Howard et al. 2019, arXiv:1905.02244)."""

from __future__ import annotations

import dataclasses

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.networks.mobilenet import mobilenet_v3_large
from search.space import SearchSpace
from search.spaces.parts import around, choose, depths_around

EXPAND_RATIOS = (3.0, 4.0, 6.0)
# Once-for-All: output channels, stride, squeeze-excite ratio and activation of the stages, each of up to four blocks.
OFA_STAGES = (
    (24, 2, 0.0, "relu"),
    (40, 2, 0.25, "relu"),
    (80, 2, 0.0, "hswish"),
    (112, 1, 0.25, "hswish"),
    (160, 2, 0.25, "hswish"),
)
OFA_DEPTHS = (2, 3, 4)
OFA_RESOLUTIONS = tuple(range(128, 225, 4))


def mobilenet_v3(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """Around MobileNetV3-Large: kernel size and expand ratio of each block; of each stage depth, channels,
    squeeze-excite and activation."""
    base = mobilenet_v3_large(224, num_classes)
    stages = tuple(_stage(index, stage.blocks) for index, stage in enumerate(base.stages))
    return SearchSpace("mobilenet_v3", dataclasses.replace(base, stages=stages, resolution=resolution))


def ofa_mbv3(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """Once-for-All (Cai et al. 2020, arXiv:1908.09791): depth 2 to 4 of five stages; kernel size 3, 5 or 7 and expand
    ratio 3, 4 or 6 of each block. For the paper's resolutions too, give OneOf(OFA_RESOLUTIONS)."""
    first = BlockSpec("ir3", expand_ratio=1, out_channels=16, activation="relu")
    stages = [StageSpec((first,), 1)]
    for channels, stride, se_ratio, activation in OFA_STAGES:
        blocks = [
            BlockSpec(
                "ir3",
                OneOf((3, 5, 7)),
                stride if index == 0 else 1,
                expand_ratio=OneOf(EXPAND_RATIOS),
                out_channels=channels,
                se_ratio=se_ratio,
                activation=activation,
            )
            for index in range(max(OFA_DEPTHS))
        ]
        stages.append(StageSpec(tuple(blocks), OneOf(OFA_DEPTHS)))
    template = ArchSpec(
        16,
        tuple(stages),
        960,
        1.0,
        resolution,
        num_classes,
        stem_activation="hswish",
        head_activation="hswish",
        head_units=(1280,),
    )
    return SearchSpace("ofa_mbv3", template)


def _stage(index: int, published: tuple[BlockSpec, ...]) -> StageSpec:
    """The published blocks and one more like the last, with choices around their values."""
    fields = {
        "out_channels": choose(around(published[0].out_channels, 0.75, 1.25), f"stage{index}/out_channels"),
        "se_ratio": OneOf((0.0, 0.25), f"stage{index}/se_ratio"),
        "activation": OneOf(("relu", "hswish"), f"stage{index}/activation"),
    }
    blocks = [
        dataclasses.replace(
            block,
            kernel_size=OneOf((3, 5, 7)),
            expand_ratio=choose(_expand_ratios(block.expand_ratio)),
            **fields,
        )
        for block in (*published, dataclasses.replace(published[-1], stride=1))
    ]
    return StageSpec(tuple(blocks), OneOf(depths_around(len(published))))


def _expand_ratios(published: float) -> tuple[float, ...]:
    return (1.0,) if published == 1 else tuple(sorted({published, *EXPAND_RATIOS}))
