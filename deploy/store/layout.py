"""Where everything is in a release store, as paths relative to it with "/" between folders."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from core.errors import bad_value
from deploy.manifest import MANIFEST, RELEASE_ID

RELEASES = "releases"
CHANNELS = "channels"
INDEX = "index.json"
LOCK = ".lock"
SIGNATURE_SUFFIX = ".sig"
REPORT = "report"

CHANNEL_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")


def check_channel_name(name: str, where: str = "--channel") -> str:
    """`name`. Raises UsageError naming `where` if it cannot be a channel's."""
    if not CHANNEL_NAME.fullmatch(name):
        raise bad_value(where, name, "a channel: small letters, digits, '.', '_' and '-', at most 64, no '.' first")
    return name


def check_release_id(release_id: str, where: str = "--release") -> str:
    """`release_id`. Raises UsageError naming `where` if it cannot be one, such as a path."""
    if not RELEASE_ID.fullmatch(release_id):
        raise bad_value(where, release_id, "the ID of a release, such as NAME-20260131T120000Z-1a2b3c4d")
    return release_id


def release_folder(release_id: str) -> str:
    """The folder of a release. Raises UsageError for an illegal ID."""
    return f"{RELEASES}/{check_release_id(release_id)}"


def release_file(release_id: str, path: str) -> str:
    """A file of a release; `path` is one of its manifest's (deploy.manifest.safe_path holds for it)."""
    return f"{release_folder(release_id)}/{path}"


def manifest_file(release_id: str) -> str:
    """The manifest of a release."""
    return release_file(release_id, MANIFEST)


def channel_file(name: str) -> str:
    """The file of a channel. Raises UsageError for an illegal name."""
    return f"{CHANNELS}/{check_channel_name(name)}.json"


def signature_of(path: str) -> str:
    """The file of another file's signature."""
    return path + SIGNATURE_SUFFIX


def released(path: str) -> str | None:
    """The ID of the release whose manifest `path` is; None for any other path."""
    parts = PurePosixPath(path).parts
    is_manifest = len(parts) == 3 and parts[0] == RELEASES and parts[2] == MANIFEST
    return parts[1] if is_manifest and RELEASE_ID.fullmatch(parts[1]) else None
