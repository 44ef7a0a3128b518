"""The folder that a pull makes: whole or not at all, and never in place of anything but an earlier pull."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.spec_io import from_plain
from core.workspace import TEMPORARY_PREFIX, committed_directory, read_json
from deploy.manifest import MANIFEST
from deploy.store.layout import signature_of

RECORD = "pulled.json"
# What file managers and Python leave in a folder unasked; it goes with the folder.
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__")


@dataclass(frozen=True, slots=True)
class Pulled:
    """pulled.json: where the files of a folder came from.

    Attributes:
      store: its URL.
      release: the ID.
      channel: that was asked for, "" where it was an ID; `sequence` is then 0.
      manifest_sha256: of manifest.json as it is in the store.
      model: the file name of the model that was taken; `why` as it was told.
      files: all that was downloaded, relative to the folder.
    """

    store: str
    release: str
    channel: str
    sequence: int
    manifest_sha256: str
    model: str
    why: str
    files: tuple[str, ...]


def usable(out: Path) -> tuple[Path, Pulled | None]:
    """The folder's real path, and the record of the earlier pull that is in it.

    Raises UsageError if it is there and holds anything but an earlier pull.
    """
    path = Path(os.path.realpath(out))
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return path, None
    except OSError as error:
        raise UsageError(f"--out: {out} is no folder that can be replaced ({error.strerror})") from error
    if path == Path(os.path.realpath(os.curdir)):
        raise UsageError(f"--out: {out} is the folder that you are in, which cannot be replaced; name one in it")
    if not names:
        return path, None
    before = earlier_pull(path)
    if before is None:
        raise UsageError(
            f"--out: {out} holds {names[0]} and no {RECORD}; expected a new or empty folder, or an earlier pull"
        )
    strange = sorted(_strange(path, before))
    if strange:
        raise UsageError(f"--out: {out} holds {strange[0]}, which no pull wrote and which would be lost; move it")
    return path, before


def earlier_pull(folder: Path) -> Pulled | None:
    """The record in a folder; None if there is none that can be read."""
    try:
        return from_plain(Pulled, read_json(folder / RECORD), RECORD)
    except (OSError, LitesmithError):
        return None


@contextlib.contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` for this process alone, removed at the end; those that killed pulls left are removed too.

    Raises UsageError if it cannot be made.
    """
    prefix = f"{TEMPORARY_PREFIX}pull-{out.name}-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _held(out.parent):
            for left in out.parent.glob(f"{glob.escape(prefix)}*"):
                with contextlib.suppress(BlockingIOError), _held(left, wait=False):
                    shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
            hold = contextlib.ExitStack()
            hold.enter_context(_held(folder))
    except OSError as error:
        raise UsageError(f"--out: {out} cannot be made ({error.strerror}); expected a folder's path") from error
    with hold:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def commit(folder: Path, out: Path) -> None:
    """Makes `out` of the files in a working folder by rename, in place of what `usable` has allowed."""
    with _held(out.parent), committed_directory(out) as whole:
        for name in os.listdir(folder):
            os.replace(folder / name, whole / name)


def _strange(folder: Path, before: Pulled) -> Iterator[str]:
    """The files in a pulled folder that no pull wrote."""
    ours = {*before.files, RECORD, MANIFEST, signature_of(MANIFEST)}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and str(relative) not in ours and not set(relative.parts) & set(LITTER):
            yield str(relative)


@contextlib.contextmanager
def _held(folder: Path, wait: bool = True) -> Iterator[None]:
    """Holds a folder against other pulls; a file system that cannot lock folders (NFS) goes without.

    Raises BlockingIOError if another process holds it and we do not `wait`.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)
