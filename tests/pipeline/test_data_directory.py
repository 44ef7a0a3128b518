"""directory:PATH: class folders of image files, decoded once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UsageError
from core.progress import SilentReporter
from pipeline import data
from pipeline.data import DataConfig
from search.dataset import ImageData

ROOT = Path(__file__).resolve().parents[2]
UNPACK = ROOT.parent / "shared" / "tools" / "unpack_cifar10.py"
CLASSES = ("cat", "dog")


class Lines(SilentReporter):
    """Remembers the lines it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def save(path: Path, value: int | tuple[int, ...] = 0, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """10 cats of colour (20, 40, 60), 10 dogs of (200, 160, 120) for training; two of each for testing."""
    root = tmp_path / "tree"
    for split, count in (("train", 10), ("test", 2)):
        for name, colour in zip(CLASSES, ((20, 40, 60), (200, 160, 120)), strict=True):
            for i in range(count):
                save(root / split / name / f"{i}.{('jpg', 'png', 'JPEG', 'Png')[i % 4]}", colour)
    return root


def prepared(root: Path, resolution: int | None = None, reporter: SilentReporter | None = None) -> ImageData:
    out = root.with_name("out")
    out.mkdir(exist_ok=True)
    data.prepare(DataConfig(f"directory:{root}", resolution=resolution), 1, out, reporter or SilentReporter())
    return data.load(out)


def refusal(root: Path, resolution: int | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        prepared(root, resolution)
    message = str(caught.value)
    assert "\n" not in message
    return message


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_images_of_both_formats_and_any_case_are_decoded(tree: Path) -> None:
    loaded = prepared(tree)
    assert loaded.class_names == CLASSES
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (18, 2, 4)
    assert loaded.train.images.shape == (24, 16, 16, 3)
    assert isinstance(loaded.train.images, np.memmap)
    for part in (loaded.train, loaded.val, loaded.test):
        expected = np.array([(20, 40, 60), (200, 160, 120)])[part.labels][:, None, None]
        # A flat colour comes back from JPEG's YCbCr with rounding errors of up to 2.
        assert np.abs(part.rgb().astype(int) - expected).max() <= 2


def test_png_pixels_are_exact_and_in_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), np.uint8)
    for i, image in enumerate(pixels):
        path = tmp_path / "tree" / "train" / CLASSES[i // 6] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    loaded = prepared(tmp_path / "tree")
    found = {
        image.tobytes(): int(label) for image, label in zip(loaded.train.images, loaded.train.all_labels, strict=True)
    }
    assert found == {image.tobytes(): i // 6 for i, image in enumerate(pixels)}


def test_without_test_folder_a_fifth_is_held_out_whatever_the_seed(tree: Path) -> None:
    for name in CLASSES:
        remove(tree / "test" / name)
    (tree / "test").rmdir()
    reporter = Lines()
    first = prepared(tree, reporter=reporter)
    assert (len(first.train), len(first.val), len(first.test)) == (14, 2, 4)
    assert np.bincount(first.test.labels).tolist() == [2, 2]
    assert "4 of 20 images are held out for testing" in reporter.lines[0]
    other = tree.with_name("other")
    other.mkdir()
    data.prepare(DataConfig(f"directory:{tree}"), 2, other, SilentReporter())
    assert np.array_equal(data.load(other).test.rows, first.test.rows)
    assert (other / "images.npy").read_bytes() == (tree.with_name("out") / "images.npy").read_bytes()


def test_a_folder_of_grey_images_keeps_one_channel(tmp_path: Path) -> None:
    for name in CLASSES:
        for i in range(4):
            save(tmp_path / "tree" / "train" / name / f"{i}.png", 90, "LA" if i == 2 else "L")
    loaded = prepared(tmp_path / "tree")
    assert loaded.train.images.shape == (8, 16, 16, 1)
    assert np.all(np.asarray(loaded.train.images) == 90)


def test_grey_images_among_colour_become_rgb(tree: Path) -> None:
    for path in (tree / "train" / "cat").iterdir():
        save(path, 90, "L")
    loaded = prepared(tree)
    assert loaded.train.images.shape[-1] == 3
    assert np.all(np.abs(loaded.train.rgb()[loaded.train.labels == 0].astype(int) - 90) <= 2)  # JPEG rounding


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tree: Path) -> None:
    for i in range(10):
        path = tree / "train" / "cat" / f"wide{i}.png"
        Image.fromarray(np.full((16, 16), 0x5A12, np.uint16)).save(path)
    loaded = prepared(tree)
    assert np.count_nonzero((np.asarray(loaded.train.images) == 0x5A).all(axis=(1, 2, 3))) == 10


def test_resolution_crops_the_centre(tmp_path: Path) -> None:
    for name in CLASSES:
        for i in range(3):
            image = Image.new("RGB", (90, 30), (255, 0, 0))
            image.paste((0, 0, 255), (30, 0, 60, 30))
            path = tmp_path / "tree" / "train" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    loaded = prepared(tmp_path / "tree", resolution=10)
    assert loaded.resolution == 10
    # The middle third is blue; one pixel at each side may have taken red in by the filter.
    assert np.all(np.asarray(loaded.train.images)[:, :, 1:9] == (0, 0, 255))


def test_large_jpeg_is_reduced_as_well_as_by_full_decoding(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    photo = Image.fromarray(noise).resize((800, 600), Image.Resampling.BICUBIC)
    for name in CLASSES:
        for i in range(3):
            path = tmp_path / "tree" / "train" / name / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path, quality=95)
    pixels = np.asarray(prepared(tmp_path / "tree", resolution=48).train.images[0], int)
    expected = np.asarray(photo.crop((100, 0, 700, 600)).resize((48, 48), Image.Resampling.BICUBIC), int)
    # Decoding at half the size averages 2x2 pixels of a smooth photo first: 1-2 levels; a shifted crop gives over 10.
    assert np.abs(pixels - expected).mean() < 3


def test_photos_are_turned_upright(tree: Path) -> None:
    image = Image.new("RGB", (16, 16), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 16, 8))  # upper half white
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    for i in range(10):
        image.save(tree / "train" / "cat" / f"turned{i}.png", exif=exif)
    images = np.asarray(prepared(tree).train.images, int)
    turned = images[(images[:, 15, 0, 0] == 255)]
    assert len(turned) == 10
    assert np.all(turned[:, :8] == 0)


