"""The index of a store, and the manifests of its releases."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.progress import Reporter, SilentReporter
from deploy.manifest import Manifest, parse_manifest
from deploy.store.channel_values import read_channels, read_if_there
from deploy.store.filesystem import Missing, Store
from deploy.store.index_file import Index, IndexChannel, entry_of, index_bytes, make_index, parse_index
from deploy.store.index_file import IndexEntry as IndexEntry
from deploy.store.index_file import IndexModel as IndexModel
from deploy.store.layout import INDEX, manifest_file, signature_of
from deploy.store.recover import clean
from deploy.store.signing import check_signature


def read_index(store: Store) -> tuple[IndexEntry, ...]:
    """All whole releases, newest first.

    Where the store can be listed, this is what is in it now, even if the index is old, damaged or absent. A store of
    http is as its index.json says; LitesmithError if that is absent or damaged.
    """
    if not store.is_read_only:
        return _current(store, saved_index(store)).releases
    try:
        return parse_index(store.read(INDEX), store.named(INDEX)).releases
    except Missing as error:
        raise LitesmithError(
            f"{store.named(INDEX)}: is not there; expected a release store, whose index `release rebuild` makes"
        ) from error


def rebuild(store: Store, reporter: Reporter | None = None) -> tuple[IndexEntry, ...]:
    """Makes the index again from all manifests and channels; removes what killed publishers left.

    Raises UsageError for a store that can only be read.
    """
    reporter = reporter or SilentReporter()
    with store.locked(reporter):
        for name in clean(store):
            reporter.line(f"removed {store.named(name)}, which a killed publisher left")
        index = _current(store, None, reporter)
        saved = saved_index(store)
        store.write(INDEX, index_bytes(_with_lost_channels(index, saved)))
    return index.releases


def update_index(store: Store) -> None:
    """Brings the index up to date after a change; the lock must be held."""
    saved = saved_index(store)
    content = index_bytes(_with_lost_channels(_current(store, saved), saved))
    if read_if_there(store, INDEX) != content:
        store.write(INDEX, content)


def saved_index(store: Store) -> Index | None:
    """The index as it was written last; None if it is absent or damaged."""
    content = read_if_there(store, INDEX)
    try:
        return None if content is None else parse_index(content, store.named(INDEX))
    except LitesmithError:
        return None


def whole_release(store: Store, release_id: str, reporter: Reporter | None = None) -> Manifest | None:
    """The manifest of a release; None if it has none, or a damaged one, of which the reporter is told."""
    return _intact(store, release_id, read_if_there(store, manifest_file(release_id)), reporter)


def read_release(store: Store, release_id: str, public_key: Path | None = None) -> Manifest:
    """The manifest of a release; see `read_manifest_file`."""
    return read_manifest_file(store, release_id, public_key)[0]


def read_manifest_file(
    store: Store, release_id: str, public_key: Path | None = None, sha256: str = ""
) -> tuple[Manifest, bytes, bytes | None]:
    """The manifest of a release, the bytes of its file, and those of its signature (None if it has none).

    Args:
      public_key: where given, the signature must be this key's.
      sha256: where given, of the manifest's bytes, as a channel tells it.

    Raises UsageError if there is no such release, LitesmithError if its manifest is damaged, another release's, or
    not signed as demanded.
    """
    where = store.named(manifest_file(release_id))
    try:
        content = store.read(manifest_file(release_id))
    except Missing as error:
        raise UsageError(f"--release: {store.url} has no release {release_id!r}; {_known(store)}") from error
    signature = read_if_there(store, signature_of(manifest_file(release_id)))
    if public_key is not None:
        check_signature(content, signature, public_key, where)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise LitesmithError(f"{where}: is not the manifest that the channel names (its SHA-256 is another)")
    return _own_manifest(content, release_id, where), content, signature


def _intact(store: Store, release_id: str, content: bytes | None, reporter: Reporter | None) -> Manifest | None:
    """The manifest in `content`; None if there is none or it is damaged, of which the reporter is told."""
    try:
        return None if content is None else _own_manifest(content, release_id, store.named(manifest_file(release_id)))
    except LitesmithError as error:
        if reporter is not None:
            reporter.line(f"passed over: {error}")
        return None


def _own_manifest(content: bytes, release_id: str, where: str) -> Manifest:
    """The manifest in `content`. Raises LitesmithError if it is damaged or another release's."""
    manifest = parse_manifest(content, where)
    if manifest.release_id != release_id:
        raise LitesmithError(f"{where}: it is the manifest of another release, {manifest.release_id}")
    return manifest


def _current(store: Store, saved: Index | None, reporter: Reporter | None = None) -> Index:
    """The index of what is in the store.

    Manifests that `saved` has are not parsed again, and but for a folder's not even read: releases do not change.
    """
    known = {entry.release_id: entry for entry in (saved.releases if saved else ())}
    entries = [_entry(store, release_id, known.get(release_id), reporter) for release_id in store.release_ids()]
    channels = {name: IndexChannel(value.release, value.sequence) for name, value in read_channels(store).items()}
    return make_index([entry for entry in entries if entry is not None], channels)


def _entry(store: Store, release_id: str, known: IndexEntry | None, reporter: Reporter | None) -> IndexEntry | None:
    """What the index is to say of a release; None if its manifest is damaged."""
    if known is not None and not store.is_local:
        return known
    content = read_if_there(store, manifest_file(release_id))
    sha256 = hashlib.sha256(content or b"").hexdigest()
    if known is not None and known.manifest_sha256 == sha256:
        return known
    manifest = _intact(store, release_id, content, reporter)
    return None if manifest is None else entry_of(manifest, sha256)


def _with_lost_channels(index: Index, saved: Index | None) -> Index:
    """`index` with the sequence numbers of channels whose files are lost, so that they go on where they were."""
    return Index(index.releases, {**((saved and saved.channels) or {}), **(index.channels or {})})


def _known(store: Store) -> str:
    """The releases that there are, in words."""
    try:
        ids = [entry.release_id for entry in read_index(store)]
    except LitesmithError:
        return "its index cannot be read"
    return f"it has {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}" if ids else "it has none"
