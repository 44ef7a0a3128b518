"""A search with a known answer: images whose class each of three reductions either keeps or destroys.

The class is which of four quadrants is bright. From that 2 x 2 map the image is made in three steps, each of which
doubles the side in the way that one operator undoes and that the others do not: the value is the largest of its four
pixels, which always have the same mean ("max"); it is their mean, under noise ("avg"); or it is the first of them, the
others being noise ("conv", a 1x1 convolution of stride 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.dataset import ImageData, ImageSet
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable
from search.space import SearchSpace

OPERATORS = ("max", "avg", "conv")
RESOLUTION, CLASSES = 16, 4
DARK, BRIGHT = 0.4, 0.6
LATENCIES_US = {"max": 40.0, "avg": 10.0, "conv": 20.0}  # of the synthetic table
OTHER_US = 5.0
_CANDIDATES = (
    BlockSpec("max", 2, 2),
    BlockSpec("avg", 2, 2),
    BlockSpec("conv", 1, 2, out_channels=3, activation="linear"),
)


def planted_space() -> SearchSpace:
    """Three places with the three operators, and a dense layer on what is left."""
    stage = StageSpec(tuple(OneOf(_CANDIDATES) for _ in range(3)), 3)  # type: ignore[misc]
    return SearchSpace("planted", ArchSpec(0, (stage,), 0, 1.0, RESOLUTION, CLASSES, pooling="flatten"))


def planted_data(genotype: Sequence[int], images: int = 1024, seed: int = 0) -> ImageData:
    """Images whose class the operators of the genotype, and no others, bring to light."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images + 256).astype(np.int32)
    values = np.where(np.eye(CLASSES)[labels], BRIGHT, DARK).reshape(-1, 2, 2)
    for index in reversed(genotype):
        values = _doubled(values, OPERATORS[index], rng)
    pixels = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)[..., None]
    train, val = (ImageSet(pixels, labels, rows) for rows in np.split(np.arange(len(labels)), [images]))
    return ImageData("planted", tuple("abcd"), train, val, val, "none")


def _doubled(values: NDArray[np.float64], operator: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """[n, h, w] -> [n, 2h, 2w], such that `operator` undoes it."""
    cells = np.repeat(values[..., None], 4, -1)
    if operator == "max":
        cells[..., 1:] = (1 - values[..., None]) / 3  # so the mean is 0.25, and the largest is the value from 0.25 on
        cells = rng.permuted(cells, axis=-1)
    elif operator == "avg":
        noise = np.array([1, 1, -1, -1]) * rng.uniform(0, 0.4, values.shape)[..., None]
        cells = cells + rng.permuted(noise, axis=-1)
    else:
        cells[..., 1:] = rng.uniform(0, 1, (*values.shape, 3))
    count, height, width = values.shape
    return cells.reshape(count, height, width, 2, 2).swapaxes(2, 3).reshape(count, 2 * height, 2 * width)


def planted_table(space: SearchSpace) -> LatencyTable:
    """A synthetic latency table: LATENCIES_US of the operators, OTHER_US of everything else."""
    blocks = []
    for key in distinct_blocks(space, "int8"):
        us = LATENCIES_US.get(key.token.partition("_")[0], OTHER_US)
        blocks.append(BlockLatency(key.text, us, us, us, 50))
    return LatencyTable(space.name, "int8", {}, "synthetic", "2026-01-31", tuple(blocks))
