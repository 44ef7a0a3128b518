"""Fashion-MNIST (Xiao et al., 2017): 70,000 grey 28x28 images of clothes, in MNIST's IDX files.

They are looked for in Keras' cache, then in Debian's package dataset-fashion-mnist, then downloaded by Keras.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from core.errors import UsageError, one_line
from core.progress import Reporter
from pipeline.datasets import keras_cache
from pipeline.datasets.source import ArrayImages, LabelledImages
from search.dataset import UInt8

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class FashionMnist:
    """60,000 training and 10,000 test images of ten classes."""

    augment = "flip"  # the clothes are centred: shifting them costs short trainings 2 points

    def __init__(self, path: str = "") -> None:
        del path

    def fingerprint(self) -> str:
        """The name: the contents are fixed."""
        return "fashion_mnist"

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """The images from the first place that has all four files. Raises UsageError if none has or one is damaged."""
        folder = self._folder(reporter)
        x_train, y_train, x_test, y_test = (read_idx(folder / f"{part}-ubyte.gz") for part in _PARTS)
        labels = np.concatenate((y_train, y_test)).astype(np.int32)
        if x_train.ndim != 3 or len(x_train) + len(x_test) != len(labels) or labels.max() >= len(_CLASS_NAMES):
            raise UsageError(f"{folder}: does not hold Fashion-MNIST: its images and labels do not go together")
        images = ArrayImages((x_train[..., None], x_test[..., None]), resolution)
        return LabelledImages(images, labels, len(x_train), _CLASS_NAMES, str(folder))

    def _folder(self, reporter: Reporter) -> Path:
        cached = keras_cache.home() / "datasets" / "fashion-mnist"
        for folder in (cached, DEBIAN_FOLDER):
            if all((folder / f"{part}-ubyte.gz").is_file() for part in _PARTS):
                return folder
        hint = f"install the Debian package dataset-fashion-mnist or put its four .gz files into {cached}"
        keras_cache.load("fashion_mnist", reporter, hint)
        return cached


def read_idx(path: Path) -> UInt8:
    """The array of a gzipped IDX file of unsigned bytes: two zero bytes, type 8, the number of dimensions, each as a
    big-endian 32-bit number, the bytes. Raises UsageError for a damaged file.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read ({one_line(error)}); delete it and get it again") from error
    start = 4 + 4 * data[3] if len(data) > 3 else 0
    shape = [int(size) for size in np.frombuffer(data[4:start], ">u4")] if len(data) >= start else []
    if data[:3] != b"\0\0\x08" or not shape or len(data) != start + math.prod(shape):
        raise UsageError(f"{path}: is not a whole IDX file of unsigned bytes; delete it and get it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
