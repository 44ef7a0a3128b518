"""Stage "previous": this run's models against those of the release that the store's channel had before."""

from __future__ import annotations

from core.workspace import atomic_write_json
from deploy.changes import regressions
from deploy.gates import compare_releases
from deploy.manifest import Manifest
from deploy.store.filesystem import Store, open_store
from deploy.store.index import read_index, read_release
from deploy.store.index_file import index_model
from pipeline.previous import Seen, read_predictions
from pipeline.release_data import release_manifest, release_predictions
from pipeline.report_data import gather
from pipeline.report_releases import PREVIOUS, PastRelease, PreviousRelease
from pipeline.report_units import now
from pipeline.runner import Outcome, StageContext


def run(context: StageContext) -> Outcome:
    """Writes previous.json, none if there is no earlier release. Raises LitesmithError if the store cannot be read."""
    params, inputs = context.params, context.inputs
    seen: Seen = params["seen"]
    if not seen.release_id:
        return Outcome("no earlier release")
    store = open_store(params["store"])
    before = read_release(store, seen.release_id)
    report = gather(params["config"], params["artifacts"], inputs)
    after = release_manifest(report, params["config"], params["artifacts"], inputs, "", now(), "")
    changes = compare_releases(
        *(before, after, read_predictions(store, seen.release_id, before), release_predictions(report, inputs)),
        limits=params["limits"],
    )
    found = PreviousRelease(seen.release_id, before, changes, _history(store, seen, before))
    atomic_write_json(context.out / PREVIOUS, found)
    worse = regressions(changes)
    return Outcome(f"{seen.release_id}: {len(worse)} regressions in {len(changes)} figures")


def _history(store: Store, seen: Seen, before: Manifest) -> tuple[PastRelease, ...]:
    """The figures of the releases before this one, the oldest first; `before` is the last."""
    known = {entry.release_id: entry for entry in read_index(store)}
    earlier = (known[name] for name in seen.history[:-1] if name in known)
    past = [PastRelease(entry.release_id, entry.created, entry.models) for entry in earlier]
    return (*past, PastRelease(seen.release_id, before.created, tuple(map(index_model, before.artifacts))))
