"""CIFAR-10 (Krizhevsky, 2009): 60,000 colour photos of 32x32 pixels, through Keras' own loader and cache."""

from __future__ import annotations

import numpy as np

from core.progress import Reporter
from pipeline.datasets import keras_cache
from pipeline.datasets.source import ArrayImages, LabelledImages

_CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10:
    """50,000 training and 10,000 test images of ten classes."""

    augment = "flip_shift"

    def __init__(self, path: str = "") -> None:
        del path

    def fingerprint(self) -> str:
        """The name: the contents are fixed, and Keras checks their hash."""
        return "cifar10"

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """The images from Keras' cache, else from the network. Raises UsageError if there are none."""
        folder = keras_cache.home() / "datasets"
        hint = f"put https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz at {folder / 'cifar-10-batches-py.tar.gz'}"
        (x_train, y_train), (x_test, y_test) = keras_cache.load("cifar10", reporter, hint)
        labels = np.concatenate((y_train, y_test)).reshape(-1).astype(np.int32)
        images = ArrayImages((x_train, x_test), resolution)
        return LabelledImages(images, labels, len(x_train), _CLASS_NAMES, str(folder))
