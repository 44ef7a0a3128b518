"""A release store: one interface over a local folder and whatever fsspec reads. No TensorFlow here.

Paths are relative to the store (deploy.store.layout). What each kind of store guarantees is told in docs/releases.md.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit, urlunsplit

from core.errors import LitesmithError
from core.progress import Reporter

CHUNK_BYTES = 1 << 20
KINDS = "a folder, or a URL of file, memory, http, https, s3, gs, sftp or another file system of fsspec"


class Missing(LitesmithError):
    """A file that the store does not have."""


class Store(abc.ABC):
    """A release store.

    Attributes:
      url: the store for people and records: of a folder its absolute path, of a URL without its password.
      is_local: a folder of this computer, where all that is guaranteed holds.
      is_read_only: http and https; what is in such a store is told by its index alone, for it cannot be listed.
    """

    is_local = False
    is_read_only = False

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abc.abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file. Raises Missing, or LitesmithError in one line if it cannot be read."""

    @abc.abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file in pieces of at most 1 MiB; raises as `read` does, also in the middle of a file."""

    @abc.abstractmethod
    def size_bytes(self, path: str) -> int | None:
        """The size of a file; None if there is none."""

    @abc.abstractmethod
    def names(self, folder: str) -> tuple[str, ...]:
        """The names of the files and folders in `folder`, sorted; none if it is not there."""

    @abc.abstractmethod
    def release_ids(self) -> tuple[str, ...]:
        """The IDs of all whole releases (those with a manifest), sorted."""

    @abc.abstractmethod
    def age_s(self, path: str) -> float | None:
        """The seconds since the newest file in a folder, or the file, was written; None if that cannot be told."""

    @abc.abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Writes a file, whole or not at all, over one that is there."""

    @abc.abstractmethod
    def write_folder(self, path: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Writes a folder of files, in their order: the last one is there only when all others are."""

    @abc.abstractmethod
    def remove(self, path: str) -> None:
        """Removes a file or a folder with all in it; nothing happens if it is not there."""

    @abc.abstractmethod
    def locked(self, reporter: Reporter) -> contextlib.AbstractContextManager[None]:
        """Keeps other publishers out; waits for one that is at work. Stores that are not local have no lock."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.size_bytes(path) is not None

    def named(self, path: str) -> str:
        """A file of the store, for messages."""
        return f"{self.url}/{path}"


def public_url(url: str) -> str:
    """A URL without the password in it, for messages and records."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))
