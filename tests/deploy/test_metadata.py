from __future__ import annotations

import time
import zipfile
from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from core.errors import LitesmithError, UsageError
from deploy import metadata
from deploy.convert import convert
from deploy.flatbuffer import describe
from deploy.interpreter import predict
from search.dataset import ImageSet

Digits = tuple[ImageSet, ImageSet]
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def task_library() -> None:
    try:
        metadata.find_interpreter()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
def quantized_file(quantization_aware: keras.Model, tmp_path: Path) -> Path:
    path = tmp_path / "qat.tflite"
    path.write_bytes(convert(quantization_aware, "full_integer").content)
    return path


@pytest.mark.usefixtures("task_library")
@pytest.mark.parametrize("kind", ["float32", "full_integer", "quantization_aware"])
def test_task_library_agrees_with_litert_on_200_images(
    request: pytest.FixtureRequest, files: dict[str, Path], digits: Digits, tmp_path: Path, kind: str
) -> None:
    model = request.getfixturevalue("quantized_file") if kind == "quantization_aware" else files[kind]
    out, images = tmp_path / "out.tflite", digits[1].rgb(slice(0, 200))
    metadata.write(model, out, LABELS, "digits", "Names a handwritten digit.")
    assert metadata.disagreements(out, images, LABELS) == ()
    result = metadata.check(out, images[:20])
    assert result.scores.shape == (20, 10)
    # One step of a uint8 output (two runtimes round alike or one apart); float sums in another order.
    np.testing.assert_allclose(result.scores, predict(out, images[:20]), atol=1 / 256 if kind != "float32" else 1e-4)


@pytest.mark.usefixtures("task_library")
def test_metadata_leaves_inference_as_it_was(files: dict[str, Path], digits: Digits, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    metadata.write(files["full_integer"], out, LABELS, "digits", "Names a handwritten digit.")
    assert describe(out) == describe(files["full_integer"])
    images = digits[1].rgb(slice(0, 100))
    np.testing.assert_array_equal(predict(out, images), predict(files["full_integer"], images))
    with zipfile.ZipFile(out) as packed:
        assert packed.read("labels.txt").decode().split() == list(LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tflite"]


@pytest.mark.usefixtures("task_library")
def test_the_same_model_gives_the_same_bytes_at_another_time(files: dict[str, Path], tmp_path: Path) -> None:
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    metadata.write(files["full_integer"], first, LABELS, "digits", "Names a handwritten digit.")
    time.sleep(2.1)  # the labels are packed as a zip, whose times go in steps of two seconds
    metadata.write(files["full_integer"], second, LABELS, "digits", "Names a handwritten digit.")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.usefixtures("task_library")
def test_other_labels_are_noticed(files: dict[str, Path], digits: Digits, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    metadata.write(files["full_integer"], out, LABELS, "digits", "")
    with pytest.raises(LitesmithError, match="the label file does not explain"):
        metadata.disagreements(out, digits[1].rgb(slice(0, 10)), LABELS[::-1])


@pytest.mark.usefixtures("task_library")
def test_a_refused_model_gives_one_line(files: dict[str, Path], digits: Digits) -> None:
    with pytest.raises(LitesmithError, match="exit code 1") as caught:
        metadata.check(files["float32"], digits[1].rgb(slice(0, 1)))  # no metadata: no normalization for a float model
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:9], "9 of them; expected 10"),
        (("zero",) * 10, "'zero' is not legal; expected a label that occurs once"),
        ((*LABELS[:9], "ni\nne"), "non-empty text on one line"),
        ((*LABELS[:9], " "), "non-empty text on one line"),
    ],
)
def test_labels_that_do_not_fit(files: dict[str, Path], tmp_path: Path, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metadata.write(files["float32"], tmp_path / "out.tflite", labels, "digits", "")
    assert list(tmp_path.iterdir()) == []


def test_absent_environment_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(metadata.INTERPRETER_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(UsageError, match="`make tflite-support` installs"):
        metadata.find_interpreter()


def test_a_tie_counts_for_both_classes() -> None:
    agree = metadata._share_a_top_class
    tied, second = np.array([0.4, 0.4, 0.2], np.float32), np.array([0.3, 0.5, 0.2], np.float32)
    assert agree(tied, second) and agree(second, tied)
    assert not agree(np.array([0.4, 0.3, 0.3], np.float32), second)
