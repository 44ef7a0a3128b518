"""A table of real trainings on two data sets, on which benchmarks.transfer searches with and without a past.

64 networks (six settings with two values each) are trained for a short while on mnist_5k and on fashion_mnist: about
20 minutes of one idle core, once. Finished trainings are kept, and a killed run goes on.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.progress import Reporter, SilentReporter
from core.spec_io import content_id
from core.workspace import AppendLog, committed_directory
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical
from search.dataset import ImageData
from search.oracles.choice_space import Axis, ChoiceSpace
from search.settings import TrainConfig
from search.tabular.table import Table

PAST, PRESENT = "mnist_5k", "fashion_mnist"
TRAIN_IMAGES, EPOCHS = 3000, 3
SEED = 1
SPACE = ChoiceSpace(
    (
        Axis("width", (0.5, 1.0), ordered=True),
        Axis("kernel_size", (3, 5), ordered=True),
        Axis("depth", (1, 3), ordered=True),
        Axis("expand_ratio", (2, 4), ordered=True),
        Axis("late_depth", (1, 2), ordered=True),
        Axis("early_stride", (1, 2), ordered=True),
    )
)


def architecture(genotype: tuple[int, ...], resolution: int, num_classes: int) -> ArchSpec:
    """The network of a point of the space."""
    width, kernel, depth, expand, late_depth, early_stride = (
        axis.values[index] for axis, index in zip(SPACE.axes, genotype, strict=True)
    )
    stages = (
        StageSpec((BlockSpec(expand_ratio=1, out_channels=16),), 1),
        StageSpec(_blocks(depth, kernel, early_stride, expand, 24), depth),
        StageSpec(_blocks(depth, kernel, 2, expand, 40), depth),
        StageSpec(_blocks(late_depth, 3, 2, expand, 64), late_depth),
    )
    return canonical(ArchSpec(16, stages, 96, width, resolution, num_classes))


def _blocks(depth: int, kernel_size: int, stride: int, expand_ratio: int, channels: int) -> tuple[BlockSpec, ...]:
    first = BlockSpec(kernel_size=kernel_size, stride=stride, expand_ratio=expand_ratio, out_channels=channels)
    rest = BlockSpec(kernel_size=kernel_size, stride=1, expand_ratio=expand_ratio, out_channels=channels)
    return (first, *[rest] * (depth - 1))


def trained_table(folder: Path, reporter: Reporter) -> Table:
    """Validation accuracies (percent) of all networks on both data sets; trains what is missing in `folder`.

    Raises UsageError if Fashion-MNIST is not on this computer.
    """
    genotypes = list(itertools.product(*(range(len(axis.values)) for axis in SPACE.axes)))
    columns = {name: _column(folder, name, genotypes, reporter) for name in (PAST, PRESENT)}
    return Table("two data sets", SPACE, np.array(genotypes, dtype=np.int16), columns)


def _column(folder: Path, name: str, genotypes: list[tuple[int, ...]], reporter: Reporter) -> NDArray[np.float64]:
    log = AppendLog(folder / f"{name}.jsonl")
    known = {record["arch_id"]: record["accuracy"] for record in log.read()}
    data: ImageData | None = None
    found = []
    with reporter.task(name, len(genotypes)) as task:
        for genotype in genotypes:
            data = data or _data(folder, name)
            arch = architecture(genotype, data.resolution, data.num_classes)
            arch_id = content_id(arch)
            if arch_id not in known:
                known[arch_id] = _accuracy(arch, data)
                log.append({"arch_id": arch_id, "accuracy": known[arch_id]})
            found.append(100 * known[arch_id])
            task.advance(1)
    return np.array(found)


def _data(folder: Path, name: str) -> ImageData:
    from pipeline.data import DataConfig, load, prepare

    prepared = folder / name
    if not prepared.exists():
        with committed_directory(prepared) as out:
            prepare(DataConfig(name=name), SEED, out, SilentReporter())
    return load(prepared)


def _accuracy(arch: ArchSpec, data: ImageData) -> float:
    from core.keras_env import reset

    from search.build import build
    from search.train import accuracy, fit, labels_supervision

    reset(SEED)
    model = build(arch)
    config = TrainConfig(epochs=EPOCHS, batch_size=32, learning_rate=3e-3)
    supervision = labels_supervision(data.num_classes)
    fit(model, data.train.first(TRAIN_IMAGES), config, supervision, seed=SEED, augment=data.augment)
    return accuracy(model, data.val)
