"""The values of a store's index.json, which tells those who cannot list a store what is in it.

It is derived from the manifests and channels, can be made again at any time, and is never trusted for checksums.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from core.errors import LitesmithError, UsageError, one_line
from core.spec_io import from_plain, to_plain
from deploy.manifest import RELEASE_ID, Manifest, ReleaseLatency, ReleaseModel, check_printable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class IndexModel:
    """A model in the index; accuracy is a fraction, sizes are bytes."""

    file: str
    recipe: str
    scheme: str
    size_bytes: int
    zipped_bytes: int
    test_accuracy: float
    latency: tuple[ReleaseLatency, ...] = ()
    winner: int = 0


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A release in the index.

    Attributes:
      release_id: its folder's name.
      release: the name that it shares with the ones before and after it.
      created: when, as ISO 8601 text in UTC.
      manifest_sha256: of the manifest that this was taken from, which tells whether it is of the one that is there now.
      channels: the names of the channels that point to it, sorted.
    """

    release_id: str
    release: str
    created: str
    key: str
    manifest_sha256: str
    models: tuple[IndexModel, ...]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexChannel:
    """Where a channel points, and how often it has changed."""

    release: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Index:
    """A whole index; `releases` are newest first."""

    releases: tuple[IndexEntry, ...] = ()
    channels: dict[str, IndexChannel] | None = None
    format: int = FORMAT


def index_model(model: ReleaseModel) -> IndexModel:
    """The figures of a model that an index tells, and a history of releases."""
    return IndexModel(**{entry.name: getattr(model, entry.name) for entry in fields(IndexModel)})


def entry_of(manifest: Manifest, sha256: str) -> IndexEntry:
    """What the index says of a release, but for its channels."""
    models = tuple(index_model(model) for model in manifest.artifacts)
    return IndexEntry(manifest.release_id, manifest.release, manifest.created, manifest.key, sha256, models)


def make_index(entries: list[IndexEntry], channels: Mapping[str, IndexChannel]) -> Index:
    """The index of these releases, newest first, each with the channels that point to it."""
    ordered = sorted(entries, key=lambda entry: (entry.created, entry.release_id), reverse=True)
    named = tuple(replace(entry, channels=_pointing(channels, entry.release_id)) for entry in ordered)
    return Index(named, {name: channels[name] for name in sorted(channels)})


def index_bytes(index: Index) -> bytes:
    """The file's content; equal indexes have equal bytes."""
    return (json.dumps(to_plain(index), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_index(content: bytes, where: str) -> Index:
    """The index in `content`. Raises LitesmithError naming `where` if it is damaged or of a later format."""
    try:
        plain = json.loads(content, parse_constant=_no_constant)
        check_printable(plain)
        if isinstance(plain, dict) and plain.get("format") != FORMAT:
            raise UsageError(f"format {plain.get('format')!r}, expected {FORMAT}")
        index = from_plain(Index, plain, "index")
        illegal = [entry.release_id for entry in index.releases if not RELEASE_ID.fullmatch(entry.release_id)]
        if illegal:
            raise UsageError(f"{illegal[0]!r} is no legal ID of a release")
    except (UsageError, ValueError, RecursionError) as error:
        raise LitesmithError(f"{where}: damaged index ({one_line(error)}); `release rebuild` makes it again") from error
    return index


def _pointing(channels: Mapping[str, IndexChannel], release_id: str) -> tuple[str, ...]:
    return tuple(sorted(name for name, channel in channels.items() if channel.release == release_id))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
