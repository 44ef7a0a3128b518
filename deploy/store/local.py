"""A release store in a folder of this computer: a lock, and writes that are whole or absent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.progress import Reporter
from core.workspace import TEMPORARY_PREFIX, atomic_write_bytes, committed_directory
from deploy.manifest import MANIFEST, RELEASE_ID
from deploy.store.base import CHUNK_BYTES, Missing, Store
from deploy.store.layout import LOCK, RELEASES


class LocalStore(Store):
    """A folder. Files and releases appear by rename after they are on disk; publishers take turns by a lock."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        super().__init__(os.path.normpath(folder))
        self.folder = Path(self.url)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file in pieces."""
        with self._told(path, "read"), open(self.folder / path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def size_bytes(self, path: str) -> int | None:
        """The size of a file; None if there is none."""
        with self._told(path, "read"):
            try:
                return (self.folder / path).stat().st_size if (self.folder / path).is_file() else None
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> tuple[str, ...]:
        """What is in a folder."""
        with self._told(folder, "read"):
            try:
                return tuple(sorted(os.listdir(self.folder / folder)))
            except FileNotFoundError:
                return ()

    def release_ids(self) -> tuple[str, ...]:
        """The IDs of all whole releases."""
        names = (name for name in self.names(RELEASES) if RELEASE_ID.fullmatch(name))
        return tuple(name for name in names if (self.folder / RELEASES / name / MANIFEST).is_file())

    def age_s(self, path: str) -> float | None:
        """The age of the newest file."""
        root = self.folder / path
        try:
            times = [root.stat().st_mtime, *(inner.stat().st_mtime for inner in root.rglob("*"))]
        except OSError:  # another process is at work in it
            return None
        return time.time() - max(times)

    def write(self, path: str, content: bytes) -> None:
        """By a temporary sibling, flushed to disk and renamed."""
        with self._told(path, "written"):
            self._make_folder((self.folder / path).parent)
            atomic_write_bytes(self.folder / path, content)

    def write_folder(self, path: str, files: Iterable[tuple[str, bytes]]) -> None:
        """All files appear at once, by the rename of a temporary folder."""
        with self._told(path, "written"):
            self._make_folder((self.folder / path).parent)
            with committed_directory(self.folder / path) as folder:
                for name, content in files:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)

    def remove(self, path: str) -> None:
        """A folder is first renamed, so that it goes at once and not file by file."""
        place = self.folder / path
        with self._told(path, "removed"):
            if place.is_dir() and not place.is_symlink():
                doomed = place.with_name(TEMPORARY_PREFIX + place.name.removeprefix(TEMPORARY_PREFIX))
                if doomed != place:
                    shutil.rmtree(doomed, ignore_errors=True)
                    place.rename(doomed)
                shutil.rmtree(doomed)
            else:
                place.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, reporter: Reporter) -> Iterator[None]:
        """The kernel frees the lock when its process dies, in whatever way."""
        with contextlib.ExitStack() as stack:
            with self._told(LOCK, "locked"):
                self._make_folder(self.folder)
                file = stack.enter_context(open(self.folder / LOCK, "w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    reporter.line(f"{self.url}: another process publishes; waiting for it to end")
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make_folder(self, folder: Path) -> None:
        """Makes a folder whose name is on disk as well."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _told(self, path: str, what: str) -> Iterator[None]:
        """Turns an error of the operating system into one line."""
        try:
            yield
        except (OSError, shutil.Error) as error:
            if isinstance(error, FileNotFoundError) and what not in ("locked", "written"):
                raise Missing(f"{self.named(path)}: is not there") from error
            kind = UsageError if what in ("locked", "written") and not self.folder.is_dir() else LitesmithError
            words = getattr(error, "strerror", None) or error
            raise kind(f"{self.named(path)}: cannot be {what} ({words})") from error
