"""npz:PATH: what is accepted, and one clear line for everything else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from core.progress import SilentReporter
from pipeline import data
from pipeline.data import DataConfig
from search.dataset import ImageData

Y_TRAIN = np.repeat(np.arange(3), 4)
X_TRAIN = np.ones((12, 8, 8), np.uint8) * np.arange(12, dtype=np.uint8)[:, None, None]
GOOD: dict[str, Any] = {"x_train": X_TRAIN, "y_train": Y_TRAIN, "x_test": X_TRAIN[::4], "y_test": Y_TRAIN[::4]}


def saved(path: Path, **changes: Any) -> Path:
    np.savez(path, **{key: array for key, array in {**GOOD, **changes}.items() if array is not None})
    return path


def prepared(path: Path, resolution: int | None = None) -> ImageData:
    out = path.with_suffix(".out")
    out.mkdir(exist_ok=True)
    data.prepare(DataConfig(f"npz:{path}", resolution=resolution), 1, out, SilentReporter())
    return data.load(out)


def refusal(path: Path, resolution: int | None = None) -> str:
    """The message of the refusal, which is one line and names the file."""
    with pytest.raises(UsageError) as caught:
        prepared(path, resolution)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x_train": X_TRAIN[..., None], "x_test": X_TRAIN[::4, ..., None]},
        {"x_train": X_TRAIN.astype(np.float32)},
        {"x_train": X_TRAIN.astype(np.int64)},
        {"y_train": Y_TRAIN[:, None].astype(np.uint8)},
        {"class_names": np.array(["a", "b", "c"])},
        {"class_names": np.array([b"a", b"b", b"c"])},
    ],
    ids=["plain", "channel", "float", "int64", "column", "names", "byte_names"],
)
def test_forms_that_are_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    loaded = prepared(saved(tmp_path / "a.npz", **changes))
    assert loaded.train.images.dtype == np.uint8
    assert loaded.class_names == (("a", "b", "c") if "class_names" in changes else ("0", "1", "2"))
    assert np.array_equal(loaded.train.rgb()[:, 0, 0, 0] // 4, loaded.train.labels)
    assert loaded.test.rgb()[:, 0, 0, 0].tolist() == (loaded.test.labels * 4).tolist()


def test_colour_images_keep_their_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    loaded = prepared(saved(tmp_path / "a.npz", x_train=pixels, x_test=pixels[:3]))
    assert np.array_equal(np.asarray(loaded.train.images[:12]), pixels)


IMAGES = "[N, height, width] or [N, height, width, 1 or 3]"
BYTES = "integers from 0 to 255"


@pytest.mark.parametrize(
    ("changes", "found", "legal"),
    [
        ({"y_test": None}, "lacks y_test", "expected x_train, y_train, x_test, y_test"),
        ({"x_train": X_TRAIN / 255}, "x_train has the type float64 and holds 0.0039", BYTES),
        ({"x_train": X_TRAIN * np.nan}, "holds nan", BYTES),
        ({"x_train": X_TRAIN.astype(int) - 1}, "holds -1", BYTES),
        ({"x_train": X_TRAIN.astype(int) + 250}, "holds 256", BYTES),
        ({"x_train": X_TRAIN.astype(str)}, "x_train has the type <U3", BYTES),
        ({"x_train": X_TRAIN.astype(bool)}, "x_train has the type bool", BYTES),
        ({"x_train": X_TRAIN.reshape(12, 64)}, "x_train has the shape [12, 64]", IMAGES),
        ({"x_train": np.zeros((12, 8, 8, 4), np.uint8)}, "[12, 8, 8, 4]", IMAGES),
        ({"x_test": X_TRAIN[:0], "y_test": Y_TRAIN[:0]}, "x_test has the shape [0, 8, 8]", IMAGES),
        ({"y_train": Y_TRAIN[1:]}, "y_train has 11 labels for 12 images", "one for each"),
        ({"y_train": np.eye(3)[Y_TRAIN]}, "y_train has the type float64 and the shape [12, 3]", "integers"),
        ({"y_train": np.eye(3, dtype=int)[Y_TRAIN]}, "the shape [12, 3]", "[N] or [N, 1]"),
        ({"y_train": np.int64(3)}, "the shape []", "[N] or [N, 1]"),
        ({"y_train": Y_TRAIN - 1}, "y_train[0] is -1", "from 0 to 2"),
        ({"y_train": Y_TRAIN * 2}, "y_train[8] is 4", "from 0 to 2"),
        ({"y_train": Y_TRAIN * 10**15}, f"y_train[4] is {10**15}", "from 0 to 2"),
        ({"y_test": np.array([0, 1, 3])}, "y_test[2] is 3", "from 0 to 2"),
        ({"class_names": np.array(["a", "b"])}, "y_train[8] is 2", "from 0 to 1"),
        ({"class_names": np.array(["a", "b", "c", "d"])}, "class 'd' has 0", "at least 2"),
        ({"class_names": np.array(["a", "b", "a"])}, "class name 'a' is not legal", "distinct"),
        ({"class_names": np.array(["a", "b", "c\nd"])}, r"class name 'c\nd' is not legal", "can be printed"),
        ({"class_names": np.arange(3)}, "class_names has the type int64", "a list of strings"),
        ({"class_names": np.array([b"a", b"b", b"\xff"])}, "class_names: is damaged", "plain arrays"),
        ({"y_train": Y_TRAIN * 0, "y_test": Y_TRAIN[::4] * 0}, "only the class '0'", "at least 2 classes"),
        ({"x_test": X_TRAIN[::4, :7, :7]}, "8x8x1 and x_test of 7x7x1", "config.data.resolution=N"),
        ({"x_test": np.zeros((3, 8, 8, 3), np.uint8)}, "8x8x1 and x_test of 8x8x3", "expected the same"),
        ({"x_train": X_TRAIN[:, :6]}, "images of 6x8x1, which are not square", "config.data.resolution=N"),
    ],
)
def test_contents_that_are_refused(tmp_path: Path, changes: dict[str, Any], found: str, legal: str) -> None:
    message = refusal(saved(tmp_path / "a.npz", **changes))
    assert found in message
    assert legal in message


def test_resolution_accepts_images_of_other_shapes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x_train=X_TRAIN[:, :6], x_test=X_TRAIN[::4, :, :7])
    loaded = prepared(path, resolution=10)
    assert loaded.train.images.shape == (15, 10, 10, 1)


def test_mixed_channels_are_refused_even_with_a_resolution(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x_test=np.zeros((3, 8, 8, 3), np.uint8))
    assert "8x8x1 and x_test of 8x8x3" in refusal(path, resolution=10)


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "a.npz", y_train=np.array(list(Y_TRAIN), dtype=object)))
    assert "y_train: holds pickled Python objects, which are never loaded" in message


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_file_is_not_executed(tmp_path: Path) -> None:
    path, mark = tmp_path / "a.npz", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Trap(mark)))
    assert "not an .npz archive" in refusal(path)
    np.savez(path, **{**GOOD, "x_train": np.array([Trap(mark)], dtype=object)})
    assert "x_train: holds pickled Python objects" in refusal(path)
    assert not mark.exists()


def test_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, X_TRAIN)
    assert "a single array" in refusal(path)


@pytest.mark.parametrize("size", [0, 100, -200])
def test_cut_archive_is_refused(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:size])
    assert "expected plain arrays, saved by numpy.savez" in refusal(path)


@settings(max_examples=150, deadline=None)
@example(position=37277, value=120)  # a line break in the name of an array
@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_flipped_byte_is_harmless_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    """Whatever byte is damaged, the outcome is the right data or a refusal in one line: never a traceback."""
    path = saved(tmp_path_factory.mktemp("npz") / "a.npz")
    damaged = bytearray(path.read_bytes())
    damaged[position % len(damaged)] ^= value
    path.write_bytes(damaged)
    try:
        loaded = prepared(path)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert np.array_equal(np.asarray(loaded.train.images[:12, :, :, 0]), X_TRAIN)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(UsageError, match=rf"config\.data\.name: {path} is not a file"):
            data.fingerprint(DataConfig(f"npz:{path}"))


def test_missing_file_at_the_time_of_reading(tmp_path: Path) -> None:
    assert "is not a file" in refusal(tmp_path / "none.npz")


def test_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    first = data.fingerprint(DataConfig(f"npz:{saved(tmp_path / 'a.npz')}"))
    same = data.fingerprint(DataConfig(f"npz:{saved(tmp_path / 'b.npz')}"))
    other = data.fingerprint(DataConfig(f"npz:{saved(tmp_path / 'b.npz', x_test=X_TRAIN[1::4])}"))
    assert first == same != other
