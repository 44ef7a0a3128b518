from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import LitesmithError
from deploy.app.app_files import write_app_files
from deploy.app.card import MAX_CLASSES, Belongings, _interval, card
from deploy.app.facts import AppModel
from deploy.app.making import SCHEMES, making
from deploy.manifest import Manifest
from deploy.schemes import FLOAT32, PERSONALIZE
from deploy.schemes import SCHEMES as ALL_SCHEMES
from search.dataset import ImageSet
from tests.deploy.app.releases import COMMAND, FACTS, LABELS, released_model

BELONGINGS = Belongings(
    ("golden/m.json",), ("s.py", "s.kt", "s.java"), ("android/m/build.gradle",), "", task_library=True
)


@pytest.fixture(scope="module")
def entry(app_files: dict[str, Path], app_test: ImageSet) -> AppModel:
    model, predicted = released_model(app_files["full_integer"], "full_integer", app_test)
    return AppModel(model, app_test, predicted, ("prune0.5", "cluster16", "qat"))


def rows(text: str, first_cell: str) -> list[list[str]]:
    """The cells of the table rows below the one that begins with `first_cell`."""
    table = text[text.index(f"| {first_cell} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def test_figures_stand_with_their_conditions(entry: AppModel) -> None:
    text = card(entry, FACTS, BELONGINGS)
    pixel, host = rows(text, "target")
    assert pixel == [
        *("pixel3", "Pixel 3", "812.5 µs", "800.0 to 820.5", "901.0 µs", "2,500 in 5 processes", "4", "xnnpack"),
        *("benchmark_model 2.21", "12.3 MB", "ok"),
    ]
    assert host[0] == "host" and host[-1] == "noisy: spread 12 %" and "–" in host
    assert "its figures do not rank models as a phone's do" in text
    assert "812.5 µs on pixel3 with 4 threads" in text and "whose verdict is not ok" in text
    right = int(np.sum(entry.predicted == entry.test.labels))
    assert (
        f"Of 60 test images that no training or choice has seen, {right} are named right: {right / 0.6:.1f} %" in text
    )
    assert f"`{entry.model.sha256}`" in text and f"Again: `{COMMAND}`" in text


def test_the_interval_is_wilsons() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 gives 0.2553 to 0.3662 by the score method."""
    assert _interval(81, 263) == "25.5 to 36.6 %"


def test_accuracy_by_class_is_worst_first(entry: AppModel) -> None:
    found = rows(card(entry, FACTS, BELONGINGS), "class")
    accuracies = [float(row[2].split()[0]) for row in found]
    assert accuracies == sorted(accuracies) and len(found) == len(np.unique(entry.test.labels))
    assert sum(int(row[1]) for row in found) == 60
    for name, images, accuracy, _, _ in found:
        answers = entry.predicted[entry.test.labels == LABELS.index(name)]
        assert accuracy == f"{100 * np.mean(answers == LABELS.index(name)):.1f} %" and int(images) == len(answers)


def test_many_classes_and_odd_labels(entry: AppModel) -> None:
    labels = tuple(f"a|b{number}" for number in range(30))
    test = ImageSet(np.zeros((60, 28, 28, 3), np.uint8), np.arange(60, dtype=np.int32) % 30, np.arange(60))
    many = AppModel(entry.model, test, np.zeros(60, np.int32))
    text = card(many, replace(FACTS, labels=labels), BELONGINGS)
    assert len(rows(text, "class")) == MAX_CLASSES and "10 more are not shown" in text
    assert all(len(row) == 5 for row in rows(text, "class"))
    assert ", and 10 more" in text


def test_contract_and_files(entry: AppModel) -> None:
    text = card(entry, FACTS, BELONGINGS)
    image, scores = _contract(text)
    assert image[1:3] == ["uint8", "1 x 28 x 28 x 3"] and "the bytes of the pixels as they are" in image[3]
    assert scores[1:3] == ["uint8", "1 x 10"] and "score x 0.00390625 is its probability" in scores[3]
    assert "[golden/m.json](golden/m.json)" in text and "through the Task Library" in text and "`android/m`" in text
    refused = replace(BELONGINGS, wrapper=(), refused="the reason", golden=(), task_library=False)
    text = card(entry, FACTS, refused)
    assert "No wrapper by TFLite Support's code generator: the reason" in text and "Self-test" not in text
    assert "Task Library" not in text


def _contract(text: str) -> list[list[str]]:
    table = [line for line in text.splitlines() if line.startswith(("| input `", "| output `"))]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def test_a_model_that_was_not_measured(entry: AppModel) -> None:
    text = card(replace(entry, model=replace(entry.model, latency=())), FACTS, BELONGINGS)
    assert "Its latency was not measured." in text and " µs" not in text


def test_the_float_parent_is_not_compared_with_itself(entry: AppModel) -> None:
    parent = replace(entry.model, scheme=FLOAT32, float_test_accuracy=entry.model.test_accuracy)
    assert "float32 parent" not in card(replace(entry, model=parent), FACTS, BELONGINGS)
    assert "Its float32 parent: " in card(entry, FACTS, BELONGINGS) and "(-1.0 points)" in card(
        entry, FACTS, BELONGINGS
    )


def test_every_scheme_has_words() -> None:
    assert set(SCHEMES) == {*ALL_SCHEMES, PERSONALIZE}


def test_steps_in_words(entry: AppModel) -> None:
    taught = replace(FACTS, teacher="resnet8")
    steps = ("structured0.5", "low_rank0.5", "share", "prune2of4", "sparse0.8", "cluster16", "qat", "new_pass3")
    lines = list(making(replace(entry.model, recipe="x+ptq"), steps, taught))
    assert "distilled from resnet8" in lines[0]
    assert "about 0.5 of the network's cost" in lines[1] and "2 of every 4" in lines[4] and "80 %" in lines[5]
    assert "share 16 values" in lines[6] and lines[8] == "The pass `new_pass3`"
    assert "Post-training quantization" in lines[9] and "50 % zeros, at most 16 values" in lines[10]


def test_two_models_of_one_class_are_refused(entry: AppModel, tmp_path: Path) -> None:
    entries = [replace(entry, model=replace(entry.model, file=file)) for file in ("a-b.tflite", "A_b.tflite")]
    with pytest.raises(LitesmithError, match=r"a-b\.tflite and A_b\.tflite would both be the class"):
        write_app_files(tmp_path, entries, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_cards_link_to_what_is_there(release: tuple[Path, Manifest]) -> None:
    folder, manifest = release
    for model in manifest.artifacts:
        text = (folder / f"{Path(model.file).stem}.md").read_text()
        links = re.findall(r"\]\((?!https)([^)]+)\)", text)
        assert len(links) == 3 and all(link in model.extras for link in links)
