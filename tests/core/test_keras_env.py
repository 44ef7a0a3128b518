"""The one door to TensorFlow: Keras 2, repeatable, and quiet when asked."""

from __future__ import annotations

import os
import random

from core.keras_env import keras, quiet_stderr, reset, tf

import numpy as np
import pytest


def test_tfmot_will_find_keras_2():
    assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
    assert keras.__name__ == "tf_keras"
    assert keras.__version__.startswith("2.")
    assert tf.keras.layers.Layer is keras.layers.Layer


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(tf.random.uniform([]))


def test_reset_seeds_all_generators_and_restarts_names():
    reset(3)
    first, name = draws(), keras.layers.Dense(1).name
    reset(3)
    assert (draws(), keras.layers.Dense(1).name) == (first, name)
    reset(4)
    assert draws() != first


def test_quiet_stderr_silences_the_descriptor_and_gives_it_back(capfd):
    with quiet_stderr():
        os.write(2, b"from C++")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_quiet_stderr_lets_exceptions_pass(capfd):
    with pytest.raises(ValueError, match="mine"), quiet_stderr():
        raise ValueError("mine")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
