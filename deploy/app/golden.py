"""Golden outputs: a few test images and what a model must answer to each, for an app's self-test. No TensorFlow here.

Runtimes round differently, and near a decision one step inside a quantized network becomes several in its scores. So
images are chosen on which LiteRT's two families of CPU kernels (XNNPACK and its own) agree; where they agree on none of
those tried, twice what they differ by is the tolerance that is recorded with the image.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image

from core.errors import LitesmithError, UsageError, one_line
from core.quiet import quiet_stderr
from core.spec_io import from_plain
from core.values import file_sha256
from core.workspace import atomic_write_json, read_json
from deploy.interpreter import as_input, open_interpreter
from search.dataset import ImageSet, Int32, UInt8

GOLDEN, IMAGES = "golden", "golden/images"
FORMAT = 1
# One step of a uint8 score, and a hundred times what kernels that sum in another order were seen to change in the
# probabilities of float models (1e-6).
MIN_TOLERANCE = {"uint8": 1, "float32": 1e-4}
_TRIES = 8  # images tried for each place

Scores = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """One image and the answer to it.

    Attributes:
      file: the PNG, relative to the release's folder; its pixels are the model's input (a float model: byte / 255).
      label: its true class; `class_name` in words.
      predicted: the class of the highest score.
      scores: the output tensor as it is: bytes of a uint8 model, else floats.
      tolerance: how far a score may be off on another runtime or processor, in the same unit.
    """

    file: str
    label: int
    class_name: str
    predicted: int
    scores: tuple[int, ...] | tuple[float, ...]
    tolerance: int | float


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden outputs of a model; `sha256` is the model's, `runtime` says what computed them."""

    model: str
    sha256: str
    dtype: str
    runtime: str
    images: tuple[GoldenImage, ...]
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Difference:
    """How a model's answers differ from its golden ones.

    Attributes:
      images: how many were compared; `equal`: of them, how many are the same in every bit.
      largest: the largest difference of a score (uint8: in steps).
      wrong: what is out of tolerance, a line for each image; none if all is well.
    """

    images: int
    equal: int
    largest: float
    wrong: tuple[str, ...]


def golden_path(model_file: str) -> str:
    """Where the golden outputs of a model are, relative to the release's folder."""
    return f"{GOLDEN}/{Path(model_file).stem}.json"


def write_golden(
    folder: Path, model_file: str, test: ImageSet, predicted: Int32, labels: Sequence[str], count: int
) -> tuple[str, ...]:
    """Writes golden/NAME.json and the images that it names; returns their paths relative to `folder`.

    Args:
      test: images in the model's resolution, of which at most `count` are taken: correct answers of as many classes as
        possible and, of two or more, a wrong one if there is any.
      predicted: int32 [n], the class that the model names for each.

    Raises LitesmithError if there is no image to take.
    """
    model = folder / model_file
    recorder = _Recorder(model)
    taken: dict[int, tuple[Scores, float]] = {}
    for candidates in _places(test.labels, predicted, count):
        rows = [row for row in candidates if row not in taken][:_TRIES]
        if rows:
            row, answer = recorder.best(test, rows)
            taken[row] = answer
    if not taken:
        raise LitesmithError(f"{model_file}: no test image to record golden outputs of")
    images = tuple(_written(folder, test, row, scores, tolerance, labels) for row, (scores, tolerance) in taken.items())
    path = folder / golden_path(model_file)
    found = Golden(model_file, file_sha256(model), recorder.dtype, _runtime(), images)
    path.parent.mkdir(exist_ok=True)
    atomic_write_json(path, found)
    return (golden_path(model_file), *(image.file for image in images))


def read_golden(path: Path) -> Golden:
    """The file that `write_golden` has written. Raises LitesmithError if it is damaged."""
    try:
        return from_plain(Golden, read_json(path), str(path))
    except UsageError as error:
        raise LitesmithError(f"{path}: not golden outputs of this version: {error}") from error


def compare(folder: Path, golden: Golden) -> Difference:
    """Runs the model of `folder` on its golden images. Raises LitesmithError if one of them cannot be used."""
    interpreter = open_interpreter(folder / golden.model)
    equal, largest, wrong = 0, 0.0, []
    for image in golden.images:
        scores = _scores(interpreter, _pixels(folder / image.file))
        expected = np.asarray(image.scores, scores.dtype)
        if expected.shape != scores.shape:
            raise LitesmithError(f"{golden.model}: {scores.size} scores for {image.file}, expected {expected.size}")
        off = float(np.abs(scores.astype(np.float64) - expected).max())
        equal, largest = equal + (off == 0), max(largest, off)
        if not off <= image.tolerance or int(scores.argmax()) != image.predicted:  # NaN is out of tolerance, too
            wrong.append(
                f"{image.file}: class {int(scores.argmax())} instead of {image.predicted}, scores off by up to {off:g} "
                f"(at most {image.tolerance:g})"
            )
    return Difference(len(golden.images), equal, largest, tuple(wrong))


