"""What a data set must offer, and what several of them share: images on demand, held-out rows, label checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from core.errors import UsageError
from core.progress import Reporter
from search.dataset import Int32, Int64, UInt8

# Fixed, so that the test images are the same ones whatever seed a run has.
TEST_SEED = 20_240_229
HELD_OUT_FRACTION = 0.2
RESOLUTION_HINT = "set config.data.resolution=N to resize and crop every image to N x N pixels"


class Images(Protocol):
    """Square images that are produced a few at a time, so that they are never in memory whole."""

    @property
    def side(self) -> int:
        """Height and width in pixels."""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""

    def read(self, start: int, stop: int) -> UInt8:
        """uint8 [stop - start, side, side, channels]. Raises UsageError for an image that cannot be used."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A data set before its training images are split.

    Attributes:
      images: the training images, then the test images.
      labels: int32 [total], the class index of each image.
      num_train: how many of the images are for training; the others are the test set.
      class_names: one for each class index.
      origin: where the images came from, for people.
    """

    images: Images
    labels: Int32
    num_train: int
    class_names: tuple[str, ...]
    origin: str


class Source(Protocol):
    """A data set, opened by `Class(path)`; the path is empty for a built-in one.

    Opening touches nothing. `augment` is the augmentation that suits the images (see search.dataset.ImageData).
    """

    augment: str

    def fingerprint(self) -> str:
        """Text that changes with the contents. Fast. Raises UsageError for a missing file or folder."""

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """The labels, and the images resized to `resolution` if it is given. Raises UsageError for bad input."""


class ArrayImages:
    """Images from arrays in memory: uint8 [n, height, width, 1 or 3] each, one after the other."""

    def __init__(self, arrays: Sequence[UInt8], resolution: int | None) -> None:
        self._arrays = tuple(arrays)
        self._resolution = resolution

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return self._resolution or int(self._arrays[0].shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self._arrays[0].shape[3])

    def read(self, start: int, stop: int) -> UInt8:
        """uint8 [stop - start, side, side, channels]."""
        parts = []
        for array in self._arrays:
            part = array[max(start, 0) : max(stop, 0)]
            start, stop = start - len(array), stop - len(array)
            if len(part):
                parts.append(self._resized(part))
        return np.concatenate(parts)

    def _resized(self, images: UInt8) -> UInt8:
        if images.shape[1:3] == (self.side, self.side):
            return images
        grey = self.channels == 1
        squares = [fit_square(Image.fromarray(image[..., 0] if grey else image), self.side) for image in images]
        return np.stack([np.asarray(square) for square in squares]).reshape(-1, self.side, self.side, self.channels)


def fit_square(image: Image.Image, side: int) -> Image.Image:
    """The image with its shorter side resized to `side` pixels and the centre cut out of the longer one."""
    return ImageOps.fit(image, (side, side), method=Image.Resampling.BICUBIC)


def hold_out(labels: Int32, fraction: float, seed: int) -> tuple[Int64, Int64]:
    """Stratified split of the rows of `labels` into (kept, held out), both in random order.

    Unlike scikit-learn's stratified splits, it gives every class of two or more images a place on both sides, however
    small its share. Random order matters: the first images of a set then stand for all classes.
    """
    random = frozen_random(seed)
    kept, held = [], []
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return random.permutation(np.concatenate(kept)), random.permutation(np.concatenate(held))


def frozen_random(seed: int) -> np.random.RandomState:
    """Random numbers that no later NumPy will change (NEP 19 freezes RandomState, not Generator), for any seed >= 0."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def check_classes(class_names: Sequence[str], where: str) -> None:
    """Raises UsageError unless there are two or more classes with distinct names that fit on a line of a label file."""
    if len(class_names) < 2:
        found = f"only the class {class_names[0]!r}" if class_names else "no class"
        raise UsageError(f"{where}: has {found}; at least 2 classes are needed")
    for i, name in enumerate(class_names):
        if not name.strip() or not name.isprintable() or name in class_names[:i]:
            raise UsageError(f"{where}: class name {name!r} is not legal; expected distinct names that can be printed")


def check_images_per_class(labels: Int32, class_names: Sequence[str], needed: int, where: str) -> None:
    """Raises UsageError if a class has fewer than `needed` of the training images `labels`."""
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(np.argmin(counts))
    if counts[smallest] < needed:
        found = f"class {class_names[smallest]!r} has {counts[smallest]} for training"
        raise UsageError(f"{where}: too few images for the split: {found}; every class needs at least {needed}")
