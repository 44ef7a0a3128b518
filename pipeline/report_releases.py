"""What a run knows of the releases before it: stage "previous" writes it, the report reads it. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.spec_io import from_plain
from core.workspace import read_json
from deploy.changes import Change
from deploy.manifest import Manifest
from deploy.store.index_file import IndexModel

PREVIOUS = "previous.json"


@dataclass(frozen=True, slots=True)
class PastRelease:
    """An earlier release's figures; `created` is ISO 8601 text."""

    release_id: str
    created: str
    models: tuple[IndexModel, ...]


@dataclass(frozen=True, slots=True)
class PreviousRelease:
    """The release that the channel named when the run began.

    Attributes:
      changes: how this run's models differ from it, with the gates' verdicts.
      history: the releases before this run, oldest first.
    """

    release_id: str
    manifest: Manifest
    changes: tuple[Change, ...]
    history: tuple[PastRelease, ...] = ()


def read_previous(folder: Path) -> PreviousRelease | None:
    """What stage "previous" found; None if the channel had no release."""
    path = folder / PREVIOUS
    return from_plain(PreviousRelease | None, read_json(path), PREVIOUS) if path.exists() else None  # type: ignore[arg-type]
