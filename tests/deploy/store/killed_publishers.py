"""Publishers that are killed. A program of its own, so that it forks without TensorFlow's threads.

`python -m tests.deploy.store.killed_publishers KIND MOST RELEASE REPORT KEY BASE OUT` publishes RELEASE to copies of
the store BASE: to OUT/whole undisturbed, and to OUT/N, for about MOST numbers N that are spread over all, by
a process that ends itself with SIGKILL just before its N-th change to the file system. A file that was not yet flushed
to disk then loses its second half.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from core.progress import SilentReporter
from deploy.store.filesystem import Store
from deploy.store.local import LocalStore
from deploy.store.publish import publish
from deploy.store.remote import RemoteStore

CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Server(LocalFileSystem):
    """A server that can rename, as sftp's: a file that is being written is seen half written."""

    protocol = "sftp"


class ObjectStore(LocalFileSystem):
    """An object store: each object appears whole, and there are no folders to make."""

    protocol = "s3"
    on_change: Callable[[], None] | None = None

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Puts an object; between two of them the process may die."""
        if ObjectStore.on_change is not None:
            ObjectStore.on_change()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(value)


def store_of(kind: str, folder: Path) -> Store:
    """A store in a folder that behaves as a folder, as a server or as an object store."""
    if kind == "folder":
        return LocalStore(folder)
    folder.mkdir(exist_ok=True)
    fs = Server() if kind == "server" else ObjectStore()
    return RemoteStore(f"{fs.protocol}://host/bucket", fs, str(folder))


class Counter:
    """Counts the changes to the file system, and kills this process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.count, self._kill_at = 0, kill_at

    def change(self, descriptor: int | None = None) -> None:
        """One change is about to be made."""
        if self.count == self._kill_at:
            if descriptor is not None and fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def watch(self, kind: str) -> None:
        """Counts from now on."""
        if kind == "object store":
            ObjectStore.on_change = self.change
            return
        os.fsync = self.change  # type: ignore[assignment]  # no power is cut here, so nothing need be flushed
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_writing = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        if event in CHANGES or is_writing:
            self.change()


def main() -> None:
    """Publishes undisturbed, then with kills."""
    kind, most = sys.argv[1], int(sys.argv[2])
    release, report, key, base, out = (Path(name) for name in sys.argv[3:])

    def run(name: str, kill_at: int | None) -> tuple[int, int]:
        """A publish in a process of its own: its signal or exit code, and the changes that it made."""
        shutil.copytree(base, out / name)
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            counter = Counter(kill_at)
            counter.watch(kind)
            publish(release, report, store_of(kind, out / name), "latest", key, SilentReporter())
            os.write(writing, str(counter.count).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(process, 0)
        text = os.read(reading, 20).decode()
        os.close(reading)
        return os.waitstatus_to_exitcode(status), int(text or 0)

    code, changes = run("whole", None)
    numbers = range(0, changes, max(1, changes // most))
    print(code, *(f"{number}:{run(str(number), number)[0]}" for number in numbers))


if __name__ == "__main__":
    main()
