"""What stands beside each model of a release for the apps that use it. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import LitesmithError, one_line
from core.process import ProcessError
from core.workspace import atomic_write_bytes
from deploy.app.card import Belongings, card
from deploy.app.facts import AppModel, ReleaseFacts
from deploy.app.golden import write_golden
from deploy.app.names import class_name
from deploy.app.snippets import write_snippets
from deploy.app.wrapper import refusal, write_wrapper
from deploy.manifest import ReleaseModel


def write_app_files(
    folder: Path,
    models: Sequence[AppModel],
    facts: ReleaseFacts,
    *,
    golden_images: int = 5,
    android_package: str = "com.example.litesmith",
    metadata: bool = True,
) -> dict[str, tuple[str, ...]]:
    """Writes cards, golden outputs, snippets and wrappers into `folder`, which holds the models and the labels.

    Returns, for each model file, the relative paths of what belongs to it: its ReleaseModel.extras. Golden images are
    shared, so a path may be among the extras of several models. Raises LitesmithError if two models would get one
    class, or golden outputs cannot be recorded. A model that the wrapper's generator does not take gets no wrapper; its
    card says why.

    Args:
      golden_images: how many test images each model's golden outputs have; 0: none.
      android_package: the Java package of snippets and wrappers.
      metadata: whether the models hold metadata (config.release.metadata), without which there are no wrappers.
    """
    _check_classes(models)
    return {
        entry.model.file: _write_one(folder, entry, facts, golden_images, android_package, metadata) for entry in models
    }


def _check_classes(models: Sequence[AppModel]) -> None:
    by_class: dict[str, str] = {}
    for entry in models:
        name = class_name(entry.model.file).casefold()  # a file system may not tell upper from lower case
        other = by_class.setdefault(name, entry.model.file)
        if other != entry.model.file:
            raise LitesmithError(f"release: {other} and {entry.model.file} would both be the class {name}")


def _write_one(
    folder: Path, entry: AppModel, facts: ReleaseFacts, golden_images: int, package: str, metadata: bool
) -> tuple[str, ...]:
    model, refused = entry.model, refusal(entry.model, metadata=metadata)
    golden: tuple[str, ...] = ()
    if golden_images:
        golden = write_golden(folder, model.file, entry.test, entry.predicted, facts.labels, golden_images)
    snippets = write_snippets(folder, model, package, has_golden=bool(golden), task_library=not refused)
    wrapper, why_none = _wrapper(folder, model, package, refused)
    text = card(entry, facts, Belongings(golden, snippets, wrapper, why_none, task_library=not refused))
    path = f"{Path(model.file).stem}.md"
    atomic_write_bytes(folder / path, text.encode())
    return (path, *golden, *snippets, *wrapper)


def _wrapper(folder: Path, model: ReleaseModel, package: str, refused: str) -> tuple[tuple[str, ...], str]:
    """The wrapper's files, or none and the reason."""
    if refused:
        return (), refused
    try:
        return write_wrapper(folder, model, package), ""
    except ProcessError as error:
        return (), one_line(error)
