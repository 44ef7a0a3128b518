"""What the tests of the store share: stores to compare, and the checks of a reader."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from core.errors import LitesmithError
from core.progress import SilentReporter
from deploy.store.channels import Channel, read_channel
from deploy.store.filesystem import Store
from deploy.store.index import read_index, read_manifest_file
from deploy.store.layout import release_file
from deploy.store.publish import Published, publish
from tests.deploy.store.pull_samples import write, write_release


def release(tmp_path: Path, day: int) -> Path:
    """The folder of a release that is made on that day of the month, with a report beside it."""
    folder = tmp_path / f"work{day}" / "release"
    if not folder.exists():
        write_release(folder, day)
        write(folder.parent / "report" / "index.html", f"<h1>{day}</h1>".encode())
        write(folder.parent / "report" / "summary.md", f"# {day}\n".encode())
    return folder


def put(store: Store, folder: Path, channel: str = "latest", key: Path | None = None) -> Published:
    """Publishes a folder of `release`, with its report."""
    return publish(folder, folder.parent / "report", store, channel, key, SilentReporter())


def pointed(store: Store, name: str, public_key: Path | None = None) -> Channel:
    """The channel, which must be there and point to a whole release."""
    channel = read_channel(store, name, public_key)
    assert channel is not None
    check_whole(store, channel.release, public_key, channel.manifest_sha256)
    return channel


def check_whole(store: Store, release_id: str, public_key: Path | None = None, sha256: str = "") -> None:
    """Requires that the store has all files of a release, with the content that its manifest tells."""
    manifest, _, _ = read_manifest_file(store, release_id, public_key, sha256)
    for file in manifest.all_files:
        content = store.read(release_file(release_id, file.path))
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size_bytes, file.sha256), file.path


def listed(store: Store) -> list[str]:
    """The IDs of all releases that readers are shown, newest first; all must be whole."""
    ids = [entry.release_id for entry in read_index(store)]
    assert sorted(ids) == list(store.release_ids())
    for release_id in ids:
        check_whole(store, release_id)
    return ids


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a store but the lock; of channels all but when they changed, and that in the signature."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        if name.startswith("channels/"):
            is_signature = name.endswith(".sig")
            lines = [line.rpartition(b" ")[0] for line in content.splitlines()]
            content = b"\n".join(lines) if is_signature else json.dumps({**json.loads(content), "updated": ""}).encode()
        files[name] = content
    return files


def one_line_of(error: pytest.ExceptionInfo[LitesmithError]) -> str:
    """The message, which must be a single line."""
    text = str(error.value)
    assert text and len(text.splitlines()) == 1
    return text
