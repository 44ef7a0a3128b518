"""Whatever bytes a store has in place of its files: one line, and no illegal value."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LitesmithError
from deploy.manifest import MANIFEST, RELEASE_ID, SHA256
from deploy.store.channel_values import parse_channel
from deploy.store.channels import last_channel
from deploy.store.filesystem import Store, open_store
from deploy.store.index import read_index, read_manifest_file
from deploy.store.index_file import parse_index
from tests.deploy.store.store_samples import put, release

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of one release. Nothing is flushed to disk, for no power is cut here."""
    folder = tmp_path_factory.mktemp("damaged")
    store = open_store(str(folder / "store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        put(store, release(folder, 1))
        yield store


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """The content cut, with some bytes changed, or with one JSON value replaced; or other bytes."""
    kind = data.draw(st.sampled_from(["cut", "changed", "value", "key", "other"]))
    if kind == "other":
        return data.draw(st.binary(max_size=100) | JSON.map(lambda plain: json.dumps(plain).encode()))
    if kind in ("value", "key"):
        plain = json.loads(content)
        _replace(plain, data, is_key=kind == "key")
        return json.dumps(plain).encode()
    place = data.draw(st.integers(0, len(content)))
    return (
        content[:place] if kind == "cut" else content[:place] + data.draw(st.binary(max_size=5)) + content[place + 3 :]
    )


def _replace(plain: Any, data: st.DataObject, is_key: bool) -> None:
    """Replaces a value, or a name, at some depth."""
    places = list(plain) if isinstance(plain, dict) else list(range(len(plain)))
    place = data.draw(st.sampled_from(places))
    if isinstance(plain[place], (dict, list)) and plain[place] and data.draw(st.booleans()):
        _replace(plain[place], data, is_key)
    elif is_key and isinstance(plain, dict):
        plain[data.draw(st.text(max_size=8))] = plain.pop(place)
    else:
        plain[place] = data.draw(JSON)


def is_one_line(error: LitesmithError) -> bool:
    """Whether a message is one line."""
    return len(str(error).splitlines()) == 1


@given(data=st.data())
def test_a_damaged_channel(data: st.DataObject, store: Store) -> None:
    content = damaged(store.read("channels/latest.json"), data)
    try:
        channel = parse_channel(content, "latest", "channels/latest.json")
    except LitesmithError as error:
        assert is_one_line(error)
    else:
        assert channel.sequence >= 1 and RELEASE_ID.fullmatch(channel.release)
        assert SHA256.fullmatch(channel.manifest_sha256)


@given(data=st.data())
def test_a_damaged_index(data: st.DataObject, store: Store) -> None:
    content = damaged(store.read("index.json"), data)
    try:
        index = parse_index(content, "index.json")
    except LitesmithError as error:
        assert is_one_line(error)
    else:
        assert all(RELEASE_ID.fullmatch(entry.release_id) for entry in index.releases)


@settings(max_examples=30)  # each writes four files
@given(data=st.data())
def test_a_damaged_index_of_a_folder_hides_nothing(data: st.DataObject, store: Store) -> None:
    whole, channel = store.read("index.json"), store.read("channels/latest.json")
    try:
        store.write("index.json", damaged(whole, data))
        assert [entry.release_id for entry in read_index(store)] == list(store.release_ids())
        store.write("channels/latest.json", damaged(channel, data))
        last_channel(store, "latest")
    finally:
        store.write("index.json", whole)
        store.write("channels/latest.json", channel)


@given(data=st.data())
def test_a_damaged_manifest(data: st.DataObject, store: Store) -> None:
    (release_id,) = store.release_ids()
    path = f"releases/{release_id}/{MANIFEST}"
    whole = store.read(path)
    try:
        store.write(path, damaged(whole, data))
        manifest, _, _ = read_manifest_file(store, release_id)
    except LitesmithError as error:
        assert is_one_line(error)
    else:
        assert manifest.release_id == release_id
    finally:
        store.write(path, whole)


def test_a_manifest_behind_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    done = put(store, release(tmp_path, 1))
    manifest = tmp_path / "store" / "releases" / done.release_id / MANIFEST
    manifest.unlink()
    manifest.symlink_to(tmp_path / "nowhere")
    assert read_index(store) == ()
