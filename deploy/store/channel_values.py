"""What a channel's file says, and reading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import LitesmithError, UsageError, one_line
from core.spec_io import from_plain, to_plain
from deploy.manifest import RELEASE_ID, SHA256
from deploy.store.filesystem import Missing, Store
from deploy.store.layout import CHANNEL_NAME, CHANNELS, channel_file, signature_of
from deploy.store.signing import check_signature

# A reader may come between the two files of a change; by its second look the change is over.
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a channel points.

    Attributes:
      sequence: grows by one with each change, from 1; a smaller one than was seen before is a rollback.
      manifest_sha256: of the release's manifest.json, as it is in the store.
      updated: when, as ISO 8601 text in UTC.
      history: the releases it pointed to before, newest first.
    """

    channel: str
    sequence: int
    release: str
    manifest_sha256: str
    updated: str
    history: tuple[str, ...] = ()


def channel_bytes(channel: Channel) -> bytes:
    """The file's content, which is what is signed."""
    return (json.dumps(to_plain(channel), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_channel(content: bytes, name: str, where: str) -> Channel:
    """The channel `name` in `content`. Raises LitesmithError naming `where` if it is damaged or another channel's."""
    try:
        channel = from_plain(Channel, json.loads(content), "channel")
        if channel.sequence < 1:
            raise UsageError(f"sequence {channel.sequence}, expected 1 or more")
        for release_id in (channel.release, *channel.history):
            if not RELEASE_ID.fullmatch(release_id):
                raise UsageError(f"{release_id!r} is no legal ID of a release")
        if not SHA256.fullmatch(channel.manifest_sha256):
            raise UsageError("manifest_sha256 is no SHA-256")
    except (UsageError, ValueError, RecursionError) as error:
        raise LitesmithError(f"{where}: damaged channel ({one_line(error)})") from error
    if channel.channel != name:
        raise LitesmithError(f"{where}: it is the file of the channel {channel.channel!r}, not of {name!r}")
    return channel


def read_channel(store: Store, name: str, public_key: Path | None = None) -> Channel | None:
    """The channel `name`; None if the store has none.

    With `public_key` its signature is checked. Raises UsageError for an illegal name, LitesmithError if the file is
    damaged, unsigned or signed with another key.
    """
    path = channel_file(name)
    content = read_if_there(store, path)
    for looks_left in reversed(range(_LOOKS)):
        if content is None:
            return None
        try:
            if public_key is not None:
                check_signature(content, read_if_there(store, signature_of(path)), public_key, store.named(path))
            break
        except UsageError:
            raise
        except LitesmithError:
            before, content = content, read_if_there(store, path)
            if content == before or not looks_left:
                raise
    return None if content is None else parse_channel(content, name, store.named(path))


def read_channels(store: Store) -> dict[str, Channel]:
    """All channels of a store that can be listed, by name; damaged ones are left out."""
    found = {}
    for file in store.names(CHANNELS):
        name = file.removesuffix(".json")
        if name == file or not CHANNEL_NAME.fullmatch(name):
            continue
        channel = intact_channel(store, name)
        if channel is not None:
            found[name] = channel
    return found


def intact_channel(store: Store, name: str) -> Channel | None:
    """The channel `name`, its signature unchecked; None if it is absent or damaged."""
    path = channel_file(name)
    content = read_if_there(store, path)
    try:
        return None if content is None else parse_channel(content, name, store.named(path))
    except LitesmithError:
        return None


def read_if_there(store: Store, path: str) -> bytes | None:
    """The content of a file; None if there is none."""
    try:
        return store.read(path)
    except Missing:
        return None
