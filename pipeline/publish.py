"""Publishing what a run has made: compared with the release before it, then refused or put into the store."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.errors import EXIT_DONE, EXIT_FAILED, LitesmithError, UsageError, bad_value
from core.progress import Reporter
from core.spec_io import from_plain
from core.workspace import atomic_write_json
from deploy.changes import MODEL, NOT_COMPARED, REGRESSION, Change, Limits, describe
from deploy.manifest import Manifest, read_manifest
from deploy.predictions import PREDICTIONS, parse_predictions
from deploy.schemes import FLOAT32
from deploy.store.channels import check_may_change
from deploy.store.filesystem import Store, open_store
from deploy.store.index import read_release
from deploy.store.publish import Published, publish
from pipeline.previous import Seen, look, read_predictions
from pipeline.release_config import ReleaseConfig
from pipeline.runner import is_done
from pipeline.workdir import CONFIG, PUBLICATION_RECORD, read_plan, read_record

PAGE = "index.html"
ATTEMPTS = 5  # to find a channel that stays as it is from the gates until nobody else can change it
HOW_TO_ALLOW = "--allow_regression (of a run: --config.release.allow_regression=True) publishes it all the same"


class _Moved(LitesmithError):
    """The channel is not as it was when the gates looked."""


def publish_run(
    workdir: Path, store_url: str, channel: str, sign_key: str | None, allow_regression: bool, reporter: Reporter
) -> int:
    """Publishes WORKDIR/release and WORKDIR/report; the same again is "nothing new". Returns the exit code.

    A release that is worse than the one that the channel has, beyond the limits in WORKDIR's configuration, is refused
    with a line for each regression, unless `allow_regression`; then nothing is changed and the exit code is 1. If
    another publisher moves the channel in between, the release is compared with what the channel then has.

    Raises UsageError for a folder that holds no finished run, a store or a key that cannot be used; LitesmithError for
    a release of nothing but float models whose recipes have all failed, and what the store raises.
    """
    _check_finished(workdir)
    manifest = read_manifest(workdir / "release")
    _check_worth(manifest)
    store, key = open_store(store_url), Path(sign_key) if sign_key else None
    if store.is_read_only:
        raise bad_value("--store", store_url, "a store that can be written to")
    check_may_change(store, channel, key)
    done = _published(workdir, manifest, store, channel, key, allow_regression, reporter)
    if done is None:
        _record(workdir, store, channel, "", "refused")
        return EXIT_FAILED
    _record(workdir, store, channel, done.release_id, "published" if done.is_new else "nothing new")
    where = f"channel {channel} is {done.channel.release} (sequence {done.channel.sequence})"
    if done.is_new:
        reporter.line(f"published: {done.release_id} in {store.url}; {where}")
    else:
        reporter.line(f"nothing new: {store.url} has {done.release_id}, of the same inputs; {where}")
    return EXIT_DONE


def _published(
    workdir: Path, manifest: Manifest, store: Store, channel: str, key: Path | None, allow: bool, reporter: Reporter
) -> Published | None:
    """What the store did, None if the release does not pass the gates."""
    folder, limits = workdir / "release", _limits(workdir)

    def before() -> tuple[Seen, bool]:
        return look(store, channel, lambda key: key == manifest.key)

    for _ in range(ATTEMPTS):
        seen, is_known = before()
        if not is_known and not _passes(store, seen, folder, manifest, limits, allow, reporter):
            return None

        def check(compared: tuple[str, bool] = (seen.release_id, is_known)) -> None:
            now, known = before()
            if (now.release_id, known) != compared:
                raise _Moved(f"{store.url}: other publishers keep changing the channel {channel}; try again")

        with _report_for_store(workdir / "report") as report:
            try:
                return publish(folder, report, store, channel, key, reporter, check)
            except _Moved as error:
                moved = error
                reporter.line(f"channel {channel} has changed meanwhile; comparing with what it has now")
    raise moved


def _record(workdir: Path, store: Store, channel: str, release_id: str, outcome: str) -> None:
    """Notes for `status` what became of the release."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"outcome": outcome, "release": release_id, "store": store.url, "channel": channel, "time": time}
    atomic_write_json(workdir / PUBLICATION_RECORD, record)


def _check_finished(workdir: Path) -> None:
    """Requires that report and release are those of the configuration with which the folder was last run."""
    for stage in read_plan(workdir):
        if stage.kind in ("report", "release") and not is_done(stage, workdir):
            raise UsageError(
                f"--workdir: {workdir} holds no finished run (its {stage.kind} is to be made); the command run makes it"
            )


def _check_worth(manifest: Manifest) -> None:
    if manifest.failed and all(model.scheme == FLOAT32 for model in manifest.artifacts):
        raise LitesmithError(
            f"release {manifest.release}: not published, for nothing but float32 models could be made; failed: "
            f"{', '.join(manifest.failed)}"
        )


def _limits(workdir: Path) -> Limits:
    """Of the configuration with which the folder was last run."""
    return from_plain(ReleaseConfig, read_record(workdir / CONFIG, "release")["release"], "config.release").limits


def _passes(
    store: Store, seen: Seen, folder: Path, manifest: Manifest, limits: Limits, allow: bool, reporter: Reporter
) -> bool:
    """Whether the release may follow the one that the channel has; tells why not."""
    if not seen.release_id:
        return True
    changes = _compared(store, seen.release_id, folder, manifest, limits)
    worse = [change for change in changes if change.verdict == REGRESSION]
    for change in changes:
        if change.what == MODEL and change.verdict == NOT_COMPARED:
            reporter.line(f"{describe(change)} ({seen.release_id} has it)")
    for change in worse:
        if allow:
            reporter.line(f"regression, allowed: {describe(change)}")
        else:
            print(f"litesmith: regression: {describe(change)}", file=sys.stderr)
    if worse and not allow:
        number = f"{len(worse)} regression{'s' if len(worse) > 1 else ''}"
        text = f"not published: {number} against {seen.release_id}; {HOW_TO_ALLOW}"
        print(f"litesmith: {text}", file=sys.stderr)
    return allow or not worse


def _compared(store: Store, release_id: str, folder: Path, manifest: Manifest, limits: Limits) -> tuple[Change, ...]:
    from deploy.gates import compare_releases  # scipy takes half a second to import

    before = read_release(store, release_id)
    own = parse_predictions((folder / PREDICTIONS).read_bytes(), str(folder / PREDICTIONS))
    return compare_releases(before, manifest, read_predictions(store, release_id, before), own, limits)


@contextlib.contextmanager
def _report_for_store(report: Path) -> Iterator[Path]:
    """The report's folder with the page as it is to be in a release, where its links lead elsewhere."""
    from pipeline.report_files import in_store  # imports LiteRT, which is needed for nothing else here

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "report"
        shutil.copytree(report, copy)
        page = copy / PAGE
        page.write_text(in_store(page.read_text(encoding="utf-8")), encoding="utf-8")
        yield copy
