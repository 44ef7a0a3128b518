"""`directory:PATH`: image files in train/CLASS/ and perhaps test/CLASS/; the folders' names are the classes."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from core.errors import UsageError, one_line
from core.progress import Reporter
from core.spec_io import content_id
from pipeline.datasets.source import (
    HELD_OUT_FRACTION,
    RESOLUTION_HINT,
    TEST_SEED,
    LabelledImages,
    check_classes,
    check_images_per_class,
    fit_square,
    hold_out,
)
from search.dataset import Int32, Int64, UInt8

_SUFFIXES = (".jpg", ".jpeg", ".png")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
# What Pillow raises for damaged files; its DecompressionBombError is a guard against absurd sizes.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


class Directory:
    """JPEG and PNG files in class folders. Without test/, a fifth of train/ is held out as the test set."""

    augment = "flip_shift"

    def __init__(self, path: str) -> None:
        self._root = Path(path).expanduser()

    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and modification times. Raises UsageError for a folder of another form."""
        files = []
        for split, folders in _list_tree(self._root).items():
            for name, paths in folders.items():
                statuses = [os.stat(path) for path in paths]
                files += [
                    (split, name, Path(path).name, status.st_size, status.st_mtime_ns)
                    for path, status in zip(paths, statuses, strict=True)
                ]
        return content_id(files)

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """The images as a list of files to decode. Raises UsageError for a folder of another form."""
        tree = _list_tree(self._root)
        names = tuple(tree["train"])
        check_classes(names, f"{self._root / 'train'}")
        _tell_ignored(self._root, tree, reporter)
        classes = {name: number for number, name in enumerate(names)}
        paths, labels = _flatten(tree["train"], classes)
        if "test" in tree:
            test_paths, test_labels = _flatten(tree["test"], classes)
            num_train = len(paths)
            paths, labels = paths + test_paths, np.concatenate((labels, test_labels))
        else:
            order, num_train = self._order_with_test_last(labels, names, reporter)
            paths, labels = [paths[i] for i in order], labels[order]
        return LabelledImages(FileImages(paths, resolution, reporter), labels, num_train, names, str(self._root))

    def _order_with_test_last(self, labels: Int32, names: Sequence[str], reporter: Reporter) -> tuple[Int64, int]:
        """The rows of `labels`, those held out as the test set at the end, and how many come before them."""
        check_images_per_class(labels, names, 3, str(self._root / "train"))  # one for training, validation and test
        kept, held = hold_out(labels, HELD_OUT_FRACTION, TEST_SEED)
        counts = f"{len(held)} of {len(labels)} images"
        reporter.line(f"data {self._root}: no test folder; {counts} are held out for testing, the same for every seed")
        return np.concatenate((np.sort(kept), np.sort(held))), len(kept)


class FileImages:
    """Image files, decoded on demand in this thread.

    A second thread gains nothing for small images (Pillow holds the interpreter's lock) and a quarter for photos, where
    decoding a JPEG at a reduced size (`draft`) gains a factor of four; 60,000 files of 32x32 pixels take seconds.
    """

    def __init__(self, paths: Sequence[str], resolution: int | None, reporter: Reporter) -> None:
        self._paths = tuple(paths)
        self._resolution = resolution
        self._first_size = _header(self._paths[0])[0]
        width, height = self._first_size
        if resolution is None and width != height:
            raise UsageError(f"{self._paths[0]}: is {width}x{height} pixels, not square; {RESOLUTION_HINT}")
        self._mode = "RGB" if _any_colour(self._paths, reporter) else "L"

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return self._resolution or self._first_size[0]

    @property
    def channels(self) -> int:
        """1 if all files are grey, else 3."""
        return 3 if self._mode == "RGB" else 1

    def read(self, start: int, stop: int) -> UInt8:
        """uint8 [stop - start, side, side, channels]. Raises UsageError for a damaged file or one of another size."""
        pixels = np.empty((stop - start, self.side, self.side, self.channels), np.uint8)
        for i, path in enumerate(self._paths[start:stop]):
            pixels[i] = self._decode(path).reshape(pixels.shape[1:])
        return pixels

    def _decode(self, path: str) -> UInt8:
        try:
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                if self._resolution is None:
                    self._check_size(path, image.size)
                    return np.asarray(_convert(image, self._mode))
                # Twice the side leaves the final filter enough pixels to be as good as without the short cut.
                image.draft(self._mode, (2 * self._resolution, 2 * self._resolution))
                return np.asarray(fit_square(_convert(image, self._mode), self._resolution))
        except _DAMAGE as error:
            raise _undecodable(path, error) from error

    def _check_size(self, path: str, size: tuple[int, int]) -> None:
        if size != self._first_size:
            (w0, h0), (w, h) = self._first_size, size
            raise UsageError(
                f"images of mixed shape: {self._paths[0]} is {w0}x{h0} pixels and {path} is {w}x{h}; {RESOLUTION_HINT}"
            )