class _Recorder:
    """A model in both families of kernels; only XNNPACK's where the other cannot run it."""

    def __init__(self, model: Path) -> None:
        self._interpreter = open_interpreter(model)
        self.dtype = np.dtype(self._interpreter.get_output_details()[0]["dtype"]).name
        self._other = _without_xnnpack(model)

    def best(self, test: ImageSet, rows: Sequence[int]) -> tuple[int, tuple[Scores, float]]:
        """The row on which both families agree and yet the answer is least clear, which tests the model best; where
        they agree on none, the one on which they differ least. With it its scores and their tolerance."""
        found = {row: self._answer(test.rgb(np.array([row]))[0]) for row in rows}
        least = MIN_TOLERANCE[self.dtype]
        safe = [row for row, (scores, tol) in found.items() if tol == least and _margin(scores) > 2 * tol]
        if safe:
            row = min(safe, key=lambda row: _margin(found[row][0]))
        else:
            row = min(rows, key=lambda row: (found[row][1], -_margin(found[row][0])))
        return row, found[row]

    def _answer(self, image: UInt8) -> tuple[Scores, float]:
        scores = _scores(self._interpreter, image)
        least = MIN_TOLERANCE[self.dtype]
        if self._other is None:
            return scores, least
        off = np.abs(scores.astype(np.float64) - _scores(self._other, image)).max().item()
        if off <= least:
            return scores, least
        return scores, 2 * (int(off) if self.dtype == "uint8" else off)  # a third family may differ by more


def _without_xnnpack(model: Path) -> Interpreter | None:
    try:
        with quiet_stderr():
            found = Interpreter(
                model_path=str(model),
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                num_threads=1,
            )
            found.allocate_tensors()
    except (ValueError, RuntimeError):  # an operator that XNNPACK alone has
        return None
    return found


def _places(labels: Int32, predicted: Int32, count: int) -> list[list[int]]:
    """For each golden image the rows it may be taken from, best first."""
    wrong = np.flatnonzero(labels != predicted).tolist()
    right = {int(c): np.flatnonzero((labels == c) & (predicted == c)).tolist() for c in np.unique(labels)}
    classes = [number for number, rows in right.items() if rows]
    of_wrong = 1 if wrong and (count > 1 or not classes) else 0
    places = [right[classes[i]] for i in _spread(len(classes), count - of_wrong)] if classes else []
    return [*places, *[wrong] * of_wrong]


def _spread(size: int, count: int) -> list[int]:
    """`count` of the numbers below `size`, far apart; each again where there are too few."""
    if count <= size:
        return [place * size // count for place in range(count)]
    return [place % size for place in range(count)]


def _written(
    folder: Path, test: ImageSet, row: int, scores: Scores, tolerance: float, labels: Sequence[str]
) -> GoldenImage:
    pixels = test.rgb(np.array([row]))[0]
    file = f"{IMAGES}/{row}-{pixels.shape[1]}px.png"  # winners may differ in their resolution
    if not (folder / file).exists():
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / file)
    label = int(test.labels[row])
    return GoldenImage(file, label, labels[label], int(scores.argmax()), tuple(scores.tolist()), tolerance)


def _pixels(path: Path) -> UInt8:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LitesmithError(f"{path}: not an image that can be read ({one_line(error)})") from error


def _scores(interpreter: Interpreter, image: UInt8) -> Scores:
    """The raw scores [classes] of a uint8 image [R, R, 3]."""
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    if tuple(inputs["shape"]) != (1, *image.shape):
        raise LitesmithError(f"golden image of {image.shape}: the model takes {tuple(map(int, inputs['shape'][1:]))}")
    interpreter.set_tensor(inputs["index"], as_input(image[np.newaxis], inputs["dtype"]))
    interpreter.invoke()
    return np.array(interpreter.get_tensor(outputs["index"])[0])


def _margin(scores: Scores) -> float:
    """By how much the highest score leads; infinite of one class."""
    second, first = np.sort(np.append(scores.astype(np.float64), -np.inf))[-2:]
    return float(first - second)


def _runtime() -> str:
    return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')} on {platform.machine()}"
