"""FBNet's space (Wu et al. 2019, arXiv:1812.03443, tables 1 and 2)."""

from __future__ import annotations

from search.arch import ArchSpec, BlockSpec
from search.choice import OneOf
from search.space import SearchSpace
from search.spaces.parts import StageRow, layerwise_stages

FBNET_STAGES: tuple[StageRow, ...] = (
    (16, 1, 1),
    (24, 4, 2),
    (32, 4, 2),
    (64, 4, 2),
    (112, 4, 1),
    (184, 4, 2),
    (352, 1, 1),
)
# Kernel size, expand ratio and groups of the paper's k3_e1, k3_e1_g2, k3_e3, k3_e6, k5_e1, k5_e1_g2, k5_e3, k5_e6; the
# ninth candidate is "skip".
FBNET_BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))


def fbnet(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """22 layers, nine candidates for each: one gene a layer. A skip where the shape changes is a 1x1 convolution."""
    stages = layerwise_stages(FBNET_STAGES, _candidates)
    template = ArchSpec(16, stages, 1984, 1.0, resolution, num_classes, stem_activation="relu", head_activation="relu")
    return SearchSpace("fbnet", template)


def _candidates(channels: int, stride: int, is_first: bool) -> list[BlockSpec]:
    blocks = [
        BlockSpec("irg", kernel, stride, expand_ratio=expand, out_channels=channels, activation="relu", groups=groups)
        for kernel, expand, groups in FBNET_BLOCKS
    ]
    return [*blocks, BlockSpec("id", stride=stride, out_channels=channels)]
