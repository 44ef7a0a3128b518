"""Shared weights that are no network: their accuracies are planted, so that what is done with them can be checked."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.arch import ArchSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.dataset import ImageData, ImageSet
from search.named import space
from search.space import SearchSpace
from search.spaces.parts import searched_stage
from search.supernet.genotypes import genotype_of

CLASSES = 10


def _stage(index: int, stride: int, channels: tuple[int, ...]) -> StageSpec:
    return searched_stage(
        stride=stride,
        depths=(1, 2),
        kernel_size=OneOf((3, 5, 7), f"kernel{index}"),
        expand_ratio=OneOf((2, 4), f"expand{index}"),
        out_channels=OneOf(channels, f"channels{index}"),
    )


# Some 90,000 networks of at most six blocks, whose costs take a third of a millisecond.
TOY = SearchSpace(
    "toy",
    ArchSpec(
        8,
        (_stage(0, 1, (8, 12, 16)), _stage(1, 2, (16, 24, 32)), _stage(2, 2, (32, 40, 64))),
        OneOf((32, 64)),
        resolution=28,
        num_classes=CLASSES,
    ),
)


@functools.cache
def macs(arch: ArchSpec) -> float:
    """Multiply-accumulates."""
    return float(cost(arch).macs)


def planted_accuracy(arch: ArchSpec) -> float:
    """0.3 to 1, higher for more MACs, with less and less gain, and for kernels of 5: no other value is as good."""
    kernels = [block.kernel_size for stage in arch.stages for block in stage.active]
    fives = sum(kernel == 5 for kernel in kernels) / len(kernels)
    return 0.3 + 0.5 * (1 - 1e6 / (1e6 + macs(arch))) + 0.2 * fives


def synthetic_data(count: int = 200, side: int = 28) -> ImageData:
    """Random images with random labels; the splits are disjoint."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3 * count, side, side, 1), dtype=np.uint8)
    labels = random.integers(0, CLASSES, 3 * count, dtype=np.int32)
    rows = np.arange(3 * count).reshape(3, count)
    train, val, test = (ImageSet(images, labels, part) for part in rows)
    return ImageData("synthetic", tuple(map(str, range(CLASSES))), train, val, test, "none")


@dataclass
class FakeShared:
    """A search.supernet.shared.SharedWeights whose networks have their planted accuracy once they are recalibrated."""

    space: SearchSpace = field(default_factory=lambda: space("mobilenet_v2_small", 28, CLASSES))
    is_finite: bool = True
    unfinite: tuple[ArchSpec, ...] = ()
    calls: list[tuple[str, ArchSpec, int]] = field(default_factory=list)

    def recalibrate(self, arch: ArchSpec, images: ImageSet) -> None:
        genotype_of(self.space, arch)
        self.calls.append(("recalibrate", arch, len(images)))

    def logits(self, arch: ArchSpec, images: ImageSet) -> NDArray[np.float32]:
        assert self.calls[-1][:2] == ("recalibrate", arch), "judged with another network's statistics"
        self.calls.append(("logits", arch, len(images)))
        labels = images.labels.copy()
        wrong = round((1 - planted_accuracy(arch)) * len(labels))
        labels[:wrong] = (labels[:wrong] + 1) % CLASSES
        right = 1.0 if self.is_finite and arch not in self.unfinite else np.nan
        return np.where(np.eye(CLASSES)[labels] == 1, right, 0).astype(np.float32)

    def extract(self, arch: ArchSpec) -> Any:
        raise NotImplementedError

    def save(self, path: Path) -> None:
        raise NotImplementedError

    def load(self, path: Path) -> None:
        raise NotImplementedError
