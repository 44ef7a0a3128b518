"""Channels: small files that name the release to take, such as channels/latest.json.

Each change raises a channel's sequence number, so that whoever has seen a later one recognises a rollback.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.progress import Reporter, SilentReporter
from deploy.store.channel_values import Channel as Channel
from deploy.store.channel_values import channel_bytes, intact_channel, read_if_there
from deploy.store.channel_values import read_channel as read_channel
from deploy.store.channel_values import read_channels as read_channels
from deploy.store.filesystem import Store
from deploy.store.index import read_manifest_file, saved_index, update_index
from deploy.store.layout import channel_file, check_channel_name, manifest_file, signature_of
from deploy.store.signing import check_private_key, is_signed_by, joined, sign

HISTORY = 100


def set_channel(
    store: Store, name: str, release_id: str, sign_key: Path | None = None, reporter: Reporter | None = None
) -> Channel:
    """Points the channel `name` to a release of the store, and tells the index.

    A channel that points there already stays as it is. With `sign_key` the channel is signed. Raises UsageError for
    an illegal name, a release that is not there, a key that cannot be used, and for an unsigned change of a signed
    channel; LitesmithError if the release is not signed with the key.
    """
    check_may_change(store, name, sign_key)
    with store.locked(reporter or SilentReporter()):
        channel, _ = change_channel(store, name, release_id, sign_key)
        update_index(store)
        return channel


def check_may_change(store: Store, name: str, sign_key: Path | None) -> None:
    """Refuses early what `change_channel` would refuse: a bad name or key, an unsigned change of a signed channel."""
    path = channel_file(check_channel_name(name))
    if sign_key is not None:
        check_private_key(sign_key)
    elif not store.is_read_only and store.exists(path) and store.exists(signature_of(path)):
        raise UsageError(
            f"--sign_key: missing; the channel {name} of {store.url} is signed, and who pulls it may demand that"
        )


def change_channel(
    store: Store, name: str, release_id: str, sign_key: Path | None, made_here: bytes = b""
) -> tuple[Channel, bool]:
    """Points a channel to a whole release; the channel, and whether it changed. The lock must be held.

    A key signs only what its owner made: a manifest of the store that is not signed with it is signed only if it is
    `made_here`, byte for byte; else LitesmithError.
    """
    check_may_change(store, name, sign_key)
    _, manifest, signature = read_manifest_file(store, release_id)
    path = manifest_file(release_id)
    if sign_key is not None and not is_signed_by(manifest, signature, sign_key, path):
        if manifest != made_here:
            raise LitesmithError(
                f"{store.named(path)}: is not signed with {sign_key}, and a key signs only what is made here"
            )
        store.write(signature_of(path), joined(sign(manifest, sign_key), signature, path))
    sha256 = hashlib.sha256(manifest).hexdigest()
    before, sequence = last_channel(store, name)
    if before is not None and (before.release, before.manifest_sha256) == (release_id, sha256):
        if sign_key is not None:
            _sign_channel(store, name, sign_key)
        return before, False
    history = (before.release, *before.history)[:HISTORY] if before else ()
    updated = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    after = Channel(name, sequence + 1, release_id, sha256, updated, history)
    write_channel(store, after, sign_key)
    return after, True


def write_channel(store: Store, channel: Channel, sign_key: Path | None) -> None:
    """Writes a channel's file. The lock must be held. Raises LitesmithError if its sequence would not grow.

    The old content's signatures stay beside the new one's until the new content is in place, so that a reader finds a
    valid one at any moment, even if this process is killed.
    """
    path = channel_file(channel.channel)
    _, sequence = last_channel(store, channel.channel)
    if channel.sequence <= sequence:
        raise LitesmithError(
            f"{store.named(path)}: sequence {channel.sequence} would be a rollback; the channel is at {sequence}"
        )
    content = channel_bytes(channel)
    if sign_key is None:
        if store.exists(signature_of(path)):  # of a file that is lost or was never written
            store.remove(signature_of(path))
        store.write(path, content)
        return
    old = read_if_there(store, signature_of(path))
    store.write(signature_of(path), joined(sign(content, sign_key), old, path))
    store.write(path, content)
    _sign_channel(store, channel.channel, sign_key)


def _sign_channel(store: Store, name: str, sign_key: Path) -> None:
    """Makes the signature file hold the key's signature of the channel as it is, and no other."""
    path = channel_file(name)
    signature = sign(store.read(path), sign_key)
    if read_if_there(store, signature_of(path)) != signature:
        store.write(signature_of(path), signature)


def last_channel(store: Store, name: str) -> tuple[Channel | None, int]:
    """The channel as it is (None if it is absent or damaged), and the last sequence number that is known of it."""
    channel = intact_channel(store, name)
    saved = saved_index(store)
    noted = ((saved and saved.channels) or {}).get(name)
    return channel, max(channel.sequence if channel else 0, noted.sequence if noted else 0)
