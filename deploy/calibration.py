"""The images that post-training quantization measures activation ranges on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.errors import LitesmithError
from search.dataset import ImageSet, Int64


def representative_images(images: ImageSet, count: int = 200) -> npt.NDArray[np.float32]:
    """At most `count` training images as float32 [n, R, R, 3] in 0..1, the same ones at every call.

    The classes take turns, each with its images in their order, so all of them are seen however the set is sorted. One
    pixel of the first image is made black and one of the last image white: the input range is then exactly 0..1, which
    makes the input scale 1/255, while two bytes in many thousands leave the inner ranges as they are.

    Raises LitesmithError if there are no images.
    """
    if not len(images) or count < 1:
        raise LitesmithError(f"calibration: needs at least one training image, got {min(len(images), count)}")
    pixels = images.rgb(_class_balanced(images, count)).copy()
    pixels[0, 0, 0] = 0
    pixels[-1, -1, -1] = 255
    return pixels.astype(np.float32) / np.float32(255)


def _class_balanced(images: ImageSet, count: int) -> Int64:
    labels = images.labels
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    turns = np.concatenate([np.arange(len(positions)) for positions in by_class])
    order = np.lexsort((np.concatenate(by_class), turns))
    return np.concatenate(by_class)[order][:count].astype(np.int64)
