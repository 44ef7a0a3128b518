"""The data room as a whole: names, split, files, built-in data sets."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from core.progress import SilentReporter
from pipeline import data
from pipeline.data import DataConfig
from pipeline.datasets import BUILT_IN, FROM_PATH
from pipeline.datasets.fashion_mnist import DEBIAN_FOLDER
from pipeline.datasets.source import ArrayImages, hold_out
from search.dataset import ImageData

ROOT = Path(__file__).resolve().parents[2]
MNIST_TEST_CHECKSUM = 64_584_202
needs_debian_fashion = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="needs the Debian package dataset-fashion-mnist"
)


class Lines(SilentReporter):
    """Remembers the lines it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def prepared(out: Path, seed: int = 1, **settings: object) -> ImageData:
    out.mkdir()
    data.prepare(DataConfig(**settings), seed, out, Lines())  # type: ignore[arg-type]
    return data.load(out)


def save_npz(path: Path, per_class: int = 20, num_classes: int = 3, side: int = 8) -> str:
    """An archive whose images hold their own number, so that a row is recognised anywhere; returns its data.name."""
    y_train = np.repeat(np.arange(num_classes), per_class)
    x_train = np.zeros((len(y_train), side, side), np.uint8)
    x_train[:] = np.arange(len(y_train))[:, None, None]
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_train[::5] + 1, y_test=y_train[::5])
    return f"npz:{path}"


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return prepared(tmp_path_factory.mktemp("data") / "mnist")


@pytest.mark.parametrize(
    ("key", "value", "legal"),
    [
        ("name", "mnist", "cifar10, directory:PATH, fashion_mnist, mnist_5k, npz:PATH"),
        ("name", "npz:", "npz:PATH"),
        ("name", "directory", "directory:PATH"),
        ("name", "mnist_5k:here", "mnist_5k"),
        ("val_fraction", 0.0, "above 0 and below 1"),
        ("val_fraction", 1.0, "above 0 and below 1"),
        ("val_fraction", float("nan"), "above 0 and below 1"),
        ("resolution", 4, "from 8 to 1024"),
        ("augment", "turn", "auto, flip, flip_shift, none, shift"),
    ],
)
def test_config_refuses_what_is_not_legal(key: str, value: object, legal: str) -> None:
    with pytest.raises(UsageError) as caught:
        DataConfig(**{key: value})  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"config.data.{key}: {value!r}")
    assert legal in message
    assert "\n" not in message


def test_config_accepts_every_form_of_name() -> None:
    names = [*BUILT_IN, *(f"{kind}:some/path" for kind in FROM_PATH)]
    assert [DataConfig(name).name for name in names] == names


