"""What this computer has seen of a store's channels, so that an old channel file is noticed.

A signature tells who wrote a channel file, not when: whoever can serve an old one with its old signature can give
devices a model that was withdrawn. The sequence number of a channel only grows, so the highest one seen is kept under
$XDG_STATE_HOME (XDG Base Directory Specification), and in every pulled folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.spec_io import from_plain
from core.workspace import atomic_write_json, read_json


@dataclass(frozen=True, slots=True)
class Seen:
    """A channel as it was once seen: its sequence number and the SHA-256 of the manifest that it pointed to."""

    store: str
    channel: str
    sequence: int
    manifest_sha256: str


def state_folder() -> Path:
    """$XDG_STATE_HOME/litesmith, by default ~/.local/state/litesmith; the specification ignores relative paths."""
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".local" / "state") / "litesmith"


def state_file(store: str, channel: str) -> Path:
    """The file that keeps what was seen of a channel of the store at this URL."""
    return state_folder() / "channels" / f"{hashlib.sha256(f'{store} {channel}'.encode()).hexdigest()[:32]}.json"


def highest_seen(store: str, channel: str) -> Seen | None:
    """What the state file has of a channel. Raises LitesmithError if the file is damaged or cannot be read."""
    path = state_file(store, channel)
    try:
        return from_plain(Seen, read_json(path), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UsageError as error:
        raise LitesmithError(f"{error}; delete the file and run again") from error
    except OSError as error:
        raise LitesmithError(f"{path}: cannot be read ({error.strerror})") from error


def check_not_older(now: Seen, before: Seen | None, where: Path) -> None:
    """Raises LitesmithError if `now` is older than `before`, which the file `where` has, or is another release of the
    same number."""
    if before is None or now.sequence > before.sequence:
        return
    seen = f"{now.channel} of {now.store}"
    if now.sequence < before.sequence:
        raise LitesmithError(
            f"{seen} is rolled back: its sequence is {now.sequence}, and {before.sequence} was seen before; "
            f"if its owner says that this is right, delete {where} and pull into a new folder"
        )
    if now.manifest_sha256 != before.manifest_sha256:
        raise LitesmithError(
            f"{seen} was rewritten: its sequence {now.sequence} named another release before; "
            f"if its owner says that this is right, delete {where} and pull into a new folder"
        )


def remember(now: Seen) -> None:
    """Keeps the channel's state, unless a higher sequence is kept already. Raises OSError if that cannot be written."""
    path = state_file(now.store, now.channel)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path.parent):
        before = highest_seen(now.store, now.channel)
        if before is None or now.sequence > before.sequence:
            atomic_write_json(path, now)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process writes here; the kernel frees the lock of a process that dies."""
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
