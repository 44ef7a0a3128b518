"""Rows of an image array: RGB on demand, never more than was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from search.dataset import ImageData, ImageSet

GREY = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2, 1)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
ROWS = np.array([4, 0, 5], np.int64)


def test_rows_choose_images_and_labels_in_their_order():
    images = ImageSet(GREY, LABELS, ROWS)
    assert len(images) == 3
    assert images.labels.tolist() == [1, 0, 2]
    assert images.rgb()[..., 0].tolist() == GREY[[4, 0, 5], ..., 0].tolist()
    assert images.rgb(slice(1, 3))[..., 0].tolist() == GREY[[0, 5], ..., 0].tolist()
    assert images.rgb(np.array([2, 2]))[..., 0].tolist() == GREY[[5, 5], ..., 0].tolist()


def test_grey_is_replicated_and_colour_is_kept():
    pixels = ImageSet(GREY, LABELS, ROWS).rgb()
    assert (pixels.shape, pixels.dtype) == ((3, 2, 2, 3), np.uint8)
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 1] == pixels[..., 2]).all()
    colour = np.random.default_rng(0).integers(0, 256, (6, 2, 2, 3), np.uint8)
    assert (ImageSet(colour, LABELS, ROWS).rgb() == colour[ROWS]).all()


@pytest.mark.parametrize(("count", "rows"), [(None, [4, 0, 5]), (2, [4, 0]), (3, [4, 0, 5]), (99, [4, 0, 5])])
def test_first_takes_at_most_what_there_is(count, rows):
    assert ImageSet(GREY, LABELS, ROWS).first(count).rows.tolist() == rows


def test_a_memory_mapped_file_is_read_by_rows(tmp_path):
    np.save(tmp_path / "images.npy", GREY)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    pixels = ImageSet(mapped, LABELS, ROWS).rgb(slice(0, 1))
    assert pixels.shape == (1, 2, 2, 3)
    assert pixels.flags.owndata or pixels.base is not mapped


def test_data_knows_its_classes_and_side():
    images = ImageSet(GREY, LABELS, ROWS)
    data = ImageData("toy", ("a", "b", "c"), images, images, images, "none")
    assert (data.num_classes, data.resolution) == (3, 2)
