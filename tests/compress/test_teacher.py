"""A teacher is a user's model that is not trained. What files hold is tested in test_import*.py."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, tf

import numpy as np
import pytest

from compress.storage import load_model, save_model
from compress.teacher import check_teacher_file, load_teacher
from core.errors import UsageError
from tests.compress.user_models import NUM_CLASSES, RESOLUTION, nested


def test_teacher_has_the_files_outputs_and_is_not_trained(tmp_path: Path) -> None:
    model = nested()
    model.compile("adam", loss=lambda y_true, y_pred: y_pred)  # a user's own loss is no reason to refuse
    model.save(tmp_path / "teacher.keras")
    check_teacher_file(tmp_path / "teacher.keras")
    teacher = load_teacher(tmp_path / "teacher.keras", NUM_CLASSES, RESOLUTION)
    images = np.random.default_rng(0).random((3, RESOLUTION, RESOLUTION, 3), np.float32)
    # float32 through a few layers, whose kernels took in constant factors
    np.testing.assert_allclose(tf.nn.softmax(teacher(images)), model(images), rtol=1e-5, atol=1e-5)
    assert not teacher.trainable_weights
    save_model(teacher, tmp_path / "saved")
    np.testing.assert_array_equal(load_model(tmp_path / "saved")(images), teacher(images))


@pytest.mark.parametrize(("num_classes", "resolution", "word"), [(5, 12, "output"), (4, 9, "input")])
def test_teacher_that_does_not_fit_is_refused(tmp_path: Path, num_classes: int, resolution: int, word: str) -> None:
    nested().save(tmp_path / "teacher.keras")
    with pytest.raises(UsageError, match=rf"^config\.teacher\.file: .*{word} \(None, "):
        load_teacher(tmp_path / "teacher.keras", num_classes, resolution)


def test_refusals_name_the_setting(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Lambda(abs, name="bad")]).save(tmp_path / "teacher.h5")
    with pytest.raises(UsageError, match=r"^config\.teacher\.file: .*'bad' is a Lambda layer.*nothing was run$"):
        check_teacher_file(tmp_path / "teacher.h5")
