from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.errors import UsageError
from deploy.interpreter import predict
from search.dataset import ImageSet


def by_signature(path: Path, image: np.ndarray) -> np.ndarray:
    """One output as the signature gives it, by LiteRT's own means."""
    return Interpreter(str(path)).get_signature_runner("serving_default")(image=image[np.newaxis])["scores"][0]


def test_feeds_bytes_to_a_uint8_model(files: dict[str, Path], digits: tuple[ImageSet, ImageSet]) -> None:
    images = digits[1].rgb(slice(0, 3))
    scores = predict(files["full_integer"], images)
    raw = np.stack([by_signature(files["full_integer"], image) for image in images])
    assert raw.dtype == np.uint8
    # 1/256 is a power of two: the product is exact.
    np.testing.assert_array_equal(scores, raw.astype(np.float32) / 256)


def test_feeds_fractions_to_a_float_model(files: dict[str, Path], digits: tuple[ImageSet, ImageSet]) -> None:
    images = digits[1].rgb(slice(0, 3))
    raw = [by_signature(files["float32"], image.astype(np.float32) / np.float32(255)) for image in images]
    np.testing.assert_array_equal(predict(files["float32"].read_bytes(), images), np.stack(raw))


def test_refuses_images_of_another_shape(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"\(2, 32, 32, 3\) do not fit the model's input \(1, 28, 28, 3\)"):
        predict(files["float32"], np.zeros((2, 32, 32, 3), np.uint8))
