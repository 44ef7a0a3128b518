"""The space of single-path one-shot search (Guo et al. 2020, arXiv:1904.00420, tables 1 and 2)."""

from __future__ import annotations

from search.arch import ArchSpec, BlockSpec
from search.choice import OneOf
from search.space import SearchSpace
from search.spaces.parts import StageRow, layerwise_stages

SHUFFLENET_STAGES: tuple[StageRow, ...] = ((64, 4, 2), (160, 4, 2), (320, 8, 2), (640, 4, 2))


def shufflenet_v2(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """20 units: ShuffleNetV2's with kernel size 3, 5 or 7, or the one of three pairs ("Xception")."""
    stages = layerwise_stages(SHUFFLENET_STAGES, _candidates)
    template = ArchSpec(16, stages, 1024, 1.0, resolution, num_classes, stem_activation="relu", head_activation="relu")
    return SearchSpace("shufflenet_v2", template)


def _candidates(channels: int, stride: int, is_first: bool) -> list[BlockSpec]:
    units = (("shuffle2", 3), ("shuffle2", 5), ("shuffle2", 7), ("shufflex", 3))
    return [BlockSpec(op, kernel, stride, out_channels=channels, activation="relu") for op, kernel in units]
