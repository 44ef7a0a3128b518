"""Runs in the emulated arm64 Python (benchmarks.arm64): scores of each .tflite on the same images.

    python arm64_worker.py IMAGES.npy SCORES.npz MODEL.tflite ...

The images are uint8 [n, R, R, 3]; the scores of the i-th model are stored as "model_i".
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def scores(path: str, images: np.ndarray) -> np.ndarray:
    """What the model's output holds for each image, unchanged: uint8 or float32 [n, classes]."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images[:, np.newaxis]:
        is_float = inputs["dtype"] == np.float32
        interpreter.set_tensor(inputs["index"], image.astype(np.float32) / np.float32(255) if is_float else image)
        interpreter.invoke()
        found.append(interpreter.get_tensor(outputs["index"])[0])
    return np.stack(found)


if __name__ == "__main__":
    pixels = np.load(sys.argv[1])
    found: dict[str, Any] = {f"model_{index}": scores(path, pixels) for index, path in enumerate(sys.argv[3:])}
    np.savez(sys.argv[2], **found)
