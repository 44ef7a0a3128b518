"""Time to convert: TensorFlow's `from_keras_model(model).convert()` against `deploy.convert`.

    python -m benchmarks.convert_speed [--repeats=3] [--calibration_images=10]

Three networks: MobileNetV2 at 224 pixels as float32 and as full_integer (post-training), and a small MobileNet-style
network after quantization-aware training. Both sides are warmed up on another network and then take turns in one
process; medians are compared, and both files run on the same images. Takes about 3 minutes on 2 idle cores. Expected:
every ratio at least 8, every difference 0; exits with 1 otherwise.

Calibration (running the float network on the calibration images) is the same work on both sides and is inside both
times. With many calibration images of 224 pixels it outweighs the conversion itself; the note under the table says what
the ratio would then be.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.keras_env import keras, reset, tf

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from core.quiet import quiet_stderr
from deploy.convert import convert
from deploy.interpreter import predict
from deploy.schemes import FLOAT32, FULL_INTEGER

REQUIRED_RATIO = 8.0
COMPARED_IMAGES = 20
MANY_IMAGES = 200  # what the pipeline calibrates with

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """A network and how to convert it; `calibration` is None where the ranges are known or not needed."""

    name: str
    model: keras.Model
    scheme: str
    calibration: Float32 | None


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of each repeat, seconds of the calibration within one, and the largest difference of any score."""

    case: Case
    stock_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    calibration_s: float
    max_difference: float

    def ratio(self, extra_s: float = 0.0) -> float:
        """Stock over ours, were both to take `extra_s` longer."""
        return (statistics.median(self.stock_s) + extra_s) / (statistics.median(self.ours_s) + extra_s)


class TimedCalibration:
    """A representative data set that clocks how long the converter works on its images."""

    def __init__(self, images: Float32) -> None:
        self._images = images
        self.seconds = 0.0

    def __call__(self) -> Iterator[list[Float32]]:
        """Yields one image at a time."""
        for image in self._images:
            started = time.perf_counter()
            yield [image[np.newaxis]]
            self.seconds += time.perf_counter() - started


def stock(case: Case) -> tuple[bytes, float]:
    """The file as TensorFlow's guides make it, and the seconds that calibration took."""
    converter = tf.lite.TFLiteConverter.from_keras_model(case.model)
    timed = TimedCalibration(np.zeros((0,), np.float32) if case.calibration is None else case.calibration)
    if case.scheme == FULL_INTEGER:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    if case.calibration is not None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = timed
    return bytes(converter.convert()), timed.seconds


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes, without the converter's notices."""
    with quiet_stderr():
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


def measure(case: Case, repeats: int, images: npt.NDArray[np.uint8]) -> Result:
    """Converts by turns and compares the last two files on `images`."""
    files: dict[str, bytes] = {}
    calibrations, stock_s, ours_s = [], [], []

    def run_stock() -> None:
        files["stock"], calibration_s = stock(case)
        calibrations.append(calibration_s)

    def run_ours() -> None:
        files["ours"] = convert(case.model, case.scheme, case.calibration).content

    for _ in range(repeats):
        ours_s.append(timed(run_ours))
        stock_s.append(timed(run_stock))
    difference = np.abs(predict(files["stock"], images) - predict(files["ours"], images)).max()
    return Result(case, tuple(stock_s), tuple(ours_s), statistics.median(calibrations), float(difference))


