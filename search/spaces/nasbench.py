"""The spaces of two benchmarks whose networks have all been trained on CIFAR-10; for images of 24 to 64 pixels."""

from __future__ import annotations

from core.errors import bad_value
from search.arch import CELL_EDGES, CELL_OPS, ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import SearchSpace
from search.spaces.parts import StageRow, layerwise_stages

NASBENCH201_CHANNELS = (16, 32, 64)
NASBENCH201_CELLS = 5  # in each stage
NASBENCH_MACRO_STAGES: tuple[StageRow, ...] = ((64, 2, 2), (128, 3, 2), (256, 3, 2))


def nasbench201(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """15 equal cells (Dong & Yang 2020, arXiv:2001.00326): a gene for each edge, all in the benchmark's order.

    Networks whose cell does not connect its input to its output are among them: they cannot be built (CandidateError).
    Raises UsageError unless the resolution is a multiple of 4: what is left of an odd side differs between the branches
    of a reduction.
    """
    for side in resolution.choices if isinstance(resolution, OneOf) else (resolution,):
        if side % 4:
            raise bad_value("search space nasbench201: resolution", side, "a multiple of 4")
    edges = tuple(OneOf(CELL_OPS, tie=f"edge{source}{target}") for source, target in CELL_EDGES)
    stages = []
    for index, channels in enumerate(NASBENCH201_CHANNELS):
        reduction = [BlockSpec("reduce", out_channels=channels)] if index else []
        stages.append([*reduction, *[BlockSpec("cell", out_channels=channels, edges=edges)] * NASBENCH201_CELLS])
    stages[-1].append(BlockSpec("bn", activation="relu"))
    template = ArchSpec(
        NASBENCH201_CHANNELS[0],
        tuple(StageSpec(tuple(blocks), len(blocks)) for blocks in stages),
        0,
        1.0,
        resolution,
        num_classes,
        stem_stride=1,
        stem_activation="linear",
    )
    return SearchSpace("nasbench201", template)


def nasbench_macro(resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """8 layers, each nothing, MB3_K3 or MB6_K5 (Su et al. 2021, arXiv:2103.11922); in the benchmark's order."""
    template = ArchSpec(
        32,
        layerwise_stages(NASBENCH_MACRO_STAGES, _macro_candidates),
        1280,
        1.0,
        resolution,
        num_classes,
        stem_stride=1,
        stem_activation="relu",
        head_activation="relu",
    )
    return SearchSpace("nasbench_macro", template)


def _macro_candidates(channels: int, stride: int, is_first: bool) -> list[BlockSpec]:
    blocks = [
        BlockSpec("ir", kernel, stride, expand_ratio=expand, out_channels=channels, activation="relu")
        for kernel, expand in ((3, 3), (5, 6))
    ]
    return [BlockSpec("id", stride=stride, out_channels=channels), *blocks]
