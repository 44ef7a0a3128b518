"""An untrained network as .tflite files, and test images whose labels it mostly agrees with: made in seconds."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import reset

import numpy as np
import pytest

from core.errors import UsageError
from deploy import metadata
from deploy.convert import convert
from deploy.interpreter import as_input, predict
from deploy.manifest import Manifest
from search.dataset import ImageSet, UInt8
from tests.deploy.app.releases import LABELS, make_release
from tests.deploy.conftest import small_network

SCHEMES = ("float32", "full_integer", "int4_weights")


@pytest.fixture(scope="session")
def app_images() -> UInt8:
    """60 images of stripes in two colours, with noise."""
    random = np.random.default_rng(2)
    waves = np.sin(np.arange(28) * random.uniform(0.1, 3, (60, 1, 3, 1)) + random.uniform(0, 6, (60, 1, 3, 1)))
    images = (waves.transpose(0, 1, 3, 2) * random.uniform(20, 120, (60, 1, 1, 3)) + 128).repeat(28, axis=1)
    return np.clip(images + random.normal(0, 10, images.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def app_files(app_images: UInt8, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scheme -> a .tflite of it, without metadata."""
    reset(3)
    network = small_network()
    floats = as_input(app_images, np.float32)
    kernel, bias = network.get_layer("logits").weights
    logits = network(floats).numpy()
    kernel.assign(kernel / logits.std(axis=0))  # now every class is the answer to some images
    bias.assign(-logits.mean(axis=0) / logits.std(axis=0))
    folder = tmp_path_factory.mktemp("models")
    for scheme in SCHEMES:
        (folder / f"{scheme}.tflite").write_bytes(convert(network, scheme, floats[:20]).content)
    return {scheme: folder / f"{scheme}.tflite" for scheme in SCHEMES}


@pytest.fixture(scope="session")
def app_test(app_files: dict[str, Path], app_images: UInt8) -> ImageSet:
    """The images with labels on which the float32 model is right but for every tenth."""
    labels = predict(app_files["float32"], app_images).argmax(1).astype(np.int32)
    labels[::10] = (labels[::10] + 1) % len(LABELS)
    return ImageSet(app_images, labels, np.arange(60))


@pytest.fixture(scope="session")
def release(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest]:
    """A release of all three, without metadata; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("release") / "release"
    return folder, make_release(folder, app_files, app_test, metadata=False)


@pytest.fixture(scope="session")
def release_with_metadata(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest]:
    """A release of the uint8 and the float32 model, with metadata and wrappers; skips without tflite-support."""
    try:
        metadata.find_interpreter()
    except UsageError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("metadata")
    sources = {}
    for scheme in ("full_integer", "float32"):
        sources[scheme] = folder / f"{scheme}.tflite"
        metadata.write(app_files[scheme], sources[scheme], LABELS, "digits", "Names a digit.")
    return folder / "release", make_release(folder / "release", sources, app_test, metadata=True)