def _list_tree(root: Path) -> dict[str, dict[str, list[str]]]:
    """The sorted image files of each class of "train" and, if there is one, of "test"."""
    if not root.is_dir():
        raise UsageError(f"config.data.name: {root} is not a folder; expected directory:PATH of one with train/CLASS/")
    if not (root / "train").is_dir():
        raise UsageError(f"{root}: has no folder train; expected train/CLASS/*.jpg or *.png (and perhaps test/CLASS/)")
    tree = {split: _class_folders(root / split) for split in ("train", "test") if (root / split).is_dir()}
    unknown = sorted(set(tree.get("test", ())) - set(tree["train"]))
    if unknown:
        raise UsageError(
            f"{root / 'test' / unknown[0]}: class {unknown[0]!r} is not in train; legal are {', '.join(tree['train'])}"
        )
    return tree


def _class_folders(split: Path) -> dict[str, list[str]]:
    try:
        names = sorted(entry.name for entry in os.scandir(split) if entry.is_dir() and not entry.name.startswith("."))
        folders = {name: sorted(entry.path for entry in os.scandir(split / name) if _is_image(entry)) for name in names}
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not folders:
        raise UsageError(f"{split}: has no class folders; expected {split.name}/CLASS/*.jpg or *.png")
    for name, paths in folders.items():
        if not paths:
            raise UsageError(f"{split / name}: empty class folder; expected files that end in {', '.join(_SUFFIXES)}")
    return folders


def _is_image(entry: os.DirEntry[str]) -> bool:
    # Names with a leading dot are what desktops leave behind ("._photo.jpg" of macOS is no image).
    return entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def _tell_ignored(root: Path, tree: dict[str, dict[str, list[str]]], reporter: Reporter) -> None:
    for split, folders in tree.items():
        for name, paths in folders.items():
            others = sum(not entry.name.startswith(".") for entry in os.scandir(root / split / name)) - len(paths)
            if others:
                reporter.line(f"data {root / split / name}: {others} ignored, not {', '.join(_SUFFIXES)}")


def _flatten(folders: dict[str, list[str]], classes: dict[str, int]) -> tuple[list[str], Int32]:
    """All files in order, and the class index of each."""
    paths = [path for files in folders.values() for path in files]
    numbers = [classes[name] for name in folders]
    return paths, np.repeat(np.array(numbers, np.int32), [len(files) for files in folders.values()])


def _header(path: str) -> tuple[tuple[int, int], str]:
    """Size (width, height) and Pillow's mode of a file, without decoding it."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.size, image.mode
    except _DAMAGE as error:
        raise _undecodable(path, error) from error


def _any_colour(paths: Sequence[str], reporter: Reporter) -> bool:
    """Whether a file is not grey; ends with the first such file, so that colour images cost no extra pass."""
    if _header(paths[0])[1] not in _GREY_MODES:
        return True
    with reporter.task("looking for colour", len(paths)) as task:
        for path in paths:
            if _header(path)[1] not in _GREY_MODES:
                return True
            task.advance()
    return False


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """The decoded image in `mode`, upright as its EXIF data say."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip them to 255 instead of scaling
        image = Image.fromarray((np.asarray(image, np.uint16) >> 8).astype(np.uint8))
    return image.convert(mode)


def _undecodable(path: str, error: BaseException) -> UsageError:
    return UsageError(f"{path}: cannot be decoded as a JPEG or PNG image ({one_line(error)}); replace or remove it")
