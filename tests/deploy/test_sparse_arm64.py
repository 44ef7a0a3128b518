"""Sparse files as arm64 programs under emulation: their scores are those of the dense files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm64 import EMULATOR, EMULATOR_PACKAGE, LITERT, RUNTIME, Arm64Runtime, arm64_runtime
from core.process import ProcessError
from deploy.convert import convert
from deploy.interpreter import predict
from deploy.schemes import FLOAT16, FLOAT32, FULL_INTEGER
from deploy.sparse import encode_sparse, sparse_or_dense
from tests.deploy.test_sparse import images, network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runtime() -> Arm64Runtime:
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"needs the Debian package {EMULATOR_PACKAGE}")
    try:
        return arm64_runtime(RUNTIME)
    except ProcessError as error:
        pytest.skip(f"needs {LITERT} for arm64 and Debian's arm64 packages: {error}")


# The stem's output is 7, 8 and 8 pixels wide; the image is odd in the last.
@pytest.mark.parametrize("resolution", [14, 16, 15])
def test_sparse_scores_are_the_dense_ones(runtime: Arm64Runtime, resolution: int) -> None:
    model, pixels = network(0.85, resolution), images(4, resolution)
    calibration = pixels.astype(np.float32) / 255
    for scheme in (FLOAT32, FLOAT16, FULL_INTEGER):
        dense = convert(model, scheme, calibration).content
        encoding = sparse_or_dense(model, scheme, calibration, dense)
        assert encoding.is_sparse
        of_dense, of_sparse = runtime.scores((dense, encoding.content), pixels)
        # Sums in another order: a few float32 roundings of probabilities. Integers are exact.
        np.testing.assert_allclose(of_sparse, of_dense, atol=1e-6 if scheme != FULL_INTEGER else 0)
        if scheme == FLOAT32:
            np.testing.assert_allclose(of_sparse, predict(dense, pixels), atol=1e-6)


def test_without_the_pad_the_sparse_kernels_are_wrong(runtime: Arm64Runtime) -> None:
    """What deploy.explicit_padding is for. Once LiteRT is mended, it can go."""
    model, pixels = network(0.85), images(4)
    as_converted = convert(model, FLOAT32, adjust=encode_sparse).content
    (found,) = runtime.scores((as_converted,), pixels)
    # Measured: 0.05 to 0.08 on networks like this one, rounding: 1e-7.
    assert np.abs(found - predict(as_converted, pixels)).max() > 0.001


def test_runtime_in_a_place_of_its_own(runtime: Arm64Runtime) -> None:
    assert isinstance(runtime.folder, Path) and runtime.python.startswith("python3.")
