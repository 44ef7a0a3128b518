"""Opening a release store: a folder, or whatever fsspec reads. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path

from core.errors import UsageError, bad_value
from deploy.store.base import KINDS
from deploy.store.base import Missing as Missing
from deploy.store.base import Store as Store
from deploy.store.local import LocalStore


def open_store(url: str, must_exist: bool = False) -> Store:
    """The store at a folder or URL; nothing is written, and nothing is read but whether a folder is there.

    With `must_exist` a folder that is not there is refused, for whoever only reads. Raises UsageError naming --store
    for what cannot be a store, and one naming the package to install where a plug-in of fsspec is missing.
    """
    if not url or any(not character.isprintable() for character in url):
        raise bad_value("--store", url, KINDS)
    scheme, separator, rest = url.partition("://")
    if scheme == "file" and separator and not rest.startswith("/"):
        raise bad_value("--store", url, "file:// and a whole path, which begins with /")
    if not separator or scheme == "file":
        return _open_folder(url, Path(rest if separator else url), must_exist)
    if not scheme:
        raise bad_value("--store", url, KINDS)
    # fsspec takes 0.3 s to import, which a folder does not need.
    from deploy.store.remote import open_remote

    return open_remote(url)


def _open_folder(url: str, path: Path, must_exist: bool) -> Store:
    try:
        folder = path.expanduser().absolute()
        is_there, is_folder = folder.exists(), folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise bad_value("--store", url, KINDS) from error
    if is_there and not is_folder:
        raise UsageError(f"--store: {url!r} is a file; expected {KINDS}")
    if must_exist and not is_there:
        raise UsageError(f"--store: {url!r} is not there; expected {KINDS}")
    return LocalStore(folder)
