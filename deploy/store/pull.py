"""A release's best model for a device, from a store into a folder, with nothing taken on trust.

Checked are, with a public key, the signatures of channel and manifest; the manifest against the channel; that the
channel is no older than it was; and every file's size and SHA-256 while it comes. The folder appears whole, by rename.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tenacity

from core.errors import LitesmithError, one_line
from core.progress import Reporter, Task
from core.values import file_sha256
from core.workspace import atomic_write_json
from deploy.manifest import MANIFEST, ReleaseFile, ReleaseModel, safe_path
from deploy.store.channel_values import Channel
from deploy.store.destination import RECORD, Pulled, commit, usable, working_folder
from deploy.store.filesystem import Missing, Store
from deploy.store.layout import release_file, signature_of
from deploy.store.resolve import DEFAULT_CHANNELS, Resolved, resolve
from deploy.store.select import Selection, Wish, check_wish, select
from deploy.store.state import Seen, check_not_older, highest_seen, remember, state_file

SIGNATURE = signature_of(MANIFEST)
UNIT_BYTES = 1000  # of the progress
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Pull:
    """What a pull did.

    Attributes:
      channel: that led to the release; None where it was asked for by its ID.
      out: the folder, as it was named.
      files, size_bytes: of what the folder holds of the release.
      is_new: False where the folder held the same files already, and nothing was downloaded.
      is_signed: whether the store has a signature of the manifest; `is_checked` whether it was checked.
      notes: what the user should know.
    """

    release_id: str
    channel: Channel | None
    selection: Selection
    out: Path
    files: int
    size_bytes: int
    is_new: bool
    is_signed: bool
    is_checked: bool
    notes: tuple[str, ...] = ()


def pull(store: Store, asked: str | None, wish: Wish, out: Path, public_key: Path | None, reporter: Reporter) -> Pull:
    """Fills `out` with the model of a release that fits a wish best, and all that is of this model.

    Args:
      asked: a channel or an ID; None is the channel stable if there is one, else latest.
      out: absent, empty, or an earlier pull, which is replaced.
      public_key: refuses what is not signed with its private key; None checks no signature.

    Raises UsageError for an `out` that must not be replaced and for what the store or the release does not have;
    LitesmithError for what is damaged, not signed, rolled back or not to be reached, and if no model fits. In each case
    `out` is as it was.
    """
    check_wish(wish)
    path, before = usable(out)
    found = resolve(store, asked, public_key, "--release")
    seen = _not_older(store, found.channel, asked, before)
    selection = select(found.manifest, wish)
    files = _files(found, selection.model)
    record = _record(store, found, selection, files)
    is_new = not _is_there(path, found, files)
    try:
        if is_new:
            _fetch(store, found, files, record, path, reporter)
        else:
            atomic_write_json(path / RECORD, record)
    except OSError as error:
        raise LitesmithError(f"{out}: cannot be written ({one_line(error)})") from error
    size_bytes = sum(file.size_bytes for file in files)
    signed = found.signature is not None
    done = (found.release_id, found.channel, selection, out, len(files), size_bytes, is_new, signed)
    return Pull(*done, public_key is not None, notes=_remembered(seen))


def _not_older(store: Store, channel: Channel | None, asked: str | None, before: Pulled | None) -> Seen | None:
    """The state of the channel, which must be no older than what this computer or the folder saw of it."""
    if channel is None:
        return None
    first = DEFAULT_CHANNELS[0]
    if asked is None and channel.channel != first and highest_seen(store.url, first) is not None:
        raise LitesmithError(
            f"{store.url}: its channel {first} was seen before and is gone; name another --release, or, if the store's "
            f"owner says that this is right, delete {state_file(store.url, first)}"
        )
    now = Seen(store.url, channel.channel, channel.sequence, channel.manifest_sha256)
    check_not_older(now, highest_seen(store.url, channel.channel), state_file(store.url, channel.channel))
    if before is not None and (before.store, before.channel) == (now.store, now.channel):
        check_not_older(now, Seen(now.store, now.channel, before.sequence, before.manifest_sha256), Path(RECORD))
    return now


def _remembered(seen: Seen | None) -> tuple[str, ...]:
    """Keeps the channel's state; what to tell if that cannot be."""
    try:
        if seen is not None:
            remember(seen)
    except OSError as error:
        return (f"a later rollback may go unnoticed: {one_line(error)}; $XDG_STATE_HOME says where the state is kept",)
    return ()


