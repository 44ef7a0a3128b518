"""Nothing in a model file is run, read from elsewhere, or loaded half: refused in one line, or left unread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.keras_env import keras

import h5py
import numpy as np
import pytest

from compress.importing.check import check_user_model
from compress.importing.load import load_user_model
from compress.importing.source import MAX_JSON_BYTES
from core.errors import UsageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5", "ignore:The object being serialized includes a `lambda`"
)
SUFFIXES = (".h5", ".keras", "")
Layers = keras.layers
IMAGES = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
RUN = "LITESMITH_TEST_RAN"  # an environment variable that code of a file would set


class Custom(Layers.Layer):
    def call(self, x: object) -> object:
        return x


def custom_activation(x: object) -> object:
    return x


def classifier(*last: keras.layers.Layer, **options: object) -> keras.Model:
    layers = [keras.Input((8, 8, 3)), Layers.Conv2D(2, 3, name="first", **options), Layers.Flatten(), Layers.Dense(4)]
    return keras.Sequential([*layers, *last])


def load(path: Path, allow_custom: bool = False) -> keras.Model:
    return load_user_model(path, 4, 8, allow_custom=allow_custom, where="--model")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (lambda: Layers.Lambda(lambda x: __import__("os").environ.update({RUN: "1"}) or x, name="bad"), "Lambda"),
        (lambda: Custom(name="bad"), "Custom"),
        (lambda: Layers.Activation(custom_activation, name="bad"), "function"),
        (lambda: Layers.Activation(lambda x: x, name="bad"), "activation that holds Python code"),
    ],
)
def test_code_in_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, layer: Callable[[], Any], word: str
) -> None:
    path = tmp_path / f"model{suffix}"
    classifier(layer()).save(path)
    monkeypatch.delenv(RUN, raising=False)
    for act in (load, lambda path: check_user_model(path, allow_custom=False, where="--model")):
        with pytest.raises(UsageError, match=rf"^--model: .*'bad'.*{word}.*nothing was run$"):
            act(path)
    assert RUN not in os.environ


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_code_that_only_training_needs_is_left_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def initializer(shape: Any, dtype: Any = None, **options: Any) -> Any:
        os.environ[RUN] = "1"
        return np.zeros(shape, np.float32)

    model = classifier(kernel_initializer=initializer)
    model.compile("adam", loss=lambda y_true, y_pred: y_pred)
    model.set_weights([weight + 0.5 for weight in model.get_weights()])
    model.save(tmp_path / f"model{suffix}")
    monkeypatch.delenv(RUN, raising=False)
    # float32 sums of 72 products
    np.testing.assert_allclose(load(tmp_path / f"model{suffix}")(IMAGES), model(IMAGES), rtol=1e-5)
    assert RUN not in os.environ


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_lambda_is_loaded_where_that_is_allowed(tmp_path: Path, suffix: str) -> None:
    model = classifier(Layers.Lambda(lambda x: 2.0 * x))
    model.save(tmp_path / f"model{suffix}")
    np.testing.assert_allclose(load(tmp_path / f"model{suffix}", allow_custom=True)(IMAGES), model(IMAGES), rtol=1e-5)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The .keras file with another architecture."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"module": "os", "class_name": "system"},
        {"module": "subprocess", "class_name": "Dense"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"registered_name": "package>Dense"},
        {"class_name": "TFOpLambda", "config": {"name": "bad", "function": "io.write_file"}},
        {"class_name": "Dense", "config": {"name": "bad", "units": {"class_name": "__lambda__"}}},
        {"class_name": "Dense", "config": {"name": "bad", "units": 4, "activation": {"class_name": "__lambda__"}}},
        {"class_name": "Dense", "config": {"name": "bad", "units": 4, "activation": "eval"}},
        {"class_name": "Dense", "config": {"name": "bad", "units": 4, "quantization_config": {"a": 1}}},
        {"class_name": "Wrapper", "config": {"name": "bad", "layer": {"class_name": "Lambda", "config": {}}}},
    ],
)
def test_objects_that_are_not_keras_layers_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    classifier().save(tmp_path / "model.keras")

    def put(config: dict[str, Any]) -> None:
        last = config["config"]["layers"][-1]
        last["config"]["name"] = "bad"
        last.update(change)

    with pytest.raises(UsageError, match=r"^--model: .*layer 'bad' .*nothing was run$"):
        load(edited(tmp_path / "model.keras", put))


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["config"].pop("layers"),
        lambda config: config["config"].update(layers=[]),
        lambda config: config["config"].update(layers=[1, 2]),
        lambda config: config["config"]["layers"][1]["config"].update(filters=-1),
        lambda config: config["config"]["layers"][1]["config"].update(filters=3),
        lambda config: config["config"]["layers"][1]["config"].pop("kernel_size"),
        lambda config: config["config"]["layers"].pop(),
        lambda config: config.update(config=None),
    ],
)
def test_damaged_architectures_are_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    classifier().save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"^--model: '.*model\.keras'") as error:
        load(edited(tmp_path / "model.keras", change))
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for suffix in (".h5", ".keras"):
        path = tmp_path / f"model{suffix}"
        classifier().save(path)
        whole = path.read_bytes()
        for damage in (whole[: len(whole) // 2], np.random.default_rng(0).bytes(3000), b"", b"not a model"):
            path.write_bytes(damage)
            with pytest.raises(UsageError, match=r"^--model: .* is not a whole \.keras or \.h5 model") as error:
                load(path)
            assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no file"):
        load(tmp_path / "absent.h5")


def test_archives_that_are_not_what_they_say_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    for metadata in ("[]", " " * (MAX_JSON_BYTES + 1)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", metadata)
            archive.writestr("config.json", "{}")
        with pytest.raises(UsageError, match=r"is not a whole \.keras") as caught:
            check_user_model(path, allow_custom=False, where="--model")
        assert "\n" not in str(caught.value)


def test_an_h5_file_of_keras3_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]).save(path)
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "3.15.1"
    with pytest.raises(UsageError, match=r"is an \.h5 file of Keras 3, which is not supported; save it as \.keras"):
        check_user_model(path, allow_custom=False, where="--model")


def test_files_without_an_architecture_or_weights_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    with pytest.raises(UsageError, match="weights only"):
        load(tmp_path / "weights.h5")
    with h5py.File(tmp_path / "no_model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Dense", "config": {}})
        file.create_group("model_weights")
    with pytest.raises(UsageError, match="no functional or sequential"):
        load(tmp_path / "no_model.h5")
    classifier().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        archive.writestr("config.json", config)
    with pytest.raises(UsageError, match=r"holds no model\.weights\.h5"):
        load(tmp_path / "empty.keras")


def test_the_graph_of_a_saved_model_is_not_read(tmp_path: Path) -> None:
    """TensorFlow would run its initializers. Without Keras' metadata there is nothing else."""
    model, path = classifier(), tmp_path / "model"
    model.save(path)
    (path / "saved_model.pb").write_bytes(b"anything")
    np.testing.assert_allclose(load(path)(IMAGES), model(IMAGES), rtol=1e-5)
    (path / "keras_metadata.pb").write_bytes(b"\x0a\xff")
    with pytest.raises(UsageError, match=r"keras_metadata\.pb is damaged"):
        load(path)
    (path / "keras_metadata.pb").unlink()
    with pytest.raises(UsageError, match=r"SavedModel without Keras' configuration .* save it as \.keras"):
        load(path)
    (path / "saved_model.pb").unlink()
    with pytest.raises(UsageError, match=r"holds no saved_model\.pb"):
        load(path)


