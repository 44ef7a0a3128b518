"""From what a user names, a channel or an ID, to the release that it means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import LitesmithError, UsageError
from deploy.manifest import RELEASE_ID, Manifest
from deploy.store.channel_values import Channel, read_channel
from deploy.store.filesystem import Store
from deploy.store.index import read_index, read_manifest_file
from deploy.store.layout import CHANNEL_NAME, INDEX, channel_file, manifest_file
from deploy.store.signing import public_key_id

DEFAULT_CHANNELS = ("stable", "latest")
SHOWN = 5  # releases in an error's words


@dataclass(frozen=True, slots=True)
class Resolved:
    """A release: its manifest as a value and as the store's bytes, with its signature; and the channel that was asked
    for, None where it was an ID."""

    manifest: Manifest
    content: bytes
    signature: bytes | None
    channel: Channel | None

    @property
    def release_id(self) -> str:
        """The release's ID."""
        return self.manifest.release_id


def resolve(store: Store, asked: str | None, public_key: Path | None, where: str) -> Resolved:
    """The release that `asked` means; None asks for the first of DEFAULT_CHANNELS that the store has.

    With a public key the channel and the manifest must be signed. The index is read only for the words of an error, so
    a damaged one is no hindrance.

    Raises UsageError naming `where` if there is no such release, LitesmithError if what is there is damaged, not
    signed, or not what the channel points to.
    """
    if public_key is not None:
        public_key_id(public_key)
    for name in DEFAULT_CHANNELS if asked is None else (asked,):
        channel = read_channel(store, name, public_key) if CHANNEL_NAME.fullmatch(name) else None
        if channel is not None:
            return _of_channel(store, channel, public_key)
    if asked is None:
        missing = f"missing, and {store.url} has no channel {' or '.join(DEFAULT_CHANNELS)}"
        raise UsageError(f"{where}: {missing}; {_there(store)}")
    if RELEASE_ID.fullmatch(asked) and store.exists(manifest_file(asked)):
        return Resolved(*read_manifest_file(store, asked, public_key), channel=None)
    raise UsageError(f"{where}: {store.url} has no channel or release {asked!r}; {_there(store)}")


def _of_channel(store: Store, channel: Channel, public_key: Path | None) -> Resolved:
    if not store.exists(manifest_file(channel.release)):
        name = store.named(channel_file(channel.channel))
        raise LitesmithError(f"{name}: points to {channel.release}, which is not in the store whole")
    found = read_manifest_file(store, channel.release, public_key, channel.manifest_sha256)
    return Resolved(*found, channel=channel)


def _there(store: Store) -> str:
    """The newest releases that there are, in words."""
    if store.is_read_only and not store.exists(INDEX):
        return f"it has no {INDEX} either; is it the address of a release store?"
    try:
        entries = read_index(store)
    except LitesmithError:
        return "its index cannot be read"
    names = [" = ".join((entry.release_id, *entry.channels)) for entry in entries[:SHOWN]]
    more = f", and {len(entries) - SHOWN} older" if len(entries) > SHOWN else ""
    return f"it has {', '.join(names)}{more}" if names else "it has no releases"