def test_prepare_writes_the_files_that_load_reads(tmp_path: Path) -> None:
    loaded = prepared(tmp_path / "out", name=save_npz(tmp_path / "a.npz"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data.json",
        "images.npy",
        "labels.npy",
        "rows.npz",
    ]
    assert isinstance(loaded.train.images, np.memmap)
    assert loaded.train.images.shape == (72, 8, 8, 1)
    assert loaded.train.images.dtype == np.uint8
    assert loaded.train.labels.dtype == np.int32
    assert loaded.train.rows.dtype == loaded.test.rows.dtype == np.int64
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (54, 6, 12)
    assert loaded.class_names == ("0", "1", "2")
    assert loaded.resolution == 8
    # Every image of the archive holds its number, 20 to a class: pixels and labels still belong together.
    assert np.array_equal(loaded.train.rgb()[:, 0, 0, 0] // 20, loaded.train.labels)
    assert np.array_equal((loaded.test.rgb()[:, 0, 0, 2] - 1) // 20, loaded.test.labels)


def test_prepare_says_counts_seconds_and_peak_memory(tmp_path: Path) -> None:
    reporter = Lines()
    name = save_npz(tmp_path / "a.npz")
    data.prepare(DataConfig(name), 1, tmp_path, reporter)
    assert "54 train, 6 val, 12 test images of 8x8x1 in 3 classes" in reporter.lines[-1]
    peak_mb = float(reporter.lines[-1].split("peak memory of the process ")[1].removesuffix(" MB"))
    # An interpreter with NumPy takes more than 20 MB, and no machine for these tests has a terabyte: the unit is right.
    assert 20 < peak_mb < 1e6


def test_split_is_disjoint_whole_and_stratified(tmp_path: Path) -> None:
    loaded = prepared(tmp_path / "out", name=save_npz(tmp_path / "a.npz"), val_fraction=0.3)
    rows = [set(part.rows.tolist()) for part in (loaded.train, loaded.val, loaded.test)]
    assert rows[0] | rows[1] == set(range(60))
    assert rows[2] == set(range(60, 72))
    assert not rows[0] & rows[1]
    assert np.bincount(loaded.val.labels).tolist() == [6, 6, 6]


def test_split_depends_on_the_seed_alone_and_test_not_even_on_that(tmp_path: Path) -> None:
    name = save_npz(tmp_path / "a.npz")
    first, again, other = (prepared(tmp_path / f"out{i}", seed, name=name) for i, seed in enumerate((1, 1, 2**40)))
    assert np.array_equal(first.train.rows, again.train.rows)
    assert np.array_equal(first.val.rows, again.val.rows)
    assert set(first.val.rows) != set(other.val.rows)
    assert np.array_equal(first.test.rows, other.test.rows)
    for file in ("images.npy", "labels.npy", "rows.npz", "data.json"):
        assert (tmp_path / "out0" / file).read_bytes() == (tmp_path / "out1" / file).read_bytes()


def test_first_images_stand_for_all_classes(mnist: ImageData) -> None:
    # 100 random images of ten equal classes lack one with a chance of 10 * 0.9^100 = 3e-4; in file order they are one.
    for part in (mnist.train, mnist.val, mnist.test):
        assert set(part.first(100).labels) == set(range(10))


def test_small_class_reaches_both_sides_of_the_split() -> None:
    labels = np.repeat([0, 1], [1000, 2]).astype(np.int32)
    kept, held = hold_out(labels, 0.1, seed=0)
    assert np.bincount(labels[kept]).tolist() == [900, 1]
    assert np.bincount(labels[held]).tolist() == [100, 1]


def test_too_few_images_for_the_split(tmp_path: Path) -> None:
    name = save_npz(tmp_path / "a.npz", per_class=1)
    with pytest.raises(UsageError, match=r"too few images for the split: class '0' has 1 .* needs at least 2"):
        prepared(tmp_path / "out", name=name)


def test_resolution_resizes_arrays(tmp_path: Path) -> None:
    loaded = prepared(tmp_path / "out", name=save_npz(tmp_path / "a.npz"), resolution=12)
    assert loaded.resolution == 12
    assert np.array_equal(loaded.train.rgb()[:, 5, 5, 0] // 20, loaded.train.labels)  # flat images stay flat


def test_array_images_read_across_arrays() -> None:
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    images = ArrayImages((pixels[:4], pixels[4:6], pixels[6:]), None)
    assert images.read(2, 9).ravel().tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert images.read(5, 6).ravel().tolist() == [5]


def test_a_write_that_fails_is_an_exception_and_not_a_signal(tmp_path: Path) -> None:
    name = save_npz(tmp_path / "a.npz", per_class=200)
    script = (
        "import pathlib, resource, sys\n"
        "from core.progress import SilentReporter\n"
        "from pipeline import data\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    data.prepare(data.DataConfig(sys.argv[1]), 1, pathlib.Path(sys.argv[2]), SilentReporter())\n"
        "except OSError:\n"
        "    print('OSError')\n"
    )
    command = [sys.executable, "-c", script, name, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "OSError\n"), done.stderr


def test_mnist_has_the_same_thousand_test_images_always(mnist: ImageData, tmp_path: Path) -> None:
    other = prepared(tmp_path / "out", seed=77, val_fraction=0.2)
    assert np.array_equal(mnist.test.rgb(), other.test.rgb())
    assert np.bincount(mnist.test.labels).tolist() == [100] * 10
    # A checksum, because published accuracies are about these images: another number means another test set.
    assert int(np.dot(mnist.test.rgb()[:, 14, 14, 0].astype(np.int64), np.arange(1000))) == MNIST_TEST_CHECKSUM


def test_mnist_images_are_digits(mnist: ImageData) -> None:
    assert (len(mnist.train), len(mnist.val), len(mnist.test)) == (3600, 400, 1000)
    assert mnist.train.images.shape == (5000, 28, 28, 1)
    assert mnist.augment == "shift"
    images = {image.tobytes() for image in np.asarray(mnist.train.images)}
    assert len(images) == 5000  # no image is in two sets
    # The nearest mean image of a class names 77-82 % of MNIST digits rightly; 10 % is what wrong labels would give.
    means = np.stack([mnist.train.rgb()[mnist.train.labels == digit].mean(0) for digit in range(10)])
    distances = [((means - image) ** 2).sum(axis=(1, 2, 3)) for image in mnist.test.rgb().astype(np.float32)]
    assert np.mean(np.argmin(distances, axis=1) == mnist.test.labels) > 0.7


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_augment_can_be_chosen(tmp_path: Path, augment: str) -> None:
    assert prepared(tmp_path / "out", name=save_npz(tmp_path / "a.npz"), augment=augment).augment == augment


def test_augment_of_a_path_is_that_of_photos(tmp_path: Path) -> None:
    assert prepared(tmp_path / "out", name=save_npz(tmp_path / "a.npz")).augment == "flip_shift"


@needs_debian_fashion
def test_fashion_mnist_from_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "empty"))
    loaded = prepared(tmp_path / "out", name="fashion_mnist")
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (54_000, 6_000, 10_000)
    assert np.bincount(loaded.test.labels).tolist() == [1000] * 10
    assert loaded.class_names[9] == "Ankle boot"
    assert loaded.augment == "flip"
    # Trousers leave the left and right edge empty, bags do not: images and labels belong together.
    edges = loaded.test.rgb()[:, :, [0, 1, 26, 27], 0].mean(axis=(1, 2))
    assert edges[loaded.test.labels == 1].mean() < 0.1 * edges[loaded.test.labels == 8].mean()


def save_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Keras folder with a Fashion-MNIST of 40 images for training and 10 for testing."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for prefix, count in (("train", 40), ("t10k", 10)):
        labels = np.arange(count) % 10
        save_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
        save_idx(folder / f"{prefix}-images-idx3-ubyte.gz", np.ones((count, 28, 28)) * labels[:, None, None])
    return folder


def test_fashion_mnist_prefers_the_cache_in_keras_home(keras_home: Path, tmp_path: Path) -> None:
    loaded = prepared(tmp_path / "out", name="fashion_mnist")
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (30, 10, 10)
    assert np.array_equal(loaded.test.rgb()[:, 3, 4, 1], loaded.test.labels)


@pytest.mark.parametrize("damage", ["cut", "short", "text"])
def test_damaged_fashion_mnist_file_is_named(keras_home: Path, tmp_path: Path, damage: str) -> None:
    path = keras_home / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    short = gzip.compress(gzip.decompress(whole)[:-1])
    path.write_bytes({"cut": whole[: len(whole) // 2], "short": short, "text": b"not found"}[damage])
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte\.gz: .*get it again"):
        prepared(tmp_path / "out", name="fashion_mnist")


def test_fashion_mnist_files_that_do_not_go_together(keras_home: Path, tmp_path: Path) -> None:
    save_idx(keras_home / "train-labels-idx1-ubyte.gz", np.arange(39) % 10)
    with pytest.raises(UsageError, match="fashion-mnist: does not hold Fashion-MNIST"):
        prepared(tmp_path / "out", name="fashion_mnist")


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Keras cache, and a proxy that nobody serves, so that a download fails at once."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # urllib keeps the proxies of its first use


@pytest.mark.usefixtures("no_network")
def test_failing_fashion_mnist_download_names_package_and_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.datasets.fashion_mnist.DEBIAN_FOLDER", tmp_path / "none")
    with pytest.raises(UsageError) as caught:
        prepared(tmp_path / "out", name="fashion_mnist")
    message = str(caught.value)
    assert "dataset-fashion-mnist" in message
    assert str(tmp_path / "empty" / "datasets" / "fashion-mnist") in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_network")
def test_failing_cifar10_download_says_where_the_file_belongs(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prepared(tmp_path / "out", name="cifar10")
    message = str(caught.value)
    assert str(tmp_path / "empty" / "datasets" / "cifar-10-batches-py.tar.gz") in message
    assert "\n" not in message


def test_cifar10_arrays_become_image_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.keras_env import keras

    labels = (np.arange(40) % 10).astype(np.uint8)[:, None]
    pixels = np.ones((40, 32, 32, 3), np.uint8) * labels[:, :, None, None]
    # The real loader takes only the real 170 MB archive (it checks the hash): this is what it returns, smaller.
    arrays = ((pixels, labels), (pixels[:10], labels[:10]))
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda cache_dir: arrays)
    loaded = prepared(tmp_path / "out", name="cifar10")
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (30, 10, 10)
    assert loaded.class_names[3] == "cat"
    assert np.array_equal(loaded.train.rgb()[:, 9, 9, 2], loaded.train.labels)


def test_fingerprints_of_built_in_data_sets_differ() -> None:
    prints = [data.fingerprint(DataConfig(name)) for name in BUILT_IN]
    assert len(set(prints)) == len(BUILT_IN)
    assert all(len(text) == 16 for text in prints)


@needs_debian_fashion
def test_no_tensorflow_without_keras_downloads(tmp_path: Path) -> None:
    names = ["mnist_5k", "fashion_mnist", save_npz(tmp_path / "a.npz")]
    script = (
        "import pathlib, sys\n"
        "from core.progress import SilentReporter\n"
        "from pipeline import data\n"
        "for name in sys.argv[2:]:\n"
        "    data.fingerprint(data.DataConfig(name))\n"
        "    data.prepare(data.DataConfig(name), 1, pathlib.Path(sys.argv[1]), SilentReporter())\n"
        "print('tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
