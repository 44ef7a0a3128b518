"""For the measurement tests: models (tiny, and real ones where the shared data is present), a phone, a board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.android_bench.sshd import Sshd, running_sshd
from tests.android_bench.standin.desk import adb_server, attached, model_file

SHARED_MODELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"


@pytest.fixture(scope="session")
def shared_model():
    """A function from the name of a shared model to its path; skips where the shared data is absent."""

    def path(name: str) -> Path:
        if not (SHARED_MODELS / name).exists():
            pytest.skip(f"needs the shared model {name}")
        return SHARED_MODELS / name

    return path


def _tflite(resolution: int, channels: int, quantized: bool) -> bytes:
    from core.keras_env import keras, tf

    from core.quiet import quiet_stderr

    layers = [
        keras.Input((resolution, resolution, 3)),
        keras.layers.Conv2D(channels, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(channels, 3, padding="same"),
    ]
    model = keras.Sequential(layers)
    spec = tf.TensorSpec((1, resolution, resolution, 3), tf.float32)
    function = tf.function(lambda images: model(images)).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_lower_to_saved_model = False
    if quantized:
        random = np.random.default_rng(0)
        shape = (1, resolution, resolution, 3)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([random.uniform(0, 255, shape).astype("f4")] for _ in range(4))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with quiet_stderr():
        return bytes(converter.convert())


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[str, Path]:
    """Two-layer networks by name. MACs: small 0.05M, medium 8M and large 230M, so each over 20 times the one before."""
    folder = tmp_path_factory.mktemp("tiny_models")
    shapes = {
        "small": (8, 8, False),
        "medium": (32, 28, False),
        "large": (96, 50, False),
        "small_uint8": (8, 8, True),
    }
    paths = {name: folder / f"{name}.tflite" for name in shapes}
    for name, shape in shapes.items():
        paths[name].write_bytes(_tflite(*shape))
    return paths


@pytest.fixture(scope="module")
def adb(tmp_path_factory):
    """The real adb program, away from one that the computer may run."""
    with adb_server(tmp_path_factory.mktemp("adb")) as client:
        yield client


@pytest.fixture
def phone(adb, tmp_path):
    """A stand-in phone that is attached."""
    with attached(tmp_path / "phone") as device:
        yield device


@pytest.fixture
def model(tmp_path):
    """A file that the stand-in's tool takes for a model."""
    return model_file(tmp_path)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
