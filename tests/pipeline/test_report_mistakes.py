"""The images that a report shows as the best model's most confident mistakes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report_mistakes import MAX_MISTAKES, MAX_SIDE, find_mistakes, thumbnail
from search.dataset import UInt8
from tests.pipeline.report_runs import MODELS, NAMES, run

BEST = "w0.prune0.5-cluster16-qat"


def pixels(png: str) -> UInt8:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def folders(root: Path, labels: list[int], predicted: list[int], confidence: list[float]) -> dict[str, Path]:
    """Folders of the stages "data" and of the best model's validation; the test images are the last ones, reversed."""
    data, validate = root / "data", root / "validate"
    data.mkdir()
    validate.mkdir()
    count = len(labels)
    images = np.arange((count + 2) * 64, dtype=np.uint8).reshape(count + 2, 8, 8, 1)
    np.save(data / "images.npy", images)
    np.save(data / "labels.npy", np.array([0, 1, *reversed(labels)], np.int32))
    rows = np.arange(count + 1, 1, -1)
    np.savez(data / "rows.npz", train=np.array([0]), val=np.array([1]), test=rows)
    described = {"name": "x", "class_names": NAMES, "augment": "none"}
    (data / "data.json").write_text(json.dumps(described))
    of_label = 1 - np.array(confidence, np.float32)
    np.savez(
        validate / "predictions.npz",
        predicted=np.array(predicted, np.int32),
        confidence=np.array(confidence, np.float32),
        of_label=of_label / 2,
    )
    return {"data": data, f"{BEST}.validate": validate}


def test_the_most_confident_come_first_and_show_the_right_image(tmp_path: Path) -> None:
    inputs = folders(tmp_path, [0, 1, 2, 0, 1], [0, 2, 1, 1, 0], [0.99, 0.6, 0.9, 0.75, 0.9])
    found = find_mistakes(run(), inputs)
    # Images 2 and 4 are equally sure: the earlier one comes first. Image 0 is right.
    assert [(m.image, m.actual, m.predicted) for m in found] == [(2, 2, 1), (4, 1, 0), (3, 0, 1), (1, 1, 2)]
    assert [round(m.confidence, 3) for m in found] == [0.9, 0.9, 0.75, 0.6]
    images = np.load(inputs["data"] / "images.npy")
    assert all(np.array_equal(pixels(m.png), images[6 - m.image, ..., 0]) for m in found)


def test_there_are_not_too_many(tmp_path: Path) -> None:
    count = MAX_MISTAKES + 5
    found = find_mistakes(run(), folders(tmp_path, [0] * count, [1] * count, [0.5 + i / 1000 for i in range(count)]))
    assert [m.image for m in found] == [count - 1 - i for i in range(MAX_MISTAKES)]


def test_none_without_predictions_or_model(tmp_path: Path) -> None:
    inputs = folders(tmp_path, [0], [1], [0.9])
    assert len(find_mistakes(run(), inputs)) == 1
    (inputs[f"{BEST}.validate"] / "predictions.npz").unlink()
    assert find_mistakes(run(), inputs) == ()
    assert find_mistakes(run(artifacts=MODELS[2:3]), inputs) == ()


def test_a_thumbnail_is_small_and_keeps_its_colours() -> None:
    colours = np.zeros((300, 300, 3), np.uint8)
    colours[..., 0] = 200
    found = pixels(thumbnail(colours))
    assert found.shape == (MAX_SIDE, MAX_SIDE, 3) and found[50, 50].tolist() == [200, 0, 0]
    assert pixels(thumbnail(colours[..., [0, 0, 0]])).shape == (MAX_SIDE, MAX_SIDE)
