"""Labelled images as the trainer, the converter and the validator see them. No TensorFlow here.

Images stay uint8, usually in a memory-mapped file; grey becomes RGB and bytes become floats one batch at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Some rows of an image array.

    Attributes:
      images: uint8 [total, height, width, 1 or 3], possibly memory-mapped; rows outside `rows` belong to others.
      all_labels: int32 [total].
      rows: int64 [n], the rows of this set.
    """

    images: UInt8
    all_labels: Int32
    rows: Int64

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Int32:
        """int32 [n], the class index of each image."""
        return self.all_labels[self.rows]

    def rgb(self, positions: Int64 | slice | None = None) -> UInt8:
        """uint8 [n, height, width, 3]: the images at `positions` of this set (all of them without), grey replicated."""
        rows = self.rows if positions is None else self.rows[positions]
        pixels = np.asarray(self.images[rows])
        return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)

    def first(self, count: int | None) -> ImageSet:
        """The first `count` images (all of them for None or a larger count)."""
        return self if count is None else ImageSet(self.images, self.all_labels, self.rows[:count])


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set split into train, validation and test.

    `augment` names the random changes that training may make: "none", "shift" (translation, for digits), "flip"
    (horizontal, for centred things) or "flip_shift" (both, for photos).
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    augment: str

    @property
    def num_classes(self) -> int:
        """How many classes the labels have."""
        return len(self.class_names)

    @property
    def resolution(self) -> int:
        """Height and width of every image, in pixels."""
        return int(self.train.images.shape[1])
