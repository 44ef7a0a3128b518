"""The test images that the best model is most certain of, and wrong about. No TensorFlow here."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data import load
from pipeline.report_data import Mistake, RunReport
from pipeline.report_view import headline_artifact
from search.dataset import UInt8

MAX_MISTAKES = 24
MAX_SIDE = 112  # pixels of a thumbnail: larger ones would make the page heavy
PREDICTIONS = "predictions.npz"


def find_mistakes(report: RunReport, directories: Mapping[str, Path]) -> tuple[Mistake, ...]:
    """The best model's errors on the test images, the most confident first; of equals, where the right class has least.

    None if there is no model, or if its validation kept no predictions. `directories` maps stage names to folders.
    """
    artifact = headline_artifact(report)
    if artifact is None:
        return ()
    path = directories[f"{artifact.plan.name}.validate"] / PREDICTIONS
    if not path.exists():
        return ()
    with np.load(path) as arrays:
        predicted, confidence, of_label = (arrays[name] for name in ("predicted", "confidence", "of_label"))
    test = load(directories["data"]).test
    wrong = np.flatnonzero(predicted != test.labels)
    worst = wrong[np.lexsort((wrong, of_label[wrong], -confidence[wrong]))][:MAX_MISTAKES]
    return tuple(
        Mistake(
            image=int(row),
            actual=int(test.labels[row]),
            predicted=int(predicted[row]),
            confidence=float(confidence[row]),
            of_label=float(of_label[row]),
            png=thumbnail(test.rgb(np.array([row]))[0]),
        )
        for row in worst
    )


def thumbnail(image: UInt8) -> str:
    """An RGB image [height, width, 3] as a PNG file in base64, at most MAX_SIDE pixels a side; grey stays grey."""
    grey = bool(np.all(image == image[..., :1]))
    picture = Image.fromarray(image[..., 0] if grey else image)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