def test_other_files_are_ignored_and_told(tree: Path) -> None:
    (tree / "train" / "cat" / "notes.txt").write_text("no image")
    (tree / "train" / "cat" / "._0.jpg").write_text("left by a desktop")
    (tree / "train" / ".cache").mkdir()
    reporter = Lines()
    assert len(prepared(tree, reporter=reporter).train) == 18
    assert [line for line in reporter.lines if " ignored," in line] == [
        f"data {tree}/train/cat: 1 ignored, not .jpg, .jpeg, .png"
    ]


def test_mixed_shape_names_two_files_and_the_way_out(tree: Path) -> None:
    save(tree / "train" / "dog" / "5.png", size=(16, 20))
    message = refusal(tree)
    assert f"{tree}/train/cat/0.jpg is 16x16 pixels and {tree}/train/dog/5.png is 16x20" in message
    assert "config.data.resolution=N" in message
    assert prepared(tree, resolution=12).train.images.shape == (24, 12, 12, 3)


def test_non_square_images_need_a_resolution(tree: Path) -> None:
    for path in tree.rglob("*.*"):
        save(path, size=(20, 16))
    message = refusal(tree)
    assert "train/cat/0.jpg: is 20x16 pixels, not square" in message
    assert "config.data.resolution=N" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_class_folder_is_named(tree: Path, split: str) -> None:
    (tree / split / "dog2").mkdir()
    assert f"{tree}/{split}/dog2: empty class folder" in refusal(tree)


