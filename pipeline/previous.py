"""What a store's channel pointed to before a release, and how that compares. No TensorFlow here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import LitesmithError, UsageError, bad_value
from deploy.manifest import Manifest
from deploy.predictions import PREDICTIONS, Predictions, parse_predictions
from deploy.store.filesystem import Store, open_store
from deploy.store.layout import release_file
from pipeline.release_config import ReleaseConfig

HISTORY = 30  # releases that a report tells of


@dataclass(frozen=True, slots=True)
class Seen:
    """What a channel has before a release.

    Attributes:
      release_id: the release to compare with; "" if there is none.
      history: the releases that the channel pointed to before, the oldest first; `release_id` is the last of them.
    """

    release_id: str = ""
    history: tuple[str, ...] = ()


def look(store: Store, channel: str, is_own: Callable[[str], bool]) -> tuple[Seen, bool]:
    """What the channel had before a release, and whether it has pointed to that release already.

    `is_own` tells it by its key. Later releases do not count then, so that a run that is repeated is compared with what
    it was compared with. Raises LitesmithError in one line if the store cannot be read.
    """
    from deploy.store.channel_values import read_channel  # signatures' cryptography takes a while to import
    from deploy.store.index import read_index

    found = read_channel(store, channel)
    if found is None:
        return Seen(), False
    keys = {entry.release_id: entry.key for entry in read_index(store)}
    chain = [name for name in dict.fromkeys((found.release, *found.history)) if name in keys]
    own = [number for number, name in enumerate(chain) if is_own(keys[name])]
    before = chain[own[-1] + 1 :] if own else chain
    return Seen(before[0], tuple(reversed(before[:HISTORY]))) if before else Seen(), bool(own)


def find_previous(config: ReleaseConfig, stage_key: str) -> Seen:
    """`look` in the store of a configuration, which must be one that a run can publish to, before the release of the
    stage of that key, be it whole or without the recipes that failed (pipeline.release_data).

    Raises UsageError naming the configuration's key, LitesmithError if the store cannot be read.
    """
    from deploy.store.channels import check_may_change

    try:
        store = open_store(config.store or "")
        if store.is_read_only:
            raise bad_value("--store", config.store, "a store that can be written to")
        check_may_change(store, config.channel, Path(config.sign_key) if config.sign_key else None)
    except UsageError as error:
        raise UsageError(re.sub("^--(store|sign_key|channel):", r"config.release.\1:", str(error))) from error
    return look(store, config.channel, lambda key: key.partition("-")[0] == stage_key)[0]


def read_predictions(store: Store, release_id: str, manifest: Manifest) -> Predictions | None:
    """The predictions of a release, checked against its manifest; None if it has none.

    Raises LitesmithError if they are damaged.
    """
    listed = {file.path: file for file in manifest.files}
    if PREDICTIONS not in listed:
        return None
    path = release_file(release_id, PREDICTIONS)
    content = store.read(path)
    if hashlib.sha256(content).hexdigest() != listed[PREDICTIONS].sha256:
        raise LitesmithError(f"{store.named(path)}: damaged, or not the file that the manifest tells of")
    return parse_predictions(content, store.named(path))
