"""Publishers killed between any two changes that they make: the store is whole, and the next publish completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.store.channels import set_channel
from deploy.store.filesystem import open_store
from deploy.store.index import read_index
from deploy.store.signing import generate
from tests.deploy.store.killed_publishers import store_of
from tests.deploy.store.pull_samples import served
from tests.deploy.store.store_samples import listed, pointed, put, release, tree

ROOT = Path(__file__).resolve().parents[3]


def kill(kind: str, folder: Path, key: Path, base: Path, out: Path, most: int = 15) -> list[Path]:
    """The stores in which a publisher was killed, the one of the first change first."""
    module = "tests.deploy.store.killed_publishers"
    arguments = (kind, most, folder, folder.parent / "report", key, base, out)
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, *kills = done.stdout.split()
    assert code == "0"
    assert len(kills) >= 10
    assert {text.partition(":")[2] for text in kills} == {str(-signal.SIGKILL)}
    return [out / text.partition(":")[0] for text in kills]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, so nothing need be flushed to disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def check_kills(kind: str, tmp_path: Path, most: int) -> None:
    """Kills publishers of a second release, reads each store as users do, and publishes again."""
    key, out = tmp_path / "key", tmp_path / "out"
    public = generate(key)
    base = store_of(kind, tmp_path / "base")
    first = put(base, release(tmp_path, 1), key=key).release_id
    set_channel(base, "stable", first, key)
    second = release(tmp_path, 2)
    reached = []
    for folder in kill(kind, second, key, tmp_path / "base", out, most):
        store = store_of(kind, folder)
        ids = listed(store)
        latest = pointed(store, "latest", public)
        assert ids[-1] == first and len(ids) <= 2 and latest.release in ids
        assert pointed(store, "stable", public).release == first
        reached.append((len(ids), latest.sequence))
        put(store, second, key=key)
        assert tree(folder) == tree(out / "whole")
    assert reached == sorted(reached)  # first the release, then the channel
    assert {(1, 1), (2, 1), (2, 2)} == set(reached)


@pytest.mark.parametrize("kind", ["folder", "server", "object store"])
def test_a_kill_at_any_moment_leaves_a_whole_store_that_the_next_publish_completes(kind: str, tmp_path: Path) -> None:
    check_kills(kind, tmp_path, most=15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_kill_at_every_single_change(kind: str, tmp_path: Path) -> None:
    check_kills(kind, tmp_path, most=1000)


def test_killed_publishers_are_not_seen_over_http(tmp_path: Path) -> None:
    key, out = tmp_path / "key", tmp_path / "out"
    public = generate(key)
    first = put(open_store(str(tmp_path / "base")), release(tmp_path, 1), key=key).release_id
    stores = kill("folder", release(tmp_path, 2), key, tmp_path / "base", out)
    with served(out) as url:
        for folder in stores:
            store = open_store(f"{url}/{folder.name}")
            ids = listed(store)
            assert ids[-1] == first and len(ids) <= 2
            assert pointed(store, "latest", public).release in (first, *store_of("folder", folder).release_ids())


def test_a_kill_in_the_first_publish_of_all(tmp_path: Path) -> None:
    key, base = tmp_path / "key", tmp_path / "base"
    public = generate(key)
    base.mkdir()
    only = release(tmp_path, 1)
    for folder in kill("folder", only, key, base, tmp_path / "out"):
        store = open_store(str(folder))
        assert [entry.release_id for entry in read_index(store)] == list(store.release_ids())
        assert put(store, only, key=key).channel.sequence == 1
        assert pointed(store, "latest", public).release == listed(store)[0]
        assert tree(folder) == tree(tmp_path / "out" / "whole")
        assert not [name for name in os.listdir(folder / "releases") if name.startswith(".")]