def _files(found: Resolved, model: ReleaseModel) -> tuple[ReleaseFile, ...]:
    """The model, its labels and what is of this model alone. Raises LitesmithError for a path that is not safe."""
    wanted = {model.file, model.labels, *model.extras}
    files = tuple(file for file in found.manifest.all_files if file.path in wanted)
    for file in files:
        if not safe_path(file.path) or file.path.casefold() in (RECORD, MANIFEST, SIGNATURE):
            raise LitesmithError(f"{found.release_id}: the path {file.path!r} is not one that a release may hold")
    return files


def _record(store: Store, found: Resolved, selection: Selection, files: tuple[ReleaseFile, ...]) -> Pulled:
    channel = found.channel
    return Pulled(
        store=store.url,
        release=found.release_id,
        channel=channel.channel if channel else "",
        sequence=channel.sequence if channel else 0,
        manifest_sha256=hashlib.sha256(found.content).hexdigest(),
        model=selection.model.file,
        why=selection.why,
        files=tuple(file.path for file in files),
    )


def _is_there(folder: Path, found: Resolved, files: tuple[ReleaseFile, ...]) -> bool:
    """Whether the folder is an earlier pull of just this, whole."""
    expected = {MANIFEST: hashlib.sha256(found.content).hexdigest(), **{file.path: file.sha256 for file in files}}
    if found.signature is not None:
        expected[SIGNATURE] = hashlib.sha256(found.signature).hexdigest()
    try:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {RECORD}
        return there == set(expected) and all(file_sha256(folder / path) == sha256 for path, sha256 in expected.items())
    except OSError:
        return False


def _fetch(
    store: Store, found: Resolved, files: tuple[ReleaseFile, ...], record: Pulled, out: Path, reporter: Reporter
) -> None:
    """Downloads into a folder beside `out`, which then takes its place."""
    units = sum(_units(file.size_bytes) for file in files)
    with working_folder(out) as folder:
        with reporter.task(f"{record.model} and {len(files) - 1} files, kB", units) as task:
            for file in files:
                _download(store, found.release_id, file, folder / file.path, task)
        (folder / MANIFEST).write_bytes(found.content)
        if found.signature is not None:
            (folder / SIGNATURE).write_bytes(found.signature)
        atomic_write_json(folder / RECORD, record)
        commit(folder, out)


def _units(size_bytes: int) -> int:
    return -(-size_bytes // UNIT_BYTES)


def _download(store: Store, release_id: str, file: ReleaseFile, path: Path, task: Task) -> None:
    """One file, again from its start where the connection broke off, refused if it is not the manifest's."""
    source = release_file(release_id, file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5, jitter=0.2),
        retry=tenacity.retry_if_exception_type(_BrokenOffError),
        reraise=True,
    )
    digest = retrying(_attempt, store, source, file.size_bytes, path)
    if digest != file.sha256:
        raise LitesmithError(
            f"{store.named(source)}: its SHA-256 is not the manifest's; it is damaged or tampered with"
        )
    task.advance(_units(file.size_bytes))


def _attempt(store: Store, source: str, size_bytes: int, path: Path) -> str:
    """Downloads a file that must have so many bytes; its SHA-256. No byte beyond them is written."""
    digest, count = hashlib.sha256(), 0
    with open(path, "wb") as target:
        for chunk in _chunks(store, source):
            count += len(chunk)
            if count > size_bytes:
                raise LitesmithError(f"{store.named(source)}: longer than the {size_bytes} bytes of the manifest")
            target.write(chunk)
            digest.update(chunk)
    if count < size_bytes:
        raise LitesmithError(f"{store.named(source)}: truncated, {count} of {size_bytes} bytes")
    return digest.hexdigest()


class _BrokenOffError(LitesmithError):
    """A download that ended in the middle for a reason that may pass."""


def _chunks(store: Store, source: str) -> Iterator[bytes]:
    try:
        yield from store.chunks(source)
    except Missing as error:
        raise LitesmithError(f"{store.named(source)}: missing, although the manifest has it") from error
    except LitesmithError as error:
        raise _BrokenOffError(str(error)) from error
