"""The model card of each model: what it is, does, and is not to be used for, in Markdown. No TensorFlow here.

After Mitchell et al., Model Cards for Model Reporting (2019), arXiv:1810.03993: details, use, figures by class and with
their intervals and conditions, data, limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.intervals import accuracy_digits, wilson_interval
from deploy.app.facts import AppModel, ReleaseFacts
from deploy.app.making import SCHEMES, making
from deploy.app.render import render
from deploy.manifest import ReleaseLatency, ReleaseModel
from deploy.schemes import FLOAT32, PERSONALIZE

MAX_CLASSES = 20  # rows of the table by class, and labels that are written out
NONE = "–"


@dataclass(frozen=True, slots=True)
class Belongings:
    """The files of a model that its card points to, as paths in the release; `refused` says why there is no wrapper,
    `task_library` whether the Java snippet uses the Task Library."""

    golden: tuple[str, ...]
    snippets: tuple[str, ...]
    wrapper: tuple[str, ...]
    refused: str
    task_library: bool


def card(entry: AppModel, facts: ReleaseFacts, belongings: Belongings) -> str:
    """The card of a model as Markdown."""
    model = entry.model
    rows = sorted(_by_class(entry, facts.labels), key=lambda row: row[0])
    return render(
        "card.md.j2",
        model=model,
        facts=facts,
        summary=_summary(entry, facts),
        size=_size(model.size_bytes),
        zipped=_size(model.zipped_bytes),
        macs=f"{model.macs:,}",
        params=f"{model.params:,}",
        scheme=SCHEMES[model.scheme],
        versions=sorted(model.tool_versions.items()),
        side=model.input.shape[1],
        input_shape=_shape(model.input.shape),
        output_shape=_shape(model.output.shape),
        input_text=_input_text(model),
        output_text=_output_text(model),
        usage=_usage(model, belongings),
        labels=_labels(facts.labels),
        accuracy=_accuracy(entry),
        latency=[_latency_row(latency) for latency in model.latency],
        latency_text=_latency_text(model),
        classes=[row[1:] for row in rows[:MAX_CLASSES]],
        classes_left_out=max(0, len(rows) - MAX_CLASSES),
        data=_data(facts),
        making=making(model, entry.steps, facts),
        limits=_limits(model, facts),
    )


def _summary(entry: AppModel, facts: ReleaseFacts) -> str:
    model = entry.model
    side, images = model.input.shape[1], len(entry.test)
    return (
        f"Says which of {len(facts.labels)} classes an RGB image of {side} x {side} pixels belongs to. "
        f"{_size(model.size_bytes)}; {_percent(model.test_accuracy, images)} of {images:,} test images of "
        f"`{facts.test_set.name}` named right{_fastest(model)}."
    )


def _fastest(model: ReleaseModel) -> str:
    """The first latency that can be trusted, in words that follow others."""
    for latency in model.latency:
        if latency.verdict == "ok":
            return f"; {_microseconds(latency.median_us)} on {latency.target} with {_threads(latency.threads)}"
    return ""


def _input_text(model: ReleaseModel) -> str:
    order = "RGB, rows from the top, channels last"
    if model.input.dtype == "uint8":
        return f"{order}; the bytes of the pixels as they are (byte b stands for b / 255)"
    return f"{order}; byte / 255, so 0 to 1"


def _output_text(model: ReleaseModel) -> str:
    if model.output.dtype == "uint8":
        score = f"(score - {model.output.zero_point})" if model.output.zero_point else "score"
        return f"a score for each label; {score} x {model.output.scale:.9g} is its probability"
    return "the probability of each label"


def _usage(model: ReleaseModel, belongings: Belongings) -> Iterator[str]:
    python, kotlin, java = belongings.snippets
    through = "the Task Library" if belongings.task_library else "LiteRT's Interpreter"
    yield f"Python: `python {python} IMAGE` (LiteRT, NumPy, Pillow)"
    yield f"Kotlin: [{kotlin}]({kotlin}), through LiteRT's Interpreter; Java: [{java}]({java}), through {through}"
    if model.scheme == PERSONALIZE:
        yield (
            "Training on the device: signatures `train`, `infer`, `save` and `restore`, by which an app adapts the "
            "last layer to its user's images; all figures here are of the model before that"
        )
    if belongings.wrapper:
        folder = "/".join(belongings.wrapper[0].split("/")[:2])
        yield (
            f"Android: `{folder}` is a module with the Java class that TFLite Support's code generator makes for this "
            "model; it resizes images by the nearest pixel and cuts nothing out, so give it square ones of the right "
            "size"
        )
    else:
        yield f"No wrapper by TFLite Support's code generator: {belongings.refused}"
    if belongings.golden:
        yield (
            f"Self-test: [{belongings.golden[0]}]({belongings.golden[0]}) has test images with the scores that this "
            "model must give, and how far another processor may be off; `verify` and the Kotlin class compare"
        )


def _labels(labels: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{label}`" for label in labels[:MAX_CLASSES])
    more = len(labels) - MAX_CLASSES
    return shown + (f", and {more} more" if more > 0 else "")


def _accuracy(entry: AppModel) -> str:
    model, images = entry.model, len(entry.test)
    right = int(np.sum(entry.test.labels == entry.predicted))
    text = (
        f"Of {images:,} test images that no training or choice has seen, {right:,} are named right: "
        f"{_percent(right / images, images)} (95 % interval {_interval(right, images)}, Wilson's)."
    )
    if model.scheme == FLOAT32 and model.test_accuracy == model.float_test_accuracy:
        return text
    change = model.test_accuracy - model.float_test_accuracy
    return f"{text} Its float32 parent: {_percent(model.float_test_accuracy, images)} ({_points(change, images)})."


def _by_class(entry: AppModel, labels: tuple[str, ...]) -> Iterator[tuple[float, str, int, str, str, str]]:
    """For each class with test images: its accuracy, and the cells of its row."""
    truth, predicted = entry.test.labels, entry.predicted
    for number, label in enumerate(labels):
        answers = predicted[truth == number]
        if not len(answers):
            continue
        right = int(np.sum(answers == number))
        others = np.bincount(answers[answers != number], minlength=len(labels))
        most = f"{labels[int(others.argmax())]} ({others.max()})" if others.any() else NONE
        accuracy = right / len(answers)
        cells = (label, len(answers), _percent(accuracy, len(answers)), _interval(right, len(answers)), most)
        yield (accuracy, *(_cell(cell) if isinstance(cell, str) else cell for cell in cells))  # type: ignore[misc]


def _latency_row(latency: ReleaseLatency) -> tuple[str, ...]:
    has_interval = latency.low_us or latency.high_us
    processes = f" in {latency.processes} processes" if latency.processes else ""
    memory = f"{latency.peak_memory_bytes / 1e6:.1f} MB" if latency.peak_memory_bytes else NONE
    cells = (
        latency.target,
        latency.device or NONE,
        _microseconds(latency.median_us),
        f"{latency.low_us:,.1f} to {latency.high_us:,.1f}" if has_interval else NONE,
        _microseconds(latency.p95_us) if latency.p95_us else NONE,
        f"{latency.runs:,}{processes}",
        str(latency.threads),
        latency.delegate or NONE,
        latency.tool,
        memory,
        latency.verdict,
    )
    return tuple(_cell(cell) for cell in cells)


def _latency_text(model: ReleaseModel) -> str:
    text = "Each median is over fresh processes, of the inference alone, without reading or resizing the image."
    if any(latency.target == "host" for latency in model.latency):
        text += " `host` is the computer that made the release; its figures do not rank models as a phone's do."
    return text


def _data(facts: ReleaseFacts) -> Iterator[str]:
    origin = f" ({facts.origin})" if facts.origin else ""
    yield (
        f"Training: {facts.train_images:,} images of `{facts.data}`{origin}; {facts.val_images:,} more chose the "
        f"network and the compression; changed at random in training: {facts.augment}; seed {facts.seed}"
    )
    test = facts.test_set
    yield f"Test: {test.images:,} images of `{test.name}`, SHA-256 of images and labels `{test.sha256}`"


def _limits(model: ReleaseModel, facts: ReleaseFacts) -> Iterator[str]:
    side = model.input.shape[1]
    yield (
        f"It names one of its {len(facts.labels)} classes for every image, also where it shows none of them. Its "
        "scores were not calibrated: choose a threshold on images of the app"
    )
    yield (
        f"All figures are of images like those of `{facts.data}`. Other cameras, light, backgrounds or people may give "
        "others: measure on the app's own images before use"
    )
    yield f"What cannot be told at {side} x {side} pixels, or lies outside the centre of the image, it cannot tell"
    yield (
        "Not examined: whether it errs more for some groups of people than for others, images made to deceive it, and "
        "accuracy other than of the first label"
    )
    yield (
        "Not for decisions about a person's health, safety, rights or livelihood, and not as the only guard of anything"
    )
    if any(latency.verdict != "ok" for latency in model.latency):
        yield "A latency whose verdict is not ok is no figure to promise"


def _interval(right: int, images: int) -> str:
    low, high = wilson_interval(right / images, images)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' if threads != 1 else ''}"


def _percent(fraction: float, images: int) -> str:
    return f"{100 * fraction:.{accuracy_digits(images)}f} %"


def _points(change: float, images: int) -> str:
    return f"{100 * change:+.{accuracy_digits(images)}f} points"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.1f} kB"


def _microseconds(latency_us: float) -> str:
    return f"{latency_us:,.1f} µs"


def _cell(text: str) -> str:
    """Text that a cell of a Markdown table can hold."""
    return text.replace("|", "\\|")
