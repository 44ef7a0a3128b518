"""Shared weights that are none: each network has the weights that its seed gives. What is around them is real."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
from numpy.typing import NDArray

from core.progress import SilentReporter
from core.spec_io import content_id, hashed_seed
from core.workspace import atomic_write_bytes, atomic_write_json
from pipeline.data import DataConfig, prepare
from pipeline.planner import Stage
from pipeline.runner import StageContext
from pipeline.supernet_record import RECORD, SupernetRecord
from search.arch import ArchSpec
from search.build import build
from search.dataset import ImageSet
from search.space import Genotype, SearchSpace
from search.supernet.genotypes import genotype_of
from search.supernet.methods import WEIGHTS
from search.supernet.settings import SupernetConfig
from search.train import predict

SPACE = "mobilenet_v2_small"


class FakeShared:
    """A search.supernet.shared.SharedWeights; it remembers what it was asked."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.recalibrated: list[tuple[ArchSpec, int]] = []
        self.loaded: list[Path] = []

    def recalibrate(self, arch: ArchSpec, images: ImageSet) -> None:
        genotype_of(self.space, arch)  # raises UsageError for another space's
        self.recalibrated.append((arch, len(images)))

    def logits(self, arch: ArchSpec, images: ImageSet) -> NDArray[np.float32]:
        """Right on a share of the images that grows with the number of blocks."""
        assert self.recalibrated[-1][0] == arch
        right = len(images) * sum(len(stage.blocks) for stage in arch.stages) // 12
        classes = np.where(np.arange(len(images)) < right, images.labels, (images.labels + 1) % arch.num_classes)
        return np.eye(arch.num_classes, dtype=np.float32)[classes]

    def extract(self, arch: ArchSpec) -> keras.Model:
        assert self.recalibrated[-1][0] == arch
        reset(hashed_seed(content_id(arch)))
        return build(arch)

    def save(self, path: Path) -> None:
        atomic_write_bytes(path, b"weights")

    def load(self, path: Path) -> None:
        assert path.read_bytes() == b"weights"
        self.loaded.append(path)


def fake_load(config: SupernetConfig, space: SearchSpace, folder: Path, seed: int) -> FakeShared:
    """In place of search.supernet.methods.load_shared."""
    shared = FakeShared(space)
    shared.load(folder / WEIGHTS)
    return shared


def right_of(model: keras.Model, images: ImageSet) -> float:
    """The share of the images that a model gets right."""
    return float(np.mean(np.argmax(predict(model, images), axis=1) == images.labels))


def prepared_images(folder: Path) -> Path:
    """The folder of a data stage: 16 x 16 pictures of three classes, dark to bright; 60 of them for training."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    pictures = (rng.integers(0, 60, (90, 16, 16)) + 80 * labels[:, None, None]).astype(np.uint8)
    path = folder / "bright.npz"
    np.savez(path, x_train=pictures[:75], y_train=labels[:75], x_test=pictures[75:], y_test=labels[75:])
    out = folder / "data"
    out.mkdir()
    prepare(DataConfig(name=f"npz:{path}", val_fraction=0.2), 1, out, SilentReporter())
    return out


def supernet_folder(folder: Path, suggestions: tuple[Genotype, ...] = (), is_found: bool = False) -> Path:
    """The folder of a finished supernet stage."""
    out = folder / "supernet"
    out.mkdir()
    (out / WEIGHTS).write_bytes(b"weights")
    record = SupernetRecord("enas", SPACE, 10.0, suggestions, is_found, {}, 40, 15, {})
    atomic_write_json(out / RECORD, record)
    return out


def context(kind: str, folder: Path, params: dict[str, object], inputs: dict[str, Path]) -> StageContext:
    """A stage's context with folders of its own below `folder`."""
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    stage = Stage(kind, kind, "0" * 12, params, tuple(inputs))
    return StageContext(stage, out, scratch, inputs, SilentReporter())
