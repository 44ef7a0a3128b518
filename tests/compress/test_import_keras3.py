"""Files of Keras 3 give here what Keras 3 computes, which runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.keras_env import keras, tf

import numpy as np
import pytest

from compress.importing.check import check_user_model
from compress.importing.load import load_user_model
from core.errors import UsageError

NUM_CLASSES, RESOLUTION = 4, 12
SMALL = ("functional", "sequential", "unsupported", "code", "bent")
LARGE = ("mobilenet_v2", "mobilenet_v3", "efficientnet")
# float32 in two implementations of the same layers, up to a hundred deep; scores are of size 1.
TOLERANCE = 1e-4


def saved_by_keras3(directory: Path, names: tuple[str, ...]) -> Path:
    script = Path(__file__).with_name("keras3_models.py")
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, str(script), str(directory), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_by_keras3(tmp_path_factory.mktemp("keras3"), SMALL)


def assert_same_outputs(directory: Path, name: str, resolution: int, probabilities: bool) -> keras.Model:
    path = directory / f"{name}.keras"
    check_user_model(path, allow_custom=False, where="--model")
    model = load_user_model(path, NUM_CLASSES, resolution, allow_custom=False, where="--model")
    outputs = model(np.load(directory / f"{name}_images.npy"), training=False)
    found = tf.nn.softmax(outputs) if probabilities else outputs
    np.testing.assert_allclose(found, np.load(directory / f"{name}_outputs.npy"), rtol=TOLERANCE, atol=TOLERANCE)
    return model


@pytest.mark.parametrize(("name", "probabilities"), [("functional", True), ("sequential", False)])
def test_outputs_are_those_of_keras3(directory: Path, name: str, probabilities: bool) -> None:
    model = assert_same_outputs(directory, name, RESOLUTION, probabilities)
    expected = np.load(directory / f"{name}_outputs.npy")
    assert np.ptp(expected, axis=0).min() > 10 * TOLERANCE, "the images must matter"
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_a_layer_that_tf_keras_does_not_have_is_named(directory: Path) -> None:
    with pytest.raises(UsageError, match=r"^--model: .*layer 'newer' \(RMSNormalization\).*nothing was run$"):
        load_user_model(directory / "unsupported.keras", 4, RESOLUTION, allow_custom=False, where="--model")


def test_an_operation_with_a_setting_of_its_own_is_refused(directory: Path) -> None:
    with pytest.raises(UsageError, match=r"calls 'Elu' with alpha = 0\.3"):
        check_user_model(directory / "bent.keras", allow_custom=False, where="--model")


@pytest.mark.parametrize("allow_custom", [False, True])
def test_code_is_refused_even_where_allowed(directory: Path, allow_custom: bool) -> None:
    """tf_keras cannot run what Keras 3 has written."""
    with pytest.raises(UsageError, match="written by Keras 3" if allow_custom else "'bad' is a Lambda layer"):
        load_user_model(directory / "code.keras", 4, RESOLUTION, allow_custom=allow_custom, where="--model")


@pytest.mark.slow
def test_keras_applications(tmp_path: Path) -> None:
    saved_by_keras3(tmp_path, LARGE)
    for name in LARGE:
        assert_same_outputs(tmp_path, name, 32, probabilities=True)
