"""Files that are either whole or absent, whatever kills the process.

Everything is written to a temporary sibling, flushed to disk, and renamed into place. Names of temporaries begin with
`.tmp-`, so what a killed process left behind is recognised and removed by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from core.errors import LitesmithError, UsageError, one_line
from core.spec_io import to_plain

TEMPORARY_PREFIX = ".tmp-"
_LOCK_AGAIN_S = 0.1  # `is_locked` holds a lock for less than a millisecond; that is no other process at work


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Writes a file by rename; an OSError (a full disk, say) leaves the old file as it was."""
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def atomic_write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON by rename."""
    atomic_write_bytes(path, (json.dumps(to_plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises LitesmithError naming the file if it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text at all
        raise LitesmithError(f"{path}: damaged JSON ({one_line(error)}); delete it and run again") from error


@contextlib.contextmanager
def committed_directory(final: Path) -> Iterator[Path]:
    """A directory to fill that appears as `final` only if the block ends without an error.

    An existing `final` is replaced. All files are flushed before the rename.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _fsync_tree(temporary)
        if final.exists():
            old = final.with_name(f"{TEMPORARY_PREFIX}old-{final.name}")
            shutil.rmtree(old, ignore_errors=True)
            os.replace(final, old)
            try:
                os.replace(temporary, final)
            except OSError:
                os.replace(old, final)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _fsync_directory(final.parent)


def remove_temporaries(root: Path) -> None:
    """Removes what killed writers left below `root`. Only safe while the lock of the workspace is held."""
    for path in sorted(root.rglob(f"{TEMPORARY_PREFIX}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class AppendLog:
    """A JSON-lines file that only grows; each record is on disk before `append` returns.

    A last line that a killed writer left unfinished is ignored when reading and cut off before the next append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole records, oldest first. Raises LitesmithError if a line before the last is damaged."""
        if not self.path.exists():
            return []
        whole = self._whole_bytes(self.path.read_bytes())
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            record = _record(line)
            if record is None:
                raise LitesmithError(
                    f"{self.path}:{number}: damaged record; delete this line and all after it, then run again"
                )
            records.append(record)
        return records

    def append(self, record: Any) -> None:
        """Adds one record durably."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(to_plain(record), sort_keys=True, allow_nan=False) + "\n"
        with open(self.path, "ab+") as file:
            self._cut_torn_line(file)
            is_new = file.seek(0, os.SEEK_END) == 0
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _fsync_directory(self.path.parent)

    @staticmethod
    def _whole_bytes(data: bytes) -> bytes:
        return data[: data.rfind(b"\n") + 1]

    def _cut_torn_line(self, file: IO[bytes]) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"\n", b""):  # the usual case, without reading a long log
            return
        file.seek(0)
        data = file.read()
        whole = len(self._whole_bytes(data))
        if whole != len(data):
            file.truncate(whole)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the workspace for one process; the kernel frees the lock when the process dies.

    Raises UsageError if another process holds it.
    """
    with open(root / ".lock", "w") as file:
        if not _taken(file):
            time.sleep(_LOCK_AGAIN_S)
            if not _taken(file):
                raise UsageError(f"{root} is in use by another litesmith process; wait for it to end")
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(root: Path) -> bool:
    """Whether a process holds the workspace now; True also where that cannot be asked."""
    try:
        with open(root / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that ask do not see each other
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception says that the disk or the quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None if it is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}")


def _fsync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root):
        for name in files:
            descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _fsync_directory(Path(directory))


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
