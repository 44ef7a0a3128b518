"""`npz:PATH`: arrays x_train, y_train, x_test, y_test and perhaps class_names, saved by numpy.savez."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UsageError, one_line
from core.progress import Reporter
from core.values import file_sha256
from pipeline.datasets.source import RESOLUTION_HINT, ArrayImages, LabelledImages, check_classes
from search.dataset import UInt8

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_BYTES = "uint8, or numbers that are all integers from 0 to 255"
# What zipfile, zlib and NumPy's header parser raise for damaged bytes.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError, SyntaxError)
# Enough to be quick, few enough that checking floats needs no second array of the same size.
_ROWS_AT_ONCE = 1024


class Npz:
    """Images [N, height, width] or [N, height, width, 1 or 3]; labels [N] or [N, 1], integers from 0."""

    augment = "flip_shift"

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()

    def fingerprint(self) -> str:
        """The SHA-256 of the file. Raises UsageError if there is none."""
        self._require_file()
        try:
            return file_sha256(self._path)
        except OSError as error:
            raise UsageError(f"config.data.name: {self._path} cannot be read ({error.strerror})") from error

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """The arrays as they are. Raises UsageError, naming file and key, for anything but plain images and labels."""
        self._require_file()
        arrays = _load(self._path)
        x_train = _images(arrays.pop("x_train"), f"{self._path}: x_train", resolution)
        x_test = _images(arrays.pop("x_test"), f"{self._path}: x_test", resolution)
        _check_same_shape(x_train, x_test, resolution, self._path)
        y_train = _labels(arrays["y_train"], x_train, f"{self._path}: y_train")
        y_test = _labels(arrays["y_test"], x_test, f"{self._path}: y_test")
        names = _class_names(arrays.get("class_names"), y_train, str(self._path))
        check_classes(names, str(self._path))
        _check_range(y_train, len(names), f"{self._path}: y_train")
        _check_range(y_test, len(names), f"{self._path}: y_test")
        labels = np.concatenate((y_train, y_test)).astype(np.int32)
        return LabelledImages(ArrayImages((x_train, x_test), resolution), labels, len(x_train), names, str(self._path))

    def _require_file(self) -> None:
        if not self._path.is_file():
            raise UsageError(f"config.data.name: {self._path} is not a file; expected npz:PATH of an .npz file")


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    with open(path, "rb") as file:  # NumPy takes anything that is neither .npy nor .npz for a pickle
        if file.read(2) not in (b"PK", b"\x93N"):
            raise UsageError(f"{path}: is not an .npz archive; expected plain arrays, saved by numpy.savez")
    with _damage_named(path):
        archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise UsageError(f"{path}: is a single array (.npy); expected an .npz archive with {', '.join(_KEYS)}")
    with archive:
        missing = [key for key in _KEYS if key not in archive.files]
        if missing:
            # A damaged name may hold anything, a line break too.
            names = (name if name.isprintable() else repr(name) for name in sorted(archive.files))
            found = ", ".join(names) or "nothing"
            raise UsageError(f"{path}: lacks {', '.join(missing)}; it holds {found}, expected {', '.join(_KEYS)}")
        wanted = [*_KEYS, *(key for key in ("class_names",) if key in archive.files)]
        return {key: _member(archive, key, path) for key in wanted}


def _member(archive: Any, key: str, path: Path) -> npt.NDArray[Any]:
    with _damage_named(f"{path}: {key}"):
        array = archive[key]
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: {key} is not an array; expected an archive that numpy.savez has written")
    return array


@contextlib.contextmanager
def _damage_named(where: object) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        reason = f"is damaged ({one_line(error)})"
        if "pickle" in str(error):  # NumPy's own message says how to load such a file in spite of the danger
            reason = "holds pickled Python objects, which are never loaded"
        raise UsageError(f"{where}: {reason}; expected plain arrays, saved by numpy.savez") from error


def _images(array: npt.NDArray[Any], where: str, resolution: int | None) -> UInt8:
    """uint8 [N, height, width, 1 or 3] out of what the file holds."""
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        shape = list(array.shape)
        raise UsageError(f"{where} has the shape {shape}; expected [N, height, width] or [N, height, width, 1 or 3]")
    if resolution is None and images.shape[1] != images.shape[2]:
        raise UsageError(f"{where} holds images of {_shape(images)}, which are not square; {RESOLUTION_HINT}")
    return images if images.dtype == np.uint8 else _as_bytes(images, where)


def _as_bytes(images: npt.NDArray[Any], where: str) -> UInt8:
    if images.dtype.kind not in "iuf":
        raise UsageError(f"{where} has the type {images.dtype}; expected {_BYTES}")
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _ROWS_AT_ONCE):
        part = images[start : start + _ROWS_AT_ONCE]
        legal = (part >= 0) & (part <= 255) & (part == np.floor(part))
        if not legal.all():
            example = part[~legal][0]
            raise UsageError(f"{where} has the type {images.dtype} and holds {example:g}; expected {_BYTES}")
        result[start : start + _ROWS_AT_ONCE] = part
    return result


def _check_same_shape(x_train: UInt8, x_test: UInt8, resolution: int | None, path: Path) -> None:
    differs = x_train.shape[3] != x_test.shape[3] or (resolution is None and x_train.shape[1:] != x_test.shape[1:])
    if differs:
        found = f"x_train holds images of {_shape(x_train)} and x_test of {_shape(x_test)}"
        raise UsageError(f"{path}: {found}; expected the same, unless they differ in size only: {RESOLUTION_HINT}")


def _labels(array: npt.NDArray[Any], images: UInt8, where: str) -> npt.NDArray[np.integer[Any]]:
    """Integers [N], one for each image."""
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.shape[1:] not in ((), (1,)):
        found = f"has the type {array.dtype} and the shape {list(array.shape)}"
        raise UsageError(f"{where} {found}; expected integers of the shape [N] or [N, 1]")
    if len(array) != len(images):
        raise UsageError(f"{where} has {len(array)} labels for {len(images)} images; expected one for each")
    return array.reshape(-1)


def _class_names(array: npt.NDArray[Any] | None, y_train: npt.NDArray[np.integer[Any]], where: str) -> tuple[str, ...]:
    """The names that the file gives, else the numbers of the classes that have training images."""
    if array is None:
        return tuple(str(number) for number in range(len(np.unique(y_train))))
    if array.ndim != 1 or array.dtype.kind not in "US":
        found = f"has the type {array.dtype} and the shape {list(array.shape)}"
        raise UsageError(f"{where}: class_names {found}; expected a list of strings")
    with _damage_named(f"{where}: class_names"):
        return tuple(str(name) for name in (np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array))


def _check_range(labels: npt.NDArray[np.integer[Any]], num_classes: int, where: str) -> None:
    """Labels are 0 to `num_classes` - 1. Where that number is of distinct labels, this finds a gap among them too."""
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        position = outside[0]
        legal = f"labels from 0 to {num_classes - 1} for the {num_classes} classes, each with training images"
        raise UsageError(f"{where}[{position}] is {labels[position]}; expected {legal}")


def _shape(images: UInt8) -> str:
    return "x".join(str(size) for size in images.shape[1:])
