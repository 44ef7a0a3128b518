"""The data room: a named data set becomes a folder of memory-mapped files, split into train, validation and test.

Search sees the validation images only; the test images are touched once, at the end. Nothing here imports TensorFlow,
except where Keras has to read or download a data set.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import checks, registry
from core.errors import UsageError, bad_value, one_of
from core.progress import Reporter
from core.spec_io import content_id
from core.workspace import read_json
from pipeline.datasets import BUILT_IN, FROM_PATH
from pipeline.datasets.source import (
    TEST_SEED,
    Images,
    LabelledImages,
    Source,
    check_classes,
    check_images_per_class,
    frozen_random,
    hold_out,
)
from search.dataset import ImageData, ImageSet, Int64

AUGMENTATIONS = ("auto", "none", "flip", "shift", "flip_shift")
MIN_RESOLUTION, MAX_RESOLUTION = 8, 1024
# Decoded at a time: large enough for quick writing, small beside what the interpreter itself needs.
_CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they are split and changed.

    Attributes:
      name: mnist_5k, fashion_mnist, cifar10, npz:PATH or directory:PATH.
      val_fraction: share of the training images that become the validation set, above 0 and below 1.
      resolution: side in pixels to which each image is resized (its shorter side; the centre is cut out), or None for
        images as they are, which must then be square and of one size.
      augment: random changes in training (see search.dataset.ImageData); "auto" takes what suits the data set.
    """

    name: str = "mnist_5k"
    val_fraction: float = 0.1
    resolution: int | None = None
    augment: str = "auto"

    def __post_init__(self) -> None:
        kind, colon, path = self.name.partition(":")
        if not (self.name in BUILT_IN or (kind in FROM_PATH and colon and path)):
            legal = one_of((*BUILT_IN, *(f"{kind}:PATH" for kind in FROM_PATH)))
            raise bad_value("config.data.name", self.name, legal)
        if not 0 < self.val_fraction < 1:
            raise bad_value("config.data.val_fraction", self.val_fraction, "a number above 0 and below 1")
        if self.resolution is not None:
            checks.in_range("config.data.resolution", self.resolution, MIN_RESOLUTION, MAX_RESOLUTION)
        checks.in_choices("config.data.augment", self.augment, AUGMENTATIONS)


def fingerprint(config: DataConfig) -> str:
    """16 hex digits that change with what the data set holds: names, sizes and times of files, or their bytes.

    Raises UsageError for a missing file or folder, and for a folder without images in train/CLASS/.
    """
    return content_id((config.name.partition(":")[0], _source(config).fingerprint()))


def prepare(config: DataConfig, seed: int, out: Path, reporter: Reporter) -> None:
    """Fills the folder `out` with the images, each decoded once, and their split.

    images.npy: uint8 [N, side, side, 1 or 3]; labels.npy: int32 [N]; rows.npz: int64 row numbers `train`, `val` and
    `test`; data.json: names and counts. The split is stratified and depends on `seed`; the test set does not even on
    that. Raises UsageError for input that cannot be used, naming the file; `out` is then not to be used.
    """
    started = time.monotonic()
    source = _source(config)
    data = source.read(config.resolution, reporter)
    check_classes(data.class_names, config.name)
    if not MIN_RESOLUTION <= data.images.side <= MAX_RESOLUTION:
        legal = f"{MIN_RESOLUTION} to {MAX_RESOLUTION} pixels a side; config.data.resolution=N resizes them"
        raise UsageError(f"{config.name}: images of {data.images.side}x{data.images.side}; expected {legal}")
    rows = _split(data, config, seed)
    _write_images(out / "images.npy", data.images, len(data.labels), f"data {config.name}: reading images", reporter)
    np.save(out / "labels.npy", data.labels)
    np.savez(out / "rows.npz", **rows)  # type: ignore[arg-type]  # numpy's stub takes the mapping for allow_pickle
    counts = {name: len(numbers) for name, numbers in rows.items()}
    described = {
        "name": config.name,
        "class_names": data.class_names,
        "augment": source.augment if config.augment == "auto" else config.augment,
        "counts": counts,
        "resolution": data.images.side,
        "channels": data.images.channels,
        "source": data.origin,
    }
    (out / "data.json").write_text(json.dumps(described, indent=2) + "\n")
    sets = ", ".join(f"{count} {name}" for name, count in counts.items())
    kind = f"images of {data.images.side}x{data.images.side}x{data.images.channels} in {len(data.class_names)} classes"
    reporter.line(
        f"data {config.name}: {sets} {kind}; {time.monotonic() - started:.1f} s, "
        f"peak memory of the process {_peak_memory_mb():.0f} MB"
    )


def load(directory: Path) -> ImageData:
    """The data set that `prepare` has written; the images stay in the file and are read when they are used."""
    images = np.load(directory / "images.npy", mmap_mode="r")
    labels = np.load(directory / "labels.npy")
    described = read_json(directory / "data.json")
    with np.load(directory / "rows.npz") as rows:
        train, val, test = (ImageSet(images, labels, rows[name]) for name in ("train", "val", "test"))
    names = tuple(described["class_names"])
    return ImageData(described["name"], names, train, val, test, described["augment"])


def _source(config: DataConfig) -> Source:
    kind, _, path = config.name.partition(":")
    source: Source = registry.load(BUILT_IN | FROM_PATH, kind, "config.data.name")(path)
    return source


def _split(data: LabelledImages, config: DataConfig, seed: int) -> dict[str, Int64]:
    """Row numbers in random order, so that the first rows of a set stand for all classes."""
    training = data.labels[: data.num_train]
    check_images_per_class(training, data.class_names, 2, config.name)  # one each for training and validation
    train, val = hold_out(training, config.val_fraction, seed)
    test = data.num_train + frozen_random(TEST_SEED).permutation(len(data.labels) - data.num_train)
    return {"train": train, "val": val, "test": test.astype(np.int64)}


def _write_images(path: Path, images: Images, count: int, label: str, reporter: Reporter) -> None:
    """Writes an .npy file a few images at a time.

    It is written to, not mapped: on a full disk a write raises OSError, while a store to a mapping kills the process,
    and written pages do not count as memory of the process.
    """
    shape = (count, images.side, images.side, images.channels)
    step = max(1, _CHUNK_BYTES // (images.side**2 * images.channels))
    with open(path, "wb") as file, reporter.task(label, count) as task:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, count, step):
            stop = min(start + step, count)
            file.write(np.ascontiguousarray(images.read(start, stop)).data)
            task.advance(stop - start)


def _peak_memory_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes), interpreter and libraries included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
