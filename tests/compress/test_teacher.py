from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.keras_env import keras

import h5py
import numpy as np
import pytest

from compress.teacher import check_teacher_file, load_teacher
from core.errors import UsageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5", "ignore:The object being serialized includes a `lambda`"
)
SUFFIXES = (".h5", ".keras")


class Custom(keras.layers.Layer):
    def call(self, x: object) -> object:
        return x


def custom_activation(x: object) -> object:
    return x


def classifier(*last: keras.layers.Layer) -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, name="first")(image))
    for layer in (keras.layers.Dense(4, name="logits"), *last):
        x = layer(x)
    return keras.Model(image, x)


def nested() -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), classifier(), keras.layers.Softmax()])


def compiled() -> keras.Model:
    model = classifier()
    model.compile("adam", loss=lambda y_true, y_pred: y_pred)  # a user's own loss is no reason to refuse
    return model


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"teacher{request.param}"


@pytest.mark.parametrize("make", [classifier, nested, compiled])
def test_ordinary_model_is_loaded_with_its_weights(make: Callable[[], keras.Model], path: Path) -> None:
    model = make()
    model.save(path)
    teacher = load_teacher(path, num_classes=4, resolution=8)
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(teacher(images), model(images))
    assert not teacher.trainable_weights


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (lambda: keras.layers.Lambda(lambda x: x, name="suspect"), "Lambda"),
        (lambda: Custom(name="suspect"), "Custom"),
        (lambda: keras.layers.Activation(custom_activation, name="suspect"), "function"),
        (lambda: keras.layers.Activation(lambda x: x, name="suspect"), "activation that holds Python code"),
        (
            lambda: keras.layers.Dense(4, kernel_initializer=lambda shape, dtype: np.zeros(shape), name="suspect"),
            "code",
        ),
    ],
)
def test_code_in_a_file_is_refused(layer: Callable[[], keras.layers.Layer], word: str, path: Path) -> None:
    keras.Sequential([keras.Input((8, 8, 3)), classifier(layer())]).save(path)
    with pytest.raises(UsageError, match=rf"^config\.teacher\.file: .*'suspect'.*{word}.*nothing was run$"):
        check_teacher_file(path)


def test_damaged_files_are_refused(path: Path) -> None:
    classifier().save(path)
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], np.random.default_rng(0).bytes(3000), b"", b"not a model"):
        path.write_bytes(damage)
        with pytest.raises(UsageError, match=r"is not a whole \.keras or \.h5 model") as error:
            check_teacher_file(path)
        assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        check_teacher_file(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    with pytest.raises(UsageError, match="weights only"):
        check_teacher_file(tmp_path / "weights.h5")
    with zipfile.ZipFile(tmp_path / "three.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        archive.writestr("config.json", "{}")
    with pytest.raises(UsageError, match=r"written by Keras 3\.10\.0"):
        check_teacher_file(tmp_path / "three.keras")
    with h5py.File(tmp_path / "no_model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Dense", "config": {}})
    with pytest.raises(UsageError, match="no functional or sequential"):
        check_teacher_file(tmp_path / "no_model.h5")


@pytest.mark.parametrize(("num_classes", "resolution", "word"), [(5, 8, "output"), (4, 9, "input")])
def test_teacher_that_does_not_fit_is_refused(tmp_path: Path, num_classes: int, resolution: int, word: str) -> None:
    classifier().save(tmp_path / "teacher.keras")
    with pytest.raises(UsageError, match=rf"{word} \(None, "):
        load_teacher(tmp_path / "teacher.keras", num_classes, resolution)


def test_check_runs_without_tensorflow(tmp_path: Path) -> None:
    classifier().save(tmp_path / "teacher.h5")
    code = "import sys; from compress.teacher import check_teacher_file as c; c(sys.argv[1]); " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "teacher.h5")], check=False).returncode == 0
