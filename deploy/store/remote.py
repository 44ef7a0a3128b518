"""A release store behind a URL, by fsspec. Reads and writes are tried again where the network may be at fault.

Object stores (s3, gs, memory) write each object whole or not at all; servers that can rename (sftp) get a temporary
file and a rename. There is no lock: one publisher at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import posixpath
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import fsspec
import tenacity
from fsspec.core import url_to_fs

from core.errors import LitesmithError, UsageError, bad_value, one_line
from core.progress import Reporter
from core.workspace import TEMPORARY_PREFIX
from deploy.store.base import CHUNK_BYTES, KINDS, Missing, Store, public_url
from deploy.store.index_file import parse_index
from deploy.store.layout import INDEX, RELEASES, released

T = TypeVar("T")

ATTEMPTS = 4
READ_ONLY = ("http", "https")
RENAMING = ("sftp", "ssh")  # their rename replaces a file in one step
# Those whose folders must be made; the buckets of the others have none.
WITH_FOLDERS = ("sftp", "ssh", "ftp", "smb", "webdav", "webhdfs", "hdfs")
CONNECT_S = 10.0
SILENCE_S = 30.0

# PyPI's name of a module, where it is another one.
_PACKAGES = {"smbclient": "smbprotocol", "pyarrow.fs": "pyarrow", "pygit2": "pygit2", "js": "pyodide"}
# Errors that no second attempt mends.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


class RemoteStore(Store):
    """A store on a file system of fsspec; `root` is the store's path as that file system has it."""

    def __init__(self, url: str, fs: fsspec.AbstractFileSystem, root: str) -> None:
        super().__init__(public_url(url).rstrip("/"))
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
        self._fs, self._root = fs, root.rstrip("/")
        self._quotes = any(name in READ_ONLY for name in protocols)
        self.is_read_only = self._quotes
        self._renames = any(name in RENAMING for name in protocols)
        self._has_folders = any(name in WITH_FOLDERS for name in protocols)
        self._secret = urlsplit(url).password

    def read(self, path: str) -> bytes:
        """The content of a file."""
        content = self._try(path, "read", lambda: self._fs.cat_file(self._full(path)))
        return bytes(content)

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file in pieces."""
        options = {"block_size": 0} if self._quotes else {}  # one stream, not a request for each block
        with self._try(path, "read", lambda: self._fs.open(self._full(path), "rb", **options)) as file:
            while chunk := self._once(path, "read", lambda: file.read(CHUNK_BYTES)):
                yield bytes(chunk)

    def size_bytes(self, path: str) -> int | None:
        """The size of a file; None if there is none."""
        try:
            info = self._try(path, "read", lambda: self._fs.info(self._full(path)))
        except Missing:
            return None
        return int(info["size"] or 0) if info["type"] == "file" else None

    def names(self, folder: str) -> tuple[str, ...]:
        """What is in a folder."""
        try:
            paths = self._try(folder, "listed", lambda: self._fs.ls(self._full(folder), detail=False, refresh=True))
        except Missing:
            return ()
        names = {posixpath.basename(str(path).rstrip("/")) for path in paths}
        return tuple(sorted(names - {posixpath.basename(self._full(folder)), ""}))

    def release_ids(self) -> tuple[str, ...]:
        """The IDs of all whole releases."""
        if self.is_read_only:
            return tuple(
                sorted(entry.release_id for entry in parse_index(self.read(INDEX), self.named(INDEX)).releases)
            )
        found = (released(path) for path in self._files(RELEASES))
        return tuple(sorted(release_id for release_id in found if release_id is not None))

    def age_s(self, path: str) -> float | None:
        """The age of the newest file."""
        paths = self._files(path) or [path]
        try:
            times = [self._fs.modified(self._full(inner)) for inner in paths]
        except Exception:  # file systems that do not tell; what they raise then differs
            return None
        known = [time.replace(tzinfo=time.tzinfo or datetime.UTC) for time in times if time is not None]
        return (datetime.datetime.now(datetime.UTC) - max(known)).total_seconds() if known else None

    def write(self, path: str, content: bytes) -> None:
        """One object, or a temporary file and a rename."""
        self._refuse_read_only()
        self._try(path, "written", lambda: self._put(self._full(path), content))

    def write_folder(self, path: str, files: Iterable[tuple[str, bytes]]) -> None:
        """File by file."""
        for name, content in files:
            self.write(f"{path}/{name}", content)

    def remove(self, path: str) -> None:
        """Object by object."""
        self._refuse_read_only()
        with contextlib.suppress(Missing):
            self._try(path, "removed", lambda: self._fs.rm(self._full(path), recursive=True))

    @contextlib.contextmanager
    def locked(self, reporter: Reporter) -> Iterator[None]:
        """Only refuses stores that cannot be written: there is no lock."""
        self._refuse_read_only()
        yield

    def _put(self, full: str, content: bytes) -> None:
        if self._has_folders:
            self._fs.makedirs(posixpath.dirname(full), exist_ok=True)
        if not self._renames:
            self._fs.pipe_file(full, content)
            return
        temporary = posixpath.join(posixpath.dirname(full), TEMPORARY_PREFIX + posixpath.basename(full))
        self._fs.pipe_file(temporary, content)
        self._fs.mv(temporary, full)

    def _files(self, folder: str) -> list[str]:
        """All files in a folder at any depth, relative to the store."""
        try:
            paths = self._try(folder, "listed", lambda: self._fs.find(self._full(folder)))
        except Missing:
            return []
        start = len(self._full("")) if self._root else 0
        return [str(path)[start:] for path in paths]

    def _full(self, path: str) -> str:
        return f"{self._root}/{quote(path) if self._quotes else path}"

    def _refuse_read_only(self) -> None:
        if self.is_read_only:
            raise UsageError(f"--store: {self.url} can only be read; publish to the folder or bucket that it shows")

    def _try(self, path: str, what: str, work: Callable[[], T]) -> T:
        """`work`, again where that may help; what fails in the end is told in one line."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5, jitter=0.2),
            retry=tenacity.retry_if_exception(_may_pass),
            reraise=True,
        )
        return self._once(path, what, lambda: retrying(self._fresh(work)))

    def _fresh(self, work: Callable[[], T]) -> Callable[[], T]:
        """`work` without what fsspec remembers of folders: other processes write there too."""

        def run() -> T:
            self._fs.invalidate_cache()
            return work()

        return run

    def _once(self, path: str, what: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except FileNotFoundError as error:
            raise Missing(f"{self.named(path)}: is not there") from error
        except LitesmithError:
            raise
        except Exception as error:  # every file system has its own
            words = one_line(error)
            if self._secret:
                words = words.replace(self._secret, "***").replace(unquote(self._secret), "***")
            raise LitesmithError(f"{self.named(path)}: cannot be {what} ({words})") from error


def open_remote(url: str) -> RemoteStore:
    """The store at a URL that is no folder. Raises UsageError for a URL or protocol that cannot be one."""
    protocol = url.partition("://")[0]
    if protocol in READ_ONLY:
        _check_web_address(url)
    try:
        fs, root = url_to_fs(url, **_options(protocol))
    except ImportError as error:
        raise UsageError(f"--store: {public_url(url)}: needs the Python package {_package(error)}") from error
    except LitesmithError:
        raise
    except Exception as error:  # whatever a plug-in finds wrong with it, or its first connection fails
        unknown = isinstance(error, ValueError) and "not known" in str(error)
        if unknown:
            raise bad_value("--store", public_url(url), KINDS) from error
        raise UsageError(f"--store: {public_url(url)}: cannot be opened ({one_line(error)})") from error
    return RemoteStore(url, fs, root)


def _options(protocol: str) -> dict[str, Any]:
    if protocol not in READ_ONLY:
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}  # proxies by their usual variables


def _check_web_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        legal = bool(parts.hostname) and not parts.query and not parts.fragment and (parts.port or 1) > 0
    except ValueError:
        legal = False
    if not legal:
        raise bad_value("--store", url, "an address as http://HOST/FOLDER, with no ? or #")


def _package(error: ImportError) -> str:
    """PyPI's name of what a plug-in of fsspec lacks."""
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    module = cause.name or ""
    return _PACKAGES.get(module, module.partition(".")[0]) or one_line(error)


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed: no answer, or one that blames the server (5xx, 429)."""
    if isinstance(error, (LitesmithError, *_FINAL)) or not isinstance(error, Exception):
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status == 429
    return not isinstance(error, (TypeError, ValueError, NotImplementedError, AttributeError))
