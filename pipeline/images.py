"""Images in another resolution than the data set's, for networks whose resolution was searched. No TensorFlow here.

They are resized as the supernet resizes them (bilinear, with antialiasing), but for the rounding to bytes.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from core.progress import Reporter
from core.workspace import atomic_write_json, read_json
from search.dataset import ImageData, ImageSet, UInt8

IMAGES, DESCRIBED = "images.npy", "data.json"
_CHUNK = 1024  # images that are resized at a time


def resized(images: UInt8, side: int) -> UInt8:
    """uint8 [n, height, width, channels] -> [n, side, side, channels]."""
    grey = images.shape[-1] == 1
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    small = [np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)) for picture in pictures]
    return np.stack(small).reshape(len(images), side, side, images.shape[-1])


def resized_set(images: ImageSet, side: int) -> ImageSet:
    """The images of a set, resized in memory."""
    pixels = resized(np.asarray(images.images[images.rows]), side)
    return ImageSet(pixels, images.labels, np.arange(len(images)))


def resized_data(data: ImageData, side: int, calibration_images: int) -> ImageData:
    """The first training images and all validation images in memory, for what is ranked and not kept; no test images.

    `data` itself if it has that resolution.
    """
    if data.resolution == side:
        return data
    train, val = resized_set(data.train.first(calibration_images), side), resized_set(data.val, side)
    return dataclasses.replace(data, train=train, val=val, test=val.first(0))


def write_resized(source: Path, side: int, out: Path, reporter: Reporter) -> None:
    """Fills `out` with what pipeline.data.prepare wrote to `source`, its images resized to `side` pixels a side.

    What stays as it is is linked, not copied, where the file system can.
    """
    described = read_json(source / DESCRIBED)
    same = described["resolution"] == side
    for name in ("labels.npy", "rows.npz", *([IMAGES] if same else [])):
        _link(source / name, out / name)
    atomic_write_json(out / DESCRIBED, {**described, "resolution": side})
    if not same:
        _write_images(source / IMAGES, out / IMAGES, side, reporter)


def _write_images(source: Path, out: Path, side: int, reporter: Reporter) -> None:
    images = np.load(source, mmap_mode="r")
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), side, side, images.shape[-1])}
    with open(out, "wb") as file, reporter.task(f"images of {side}x{side}", len(images)) as task:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), _CHUNK):
            part = resized(np.asarray(images[start : start + _CHUNK]), side)
            file.write(np.ascontiguousarray(part).data)
            task.advance(len(part))


def _link(source: Path, out: Path) -> None:
    try:
        os.link(source, out)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, out)
