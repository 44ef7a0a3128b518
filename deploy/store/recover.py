"""What killed publishers leave, and its removal. None of it is ever shown: a release without a manifest is none."""

from __future__ import annotations

from core.workspace import TEMPORARY_PREFIX
from deploy.manifest import RELEASE_ID
from deploy.store.filesystem import Store
from deploy.store.layout import CHANNELS, RELEASES

# A folder without a manifest may also be one that is being uploaded, or copied by other means, right now.
GRACE_S = 24 * 3600.0


def clean(store: Store, grace_s: float = GRACE_S) -> tuple[str, ...]:
    """Removes what is left of publishers that were killed; the paths removed. The lock must be held.

    Temporaries of a folder go at once, for its lock says that nobody writes them. Folders without a manifest, and
    the temporaries of other stores, go when nothing in them is younger than `grace_s` seconds, if the store tells.
    """
    removed = [*clean_temporaries(store, 0.0 if store.is_local else grace_s)]
    whole = set(store.release_ids())
    for name in store.names(RELEASES):
        path = f"{RELEASES}/{name}"
        if RELEASE_ID.fullmatch(name) and name not in whole and _is_older(store, path, grace_s):
            store.remove(path)
            removed.append(path)
    return tuple(removed)


def clean_temporaries(store: Store, grace_s: float = 0.0) -> tuple[str, ...]:
    """Removes the temporaries of killed publishers; the paths removed."""
    removed = []
    for folder in ("", RELEASES, CHANNELS):
        for name in store.names(folder):
            path = f"{folder}/{name}".lstrip("/")
            if name.startswith(TEMPORARY_PREFIX) and (grace_s == 0 or _is_older(store, path, grace_s)):
                store.remove(path)
                removed.append(path)
    return tuple(removed)


def _is_older(store: Store, path: str, grace_s: float) -> bool:
    age_s = store.age_s(path)
    return age_s is not None and age_s >= grace_s
