"""A model that an app can train further (deploy.personalize), as LiteRT runs it. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from core.errors import UsageError, one_line
from deploy.interpreter import as_input, open_interpreter
from search.dataset import ImageSet, Int32, UInt8

Float32 = npt.NDArray[np.float32]
INFER, TRAIN, SAVE, RESTORE = "infer", "train", "save", "restore"
SIGNATURES = (INFER, TRAIN, SAVE, RESTORE)
# The bias of a class that is off: beside ordinary logits its probability in float32 is 0, and so is its gradient.
OFF = -1e4
LEARNING_RATE = 2.0  # deploy.personalize says why one suits every network
_CHECK_IMAGES, _CHECK_STEPS = 32, 5


class Trainable:
    """One session with such a model: what it learns is lost with it, unless it is saved.

    Raises UsageError if the file cannot be loaded or lacks one of the signatures.
    """

    def __init__(self, source: Path | str | bytes, num_threads: int = 1) -> None:
        interpreter: Interpreter = open_interpreter(source, num_threads)
        missing = [key for key in SIGNATURES if key not in interpreter.get_signature_list()]
        if missing:
            where = "model" if isinstance(source, bytes) else source
            legal = "a model that can be trained further"
            raise UsageError(f"{where}: no signature {', '.join(missing)}; expected {legal}")
        self._run = {key: interpreter.get_signature_runner(key) for key in SIGNATURES}

    def infer(self, images: UInt8) -> Float32:
        """Probabilities [n, classes] of images [n, R, R, 3]."""
        return self._call(INFER, images=as_input(images, np.float32))["scores"]

    def train(self, images: UInt8, labels: Int32, learning_rate: float = LEARNING_RATE) -> float:
        """Makes one step on images [n, R, R, 3] with labels [n]; their loss before it. A label that is no class takes
        its image out of the step."""
        rate = np.array([learning_rate], np.float32)
        found = self._call(TRAIN, images=as_input(images, np.float32), labels=labels, learning_rate=rate)
        return float(found["loss"][0])

    def save(self) -> dict[str, Float32]:
        """All that was learned: `kernel` [features, classes] and `bias` [classes]."""
        return self._call(SAVE, ignored=np.zeros(1, np.float32))

    def restore(self, saved: Mapping[str, Float32]) -> None:
        """Puts back what `save` gave. Raises UsageError for tensors of another size, and then keeps what it had."""
        try:
            self._call(RESTORE, **saved)
        except RuntimeError as error:
            shapes = ", ".join(f"{name} {values.shape}" for name, values in saved.items())
            raise UsageError(f"restore: {shapes} do not fit the model ({one_line(error)})") from error

    def _call(self, key: str, **inputs: Any) -> dict[str, Float32]:
        return {name: np.array(values) for name, values in self._run[key](**inputs).items()}


def training_problems(source: Path | str | bytes, images: ImageSet) -> tuple[str, ...]:
    """What is wrong with a model's training, a line each: teaches it to take each class for the next one, on a few
    images, and puts what it learned into a fresh session."""
    model = Trainable(source)
    chosen = images.first(_CHECK_IMAGES)
    shown, classes = chosen.rgb(), np.count_nonzero(model.save()["bias"] > OFF)
    shifted = ((chosen.labels + 1) % classes).astype(np.int32)
    losses = [model.train(shown, shifted) for _ in range(_CHECK_STEPS)]
    fresh = Trainable(source)
    fresh.restore(model.save())
    problems = []
    if not losses[-1] < losses[0]:
        problems.append(f"training does not lower the loss: {losses[0]:.4g}, at step {_CHECK_STEPS} {losses[-1]:.4g}")
    if not np.array_equal(fresh.infer(shown), model.infer(shown)):
        problems.append("what was saved and restored does not give the same scores")
    return tuple(problems)
