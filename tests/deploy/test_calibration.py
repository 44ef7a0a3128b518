from __future__ import annotations

import numpy as np
import pytest

from core.errors import LitesmithError
from deploy.calibration import representative_images
from search.dataset import ImageSet


def grey_images(labels: list[int]) -> ImageSet:
    """Images of one grey value each, 10 more than their position."""
    images = np.stack([np.full((4, 4, 1), 10 + position, np.uint8) for position in range(len(labels))])
    return ImageSet(images, np.array(labels, np.int32), np.arange(len(labels)))


def test_holds_both_extremes_and_changes_one_pixel_each() -> None:
    images = grey_images([0, 1])
    result = representative_images(images)
    assert result.dtype == np.float32 and result.shape == (2, 4, 4, 3)
    assert result.min() == 0 and result.max() == 1
    untouched = images.rgb().astype(np.float32) / np.float32(255)
    assert (result != untouched).any(axis=-1).sum() == 2


def test_leaves_the_data_set_as_it_was() -> None:
    images = ImageSet(np.full((3, 4, 4, 3), 9, np.uint8), np.zeros(3, np.int32), np.arange(3))
    representative_images(images)
    assert (images.images == 9).all()


def test_classes_take_turns_when_the_set_is_sorted() -> None:
    result = representative_images(grey_images([0, 0, 0, 0, 1, 1, 2]), count=5)
    middle = np.round(result[:, 1, 1, 0] * 255).astype(int)
    assert middle.tolist() == [10, 14, 16, 11, 15]


def test_needs_an_image() -> None:
    with pytest.raises(LitesmithError, match="at least one training image"):
        representative_images(grey_images([0, 1]).first(0))