def test_a_file_that_is_two_formats_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what is built, whatever the suffix says: HDF5 with code, a harmless zip appended."""
    bad, good = tmp_path / "bad.h5", tmp_path / "good.keras"
    classifier(Layers.Lambda(lambda x: __import__("os").environ.update({RUN: "1"}) or x)).save(bad)
    model = classifier()
    model.save(good)
    bad.write_bytes(bad.read_bytes() + good.read_bytes())
    monkeypatch.delenv(RUN, raising=False)
    np.testing.assert_allclose(load(bad)(IMAGES), model(IMAGES), rtol=1e-5)
    assert RUN not in os.environ


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_values_from_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    classifier().save(tmp_path / "model.h5")
    (tmp_path / "secret").write_bytes(bytes(400))
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        group = file["model_weights"]
        if kind == "link":
            group["stolen"] = h5py.ExternalLink("secret.h5", "/x")
        elif kind == "external":
            group.create_dataset("stolen", (10,), np.float32, external=[(str(tmp_path / "secret"), 0, 40)])
        else:
            layout = h5py.VirtualLayout((10,), np.float32)
            layout[:] = h5py.VirtualSource("secret.h5", "x", (10,))
            group.create_virtual_dataset("stolen", layout)
    with pytest.raises(UsageError, match=r"'stolen' (is a link to the file|takes its values from another file)"):
        load(tmp_path / "model.h5")


def test_check_runs_without_tensorflow(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"model{suffix}") for suffix in SUFFIXES]
    for path in paths:
        classifier().save(path)
    code = "import sys; from compress.teacher import check_teacher_file as c; [c(path) for path in sys.argv[1:]]; " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, *paths], check=False).returncode == 0