def coloured_tiles(count: int, resolution: int) -> npt.NDArray[np.uint8]:
    """Images uint8 [count, R, R, 3] of 7 x 7 coloured tiles that differ in brightness, so that the scores differ."""
    random = np.random.default_rng(1)
    tiles = random.integers(0, 256, (count, 7, 7, 3)) * random.uniform(0.1, 1, (count, 1, 1, 1))
    images = np.kron(tiles, np.ones((1, resolution // 7, resolution // 7, 1))).astype(np.uint8)
    images[0, 0, 0], images[-1, -1, -1] = 0, 255
    return images


def as_floats(images: npt.NDArray[np.uint8]) -> Float32:
    """Bytes as fractions of 255."""
    return images.astype(np.float32) / np.float32(255)


def mobilenet_v2() -> keras.Model:
    """MobileNetV2 at 224 pixels with random weights, its last layer scaled up so that the 1,000 scores spread."""
    model = keras.applications.MobileNetV2(weights=None)
    last = model.layers[-1]
    features = keras.Model(model.input, last.input)(as_floats(coloured_tiles(8, 224)))
    last.kernel.assign(last.kernel * (3 / np.std(features @ last.kernel)))
    return model


def mobilenet_style(resolution: int) -> keras.Model:
    """A small network of depthwise and 1x1 convolutions."""

    def normalized(x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((resolution, resolution, 3))
    x = normalized(keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image))
    for channels, stride in ((24, 2), (24, 1), (40, 2), (40, 1), (64, 1)):
        y = normalized(keras.layers.Conv2D(4 * x.shape[-1], 1, use_bias=False)(x))
        y = normalized(keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y))
        y = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Conv2D(channels, 1, use_bias=False)(y))
        x = keras.layers.Add()([x, y]) if y.shape == x.shape else y
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))


def quantization_aware(resolution: int) -> keras.Model:
    """`mobilenet_style` after a few steps of quantization-aware training, which set its ranges."""
    import tensorflow_model_optimization as tfmot

    model = tfmot.quantization.keras.quantize_model(mobilenet_style(resolution))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(as_floats(coloured_tiles(320, resolution)), np.arange(320) % 10, epochs=2, verbose=0)
    return model


def cases(calibration_images: int) -> Iterator[Case]:
    """The three networks."""
    large = mobilenet_v2()
    yield Case("MobileNetV2-224 float32", large, FLOAT32, None)
    calibration = as_floats(coloured_tiles(calibration_images, 224))
    yield Case("MobileNetV2-224 int8", large, FULL_INTEGER, calibration)
    yield Case("MobileNet-style 28 QAT", quantization_aware(28), FULL_INTEGER, None)


def show(results: list[Result], console: Console) -> None:
    """Prints the table and the note on calibration."""
    table = Table(title="Conversion: medians of the same run, in seconds; both include the calibration")
    for heading in ("network", "stock", "ours", "calibration", "ratio", "inputs", "max diff"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for result in results:
        stock_s, ours_s = statistics.median(result.stock_s), statistics.median(result.ours_s)
        times = (f"{stock_s:.2f}", f"{ours_s:.2f}", f"{result.calibration_s:.2f}", f"{result.ratio():.1f}x")
        table.add_row(result.case.name, *times, str(COMPARED_IMAGES), f"{result.max_difference:g}")
    console.print(table)
    for result in results:
        if result.case.calibration is not None:
            per_image_s = result.calibration_s / len(result.case.calibration)
            ratio = result.ratio(per_image_s * (MANY_IMAGES - len(result.case.calibration)))
            text = f"calibration takes {per_image_s * 1e3:.0f} ms an image on either side"
            console.print(f"{result.case.name}: {text}; with {MANY_IMAGES} images the ratio would be {ratio:.1f}x")


def main() -> int:
    """Runs the benchmark; 1 if a ratio is below 8 or outputs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calibration_images", type=int, default=10)
    arguments = parser.parse_args()
    reset(1)
    warm_up = Case("warm-up", mobilenet_style(28), FULL_INTEGER, as_floats(coloured_tiles(2, 28)))
    measure(warm_up, 1, coloured_tiles(1, 28))
    console = Console()
    results = []
    for case in cases(arguments.calibration_images):
        console.print(f"{case.name} ...")
        images = coloured_tiles(COMPARED_IMAGES, case.model.input_shape[1])
        results.append(measure(case, arguments.repeats, images))
    show(results, console)
    return 0 if all(r.ratio() >= REQUIRED_RATIO and r.max_difference == 0 for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
