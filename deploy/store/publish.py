"""Publishing a release: its folder appears whole, then the channel points to it, then the index tells of it.

A publisher may be killed at any moment; the store is whole all the same, and publishing again completes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import LitesmithError, UsageError
from core.progress import Reporter
from deploy.manifest import MANIFEST, Manifest, ReleaseFile, manifest_bytes, parse_manifest, read_manifest, safe_path
from deploy.store.channel_values import Channel
from deploy.store.channels import change_channel, check_may_change, last_channel
from deploy.store.filesystem import Store
from deploy.store.index import update_index, whole_release
from deploy.store.layout import REPORT, release_file, release_folder, signature_of
from deploy.store.recover import clean_temporaries
from deploy.store.signing import sign


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did.

    Attributes:
      release_id: the release in the store that is of these inputs.
      is_new: whether it was put there now.
      channel: the channel asked for, as it is now.
      channel_moved: whether it points to another release than before.
    """

    release_id: str
    is_new: bool
    channel: Channel
    channel_moved: bool


@dataclass(frozen=True, slots=True)
class _Package:
    """A release that is to be in the store, and where the contents of its files are."""

    manifest: Manifest
    sources: tuple[tuple[ReleaseFile, Path], ...]

    def content(self, file: ReleaseFile, source: Path) -> bytes:
        """A file's bytes. Raises LitesmithError if they are not those of the manifest."""
        try:
            content = source.read_bytes()
        except OSError as error:
            raise LitesmithError(f"{source}: cannot be read ({error.strerror}); the release is not whole") from error
        if not _is_content(file, content):
            raise LitesmithError(f"{source}: is not the file that {MANIFEST} tells of; make the release again")
        return content

    def check(self) -> None:
        """Reads all files once, before anything is written."""
        for file, source in self.sources:
            self.content(file, source)

    def files(self, sign_key: Path | None) -> Iterator[tuple[str, bytes]]:
        """All that goes to the store, the manifest last."""
        for file, source in self.sources:
            yield file.path, self.content(file, source)
        manifest = manifest_bytes(self.manifest)
        if sign_key is not None:
            yield signature_of(MANIFEST), sign(manifest, sign_key)
        yield MANIFEST, manifest


def publish(
    folder: Path,
    report: Path | None,
    store: Store,
    channel: str,
    sign_key: Path | None,
    reporter: Reporter,
    check: Callable[[], None] | None = None,
) -> Published:
    """Puts the release in `folder`, with the files of the folder `report`, into the store and points `channel` to it.

    If the store has a whole release of the same name and key, nothing new is put there. The channel is then moved
    only if it is behind: if it is absent, or points to an older release and has never pointed to this one. So an
    interrupted publish is completed, and a repeated one never undoes a later release or somebody's rollback.

    `check` is called once the store's lock is held, before anything is written; what it raises ends the publish.

    Raises UsageError for bad input, LitesmithError if the release in `folder` is not whole, if the store has other
    files under its ID or the release is not signed with `sign_key`, or if the store cannot be read or written.
    """
    check_may_change(store, channel, sign_key)
    package = _package(folder, report)
    package.check()
    with store.locked(reporter):
        if check is not None:
            check()
        if store.is_local:  # only there does the lock say that nobody writes them
            clean_temporaries(store)
        there = _release_there(store, package.manifest, reporter)
        if there is None:
            _write(store, package, sign_key, reporter)
        else:
            _mend(store, there, package, reporter)
        release = there or package.manifest
        value, moved = _follow(store, channel, release, package, there is None, sign_key)
        update_index(store)
    return Published(release.release_id, there is None, value, moved)


def _write(store: Store, package: _Package, sign_key: Path | None, reporter: Reporter) -> None:
    release_id = package.manifest.release_id
    with reporter.task(f"publish {release_id}", len(package.sources)) as task:

        def files() -> Iterator[tuple[str, bytes]]:
            for path, content in package.files(sign_key):
                yield path, content
                task.advance(0 if path.startswith(MANIFEST) else 1, path)

        store.write_folder(release_folder(release_id), files())