@pytest.mark.parametrize("name", ["2.JPEG", "1.png"])
@pytest.mark.parametrize("resolution", [None, 12])
@pytest.mark.parametrize("damage", ["text", "empty", "cut"])
def test_undecodable_image_is_named(tree: Path, name: str, resolution: int | None, damage: str) -> None:
    path = tree / "train" / "dog" / name
    whole = path.read_bytes()
    # 12 bytes before the end of a JPEG is within its coded pixels; in a PNG it is before the end chunk's header.
    path.write_bytes({"text": b"<html>not found</html>", "empty": b"", "cut": whole[:-24]}[damage])
    message = refusal(tree, resolution)
    assert message.startswith(f"{path}: cannot be decoded as a JPEG or PNG image")
    assert "replace or remove it" in message


def test_undecodable_first_image_is_named(tree: Path) -> None:
    (tree / "train" / "cat" / "0.jpg").write_bytes(b"GIF89a")
    assert refusal(tree).startswith(f"{tree}/train/cat/0.jpg: cannot be decoded")


def test_class_that_only_test_has_is_named(tree: Path) -> None:
    save(tree / "test" / "horse" / "0.png")
    assert f"{tree}/test/horse: class 'horse' is not in train; legal are cat, dog" in refusal(tree)


def test_one_class_is_not_enough(tree: Path) -> None:
    for split in ("train", "test"):
        remove(tree / split / "dog")
    assert "train: has only the class 'cat'; at least 2 classes are needed" in refusal(tree)


def test_too_few_images_for_the_split(tree: Path) -> None:
    for i in range(1, 10):
        next((tree / "train" / "dog").glob(f"{i}.*")).unlink()
    assert "too few images for the split: class 'dog' has 1 for training; every class needs at least 2" in refusal(tree)
    (tree / "test").rename(tree / "unused")
    assert "class 'dog' has 1 for training; every class needs at least 3" in refusal(tree)


def test_folders_of_another_form(tree: Path) -> None:
    config = DataConfig(f"directory:{tree}")
    (tree / "train").rename(tree / "training")
    for call in (lambda: data.fingerprint(config), lambda: prepared(tree)):
        with pytest.raises(UsageError, match=f"{tree}: has no folder train; expected train/CLASS/"):
            call()
    (tree / "train").mkdir()
    assert f"{tree}/train: has no class folders" in refusal(tree)
    for path in (tree / "none", tree / "test" / "cat" / "0.jpg"):
        with pytest.raises(UsageError, match=rf"config\.data\.name: {path} is not a folder"):
            data.fingerprint(DataConfig(f"directory:{path}"))


def test_fingerprint_follows_names_sizes_and_times(tree: Path) -> None:
    config = DataConfig(f"directory:{tree}")
    path = tree / "train" / "cat" / "0.jpg"
    prints = [data.fingerprint(config)]
    (tree / "train" / "cat" / "notes.txt").write_text("no image")
    assert data.fingerprint(config) == prints[0]
    os.utime(path, ns=(0, 12345))
    prints.append(data.fingerprint(config))
    path.rename(path.with_name("00.jpg"))
    prints.append(data.fingerprint(config))
    save(tree / "train" / "fox" / "0.png")
    prints.append(data.fingerprint(config))
    assert len(set(prints)) == len(prints)


MEASURE = """
import json, pathlib, sys
from core.progress import SilentReporter
from pipeline import data
from PIL import Image
import numpy as np

def peak_bytes():
    # Not getrusage: on Linux its ru_maxrss begins with what the parent had when it started this process.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = peak_bytes()
data.prepare(data.DataConfig("directory:" + sys.argv[1]), 1, pathlib.Path(sys.argv[2]), SilentReporter())
print(json.dumps(peak_bytes() - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(not UNPACK.exists(), reason="needs the shared CIFAR-10 archive")
def test_sixty_thousand_files_are_never_in_memory_whole(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    out.mkdir()
    subprocess.run([sys.executable, str(UNPACK), str(tree)], check=True, capture_output=True)
    command = [sys.executable, "-c", MEASURE, str(tree), str(out)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = data.load(out)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (45_000, 5_000, 10_000)
    assert np.bincount(loaded.val.labels).tolist() == [500] * 10
    # A chunk of 16 MB, and paths and plugins of some 30 MB. The bytes of all images are 184 MB, as float32 737 MB:
    # below 92 MB, not even half of them have been in memory at a time.
    assert json.loads(done.stdout) < 92e6
