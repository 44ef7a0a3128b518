"""What each model of a release says of each test image: evaluation/predictions.npz. No TensorFlow here.

Two releases are compared image by image with it, without their models and without the images.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from core.errors import LitesmithError, one_line
from search.dataset import ImageSet, Int32

UInt64 = npt.NDArray[np.uint64]

PREDICTIONS = "evaluation/predictions.npz"
IMAGE, LABEL = "image", "label"
_CHUNK = 1024  # images that are read at a time


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Of n test images.

    Attributes:
      image: uint64 [n], the first eight bytes (big endian) of the SHA-256 of each image's bytes.
      label: int32 [n], the true classes.
      predicted: model file -> int32 [n], the classes that it names.
    """

    image: UInt64
    label: Int32
    predicted: Mapping[str, Int32] = field(default_factory=dict)


def image_hashes(images: ImageSet) -> UInt64:
    """uint64 [n] of `Predictions.image`."""
    return np.array([int.from_bytes(digest[:8], "big") for digest in _digests(images)], np.uint64)


def images_sha256(images: ImageSet) -> str:
    """SHA-256 of the images of a set in their order, and of their labels."""
    whole = hashlib.sha256()
    for digest in _digests(images):
        whole.update(digest)
    whole.update(images.labels.astype("<i4").tobytes())
    return whole.hexdigest()


def predictions_bytes(predictions: Predictions) -> bytes:
    """The file's content; equal predictions have equal bytes."""
    arrays = {IMAGE: predictions.image, LABEL: predictions.label, **predictions.predicted}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the mapping for allow_pickle
    return content.getvalue()


def parse_predictions(content: bytes, where: str) -> Predictions:
    """The inverse of `predictions_bytes`. Raises LitesmithError naming `where` for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        image, label = arrays.pop(IMAGE).astype(np.uint64), arrays.pop(LABEL).astype(np.int32)
        predicted = {name: array.astype(np.int32) for name, array in arrays.items()}
        if any(array.shape != (len(image),) for array in (image, label, *predicted.values())):
            raise ValueError("its arrays differ in length")
    except Exception as error:  # there is no end to what zipfile, zlib and NumPy raise for damaged bytes
        raise LitesmithError(f"{where}: not the predictions of a release ({one_line(error)})") from error
    return Predictions(image, label, predicted)


def _digests(images: ImageSet) -> Iterator[bytes]:
    for start in range(0, len(images), _CHUNK):
        for image in np.asarray(images.images[images.rows[start : start + _CHUNK]]):
            yield hashlib.sha256(np.ascontiguousarray(image).data).digest()