def _package(folder: Path, report: Path | None) -> _Package:
    """The release of a folder, with the report's files in its manifest. Raises UsageError if one is not there."""
    manifest = read_manifest(folder)
    sources = [(file, folder / file.path) for file in manifest.all_files]
    added = _report_files(report) if report is not None else []
    known = {file.path.casefold() for file, _ in sources}
    for file, source in added:
        if file.path.casefold() in known:
            raise UsageError(f"{source}: the release has a file {file.path} of its own")
    manifest = replace(manifest, files=(*manifest.files, *(file for file, _ in added)))
    parse_manifest(manifest_bytes(manifest), str(folder / MANIFEST))  # what is published can be read again
    return _Package(manifest, (*sources, *added))


def _report_files(report: Path) -> list[tuple[ReleaseFile, Path]]:
    """The files of a report as they are named in a release, sorted; hidden ones are left out."""
    if not report.is_dir():
        raise UsageError(f"{report}: is not there; expected the folder of a report")
    files = []
    for source in sorted(path for path in report.rglob("*") if path.is_file()):
        path = f"{REPORT}/{source.relative_to(report).as_posix()}"
        if safe_path(path):
            content = source.read_bytes()
            files.append((ReleaseFile(path, hashlib.sha256(content).hexdigest(), len(content)), source))
    return files


def _release_there(store: Store, manifest: Manifest, reporter: Reporter) -> Manifest | None:
    """The whole release in the store that is of the same name and key, the newest if there are several.

    Raises LitesmithError if one of the same ID has other files (but for the report, which may be drawn again).
    """
    own = manifest.release_id
    same_key = [name for name in store.release_ids() if name == own or name.endswith(f"-{manifest.key[:8]}")]
    found = {name: whole_release(store, name, reporter) for name in same_key}
    if (there := found.pop(own, None)) is not None:
        if _work_of(there) != _work_of(manifest):
            raise LitesmithError(
                f"{store.named(release_folder(own))}: has other files than this release; a release never changes"
            )
        return there
    twins = [
        other
        for other in found.values()
        if other is not None and manifest.key and (other.release, other.key) == (manifest.release, manifest.key)
    ]
    return max(twins, key=lambda twin: twin.created, default=None)


def _work_of(manifest: Manifest) -> Manifest:
    """What of a release never changes: all but the report."""
    files = sorted((file for file in manifest.files if not file.path.startswith(f"{REPORT}/")), key=lambda f: f.path)
    return replace(manifest, files=tuple(files), command="")


def _mend(store: Store, there: Manifest, package: _Package, reporter: Reporter) -> None:
    """Writes files of a release again that the store has lost or that are damaged there, if they are at hand."""
    at_hand = dict(package.sources)
    for file in there.all_files:
        path = release_file(there.release_id, file.path)
        if _is_stored(store, path, file):
            continue
        if file in at_hand:
            store.write(path, package.content(file, at_hand[file]))
            reporter.line(f"{store.named(path)}: was damaged or lost, and is written again")
        else:
            reporter.line(f"{store.named(path)}: is damaged or lost, and this release has no such file to mend it with")


def _is_stored(store: Store, path: str, file: ReleaseFile) -> bool:
    """Whether the store has the file: by its content in a folder, elsewhere by its size alone."""
    if store.size_bytes(path) != file.size_bytes:
        return False
    return not store.is_local or _is_content(file, store.read(path))


def _is_content(file: ReleaseFile, content: bytes) -> bool:
    return len(content) == file.size_bytes and hashlib.sha256(content).hexdigest() == file.sha256


def _follow(
    store: Store, name: str, release: Manifest, package: _Package, is_new: bool, sign_key: Path | None
) -> tuple[Channel, bool]:
    """Moves the channel to the release if it is new or the channel is behind; the channel, and whether it moved."""
    before, _ = last_channel(store, name)
    if before is not None and not _is_behind(store, before, release, is_new):
        return before, False
    return change_channel(store, name, release.release_id, sign_key, made_here=manifest_bytes(package.manifest))


def _is_behind(store: Store, channel: Channel, release: Manifest, is_new: bool) -> bool:
    """Whether a channel has yet to reach a release that is in the store; true also if it is there already."""
    if channel.release == release.release_id:
        return True
    if release.release_id in channel.history:
        return False
    pointed = whole_release(store, channel.release)
    return is_new or pointed is None or pointed.created < release.created
