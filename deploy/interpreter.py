"""Scores of a .tflite file by LiteRT. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from core.errors import UsageError, one_line
from core.quiet import quiet_stderr
from search.dataset import ImageSet, UInt8


def load_bytes(source: Path | str | bytes) -> tuple[bytes, str]:
    """The content of a .tflite and what to call it in a message. Raises UsageError if the file cannot be read."""
    if isinstance(source, bytes):
        return source, "model"
    try:
        return Path(source).read_bytes(), str(source)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror}); expected a .tflite file") from error


def open_interpreter(source: Path | str | bytes, num_threads: int = 1) -> Interpreter:
    """LiteRT's interpreter (XNNPACK where it can be used) with its tensors allocated.

    Raises UsageError with LiteRT's reason if the file is not a model that this runtime can run.
    """
    content, where = load_bytes(source)
    try:
        with quiet_stderr():  # LiteRT announces its XNNPACK delegate there
            interpreter = Interpreter(model_content=content, num_threads=num_threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{where}: LiteRT cannot load it as a .tflite model: {one_line(error)}") from error
    return interpreter


def predict(source: Path | str | bytes, images: UInt8, num_threads: int = 1) -> npt.NDArray[np.float32]:
    """Class scores float32 [n, classes] of uint8 RGB images [n, R, R, 3], one image at a time as on a phone.

    A uint8 model is fed the bytes, a float model byte / 255; quantized scores are dequantized. Raises UsageError if the
    file cannot be loaded or wants images of another shape.
    """
    interpreter = open_interpreter(source, num_threads)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = tuple(int(size) for size in inputs["shape"])
    if images.ndim != 4 or expected != (1, *images.shape[1:]) or images.dtype != np.uint8:
        raise UsageError(f"images: {images.dtype} {images.shape} do not fit the model's input {expected}")
    raw = np.empty((len(images), *outputs["shape"][1:]), outputs["dtype"])
    for index, image in enumerate(images):
        interpreter.set_tensor(inputs["index"], as_input(image[np.newaxis], inputs["dtype"]))
        interpreter.invoke()
        raw[index] = interpreter.get_tensor(outputs["index"])[0]
    return _dequantized(raw, outputs["quantization"])


def accuracy(source: Path | str | bytes, images: ImageSet) -> float:
    """Top-1 accuracy of a .tflite, 0..1. Raises UsageError as `predict` does."""
    return float(np.mean(predict(source, images.rgb()).argmax(axis=1) == images.labels))


def as_input(images: UInt8, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """uint8 images as a model with an input of `dtype` takes them."""
    return images if dtype == np.uint8 else images.astype(np.float32) / np.float32(255)


def _dequantized(raw: npt.NDArray[Any], quantization: tuple[float, int]) -> npt.NDArray[np.float32]:
    scale, zero_point = quantization
    if scale == 0:
        return raw.astype(np.float32)
    return (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
