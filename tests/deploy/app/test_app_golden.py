from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import LitesmithError
from deploy.app.golden import Golden, compare, read_golden, write_golden
from deploy.interpreter import predict
from deploy.manifest import Manifest
from search.dataset import ImageSet
from tests.deploy.app.releases import LABELS

Release = tuple[Path, Manifest]


def recorded(app_files: dict[str, Path], scheme: str, test: ImageSet, count: int, folder: Path) -> Golden:
    shutil.copyfile(app_files[scheme], folder / "model.tflite")
    predicted = predict(folder / "model.tflite", test.rgb()).argmax(1).astype(np.int32)
    paths = write_golden(folder, "model.tflite", test, predicted, LABELS, count)
    assert sorted(paths) == sorted(
        path.relative_to(folder).as_posix() for path in (folder / "golden").rglob("*") if path.is_file()
    )
    return read_golden(folder / paths[0])


@pytest.mark.parametrize("scheme", ["float32", "full_integer", "int4_weights"])
def test_several_classes_and_a_wrong_answer(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path, scheme: str
) -> None:
    golden = recorded(app_files, scheme, app_test, 4, tmp_path)
    assert len(golden.images) == 4
    wrong = [image for image in golden.images if image.label != image.predicted]
    right = [image for image in golden.images if image.label == image.predicted]
    assert len(wrong) == 1 and len({image.label for image in right}) == 3
    assert all(image.class_name == LABELS[image.label] for image in golden.images)
    assert golden.dtype == ("uint8" if scheme == "full_integer" else "float32")


def test_scores_are_the_models_own_bytes(app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path) -> None:
    golden = recorded(app_files, "full_integer", app_test, 3, tmp_path)
    for image in golden.images:
        pixels = np.asarray(Image.open(tmp_path / image.file))
        assert any((pixels == one).all() for one in app_test.rgb())
        expected = predict(tmp_path / "model.tflite", pixels[np.newaxis])[0]
        np.testing.assert_array_equal(np.array(image.scores, np.float32) / 256, expected)
        assert all(isinstance(score, int) for score in image.scores) and image.tolerance >= 1


def test_float_scores_come_back_to_the_bit(app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path) -> None:
    golden = recorded(app_files, "float32", app_test, 3, tmp_path)
    found = compare(tmp_path, golden)
    assert (found.images, found.equal, found.largest, found.wrong) == (3, 3, 0.0, ())


def test_a_model_that_answers_otherwise_is_out_of_tolerance(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path
) -> None:
    golden = recorded(app_files, "float32", app_test, 3, tmp_path)
    shutil.copyfile(app_files["int4_weights"], tmp_path / "model.tflite")
    found = compare(tmp_path, golden)
    assert found.wrong and "scores off by up to" in found.wrong[0]
    assert found.largest > max(image.tolerance for image in golden.images)


def test_every_image_can_be_wrong_and_there_may_be_one_class(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path
) -> None:
    predicted = predict(app_files["float32"], app_test.rgb()).argmax(1).astype(np.int32)
    none_right = ImageSet(app_test.images, (predicted + 1) % 10, app_test.rows)
    golden = recorded(app_files, "float32", none_right, 3, tmp_path)
    assert [image.label == image.predicted for image in golden.images] == [False]
    one = int(predicted[0])
    one_class = ImageSet(app_test.images, predicted, np.flatnonzero(predicted == one))
    (tmp_path / "one").mkdir()
    golden = recorded(app_files, "float32", one_class, 2, tmp_path / "one")
    assert [image.label for image in golden.images] == [one] * min(2, len(one_class))


def test_no_image_at_all_is_an_error(app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(LitesmithError, match="no test image to record"):
        recorded(app_files, "float32", app_test.first(0), 3, tmp_path)


def test_models_share_images(release: Release) -> None:
    folder, manifest = release
    named = [path for model in manifest.artifacts for path in model.extras if path.endswith(".png")]
    assert len(set(named)) < len(named) == 12
    assert {path.name for path in (folder / "golden/images").iterdir()} == {Path(path).name for path in named}


def test_damaged_files_are_told(app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path) -> None:
    golden = recorded(app_files, "full_integer", app_test, 2, tmp_path)
    (tmp_path / golden.images[0].file).write_bytes(b"no image")
    with pytest.raises(LitesmithError, match="not an image that can be read"):
        compare(tmp_path, golden)
    Image.new("RGB", (5, 28)).save(tmp_path / golden.images[0].file)
    with pytest.raises(LitesmithError, match=r"golden image of \(28, 5, 3\): the model takes \(28, 28, 3\)"):
        compare(tmp_path, golden)
    path = tmp_path / "golden/model.json"
    path.write_text(json.dumps({"model": 1}))
    with pytest.raises(LitesmithError, match="not golden outputs of this version"):
        read_golden(path)
