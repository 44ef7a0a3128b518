"""Publishing, channels and the index, in a folder and in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from core.errors import LitesmithError, UsageError
from core.progress import Reporter, SilentReporter
from deploy.manifest import MANIFEST, manifest_bytes, read_manifest
from deploy.store.channels import Channel, read_channel, set_channel, write_channel
from deploy.store.filesystem import Store, open_store
from deploy.store.index import read_index, read_release, rebuild
from deploy.store.publish import publish
from deploy.store.recover import clean
from deploy.store.signing import generate
from tests.deploy.store.pull_samples import served, write, write_release
from tests.deploy.store.store_samples import check_whole, listed, one_line_of, pointed, put, release, tree

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "folder":
        yield open_store(str(tmp_path / "store"))
        return
    name = f"/{uuid.uuid4().hex}"
    yield open_store(f"memory:/{name}")
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(name, recursive=True)


class Lines(Reporter):
    """Keeps the lines that users are shown."""

    def __init__(self) -> None:
        super().__init__(SilentReporter().console)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def again(folder: Path, day: int, key_of_day: int) -> None:
    """Makes a release as on `day`, but with the key, and so of the inputs, of another day's."""
    manifest = write_release(folder, day)
    write(folder / MANIFEST, manifest_bytes(replace(manifest, key=f"{key_of_day:064x}")))


def test_a_release_is_all_of_its_folder_and_the_report(store: Store, tmp_path: Path) -> None:
    folder = release(tmp_path, 1)
    done = put(store, folder)
    assert (done.is_new, done.channel_moved, done.channel.sequence, done.channel.release) == (
        True,
        True,
        1,
        done.release_id,
    )
    published, made = read_release(store, done.release_id), read_manifest(folder)
    assert {file.path for file in published.all_files} == {file.path for file in made.all_files} | {
        "report/index.html",
        "report/summary.md",
    }
    assert published.release_id == made.release_id
    assert listed(store) == [done.release_id]
    assert pointed(store, "latest") == done.channel


def test_the_index_tells_releases_newest_first_with_their_channels_and_figures(store: Store, tmp_path: Path) -> None:
    ids = [put(store, release(tmp_path, day)).release_id for day in (1, 2, 3)]
    set_channel(store, "stable", ids[1])
    entries = read_index(store)
    assert [entry.release_id for entry in entries] == ids[::-1]
    assert [entry.channels for entry in entries] == [("latest",), ("stable",), ()]
    model = next(model for model in entries[0].models if model.recipe == "small")
    assert (model.file, model.size_bytes, model.zipped_bytes) == ("demo-small.tflite", 1000, 500)
    assert [latency.target for latency in model.latency] == ["host", "pixel3"]
    channel = pointed(store, "latest")
    assert (channel.sequence, channel.history) == (3, (ids[1], ids[0]))


def test_the_same_release_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    folder = release(tmp_path, 1)
    first = put(store, folder)
    second = put(store, folder)
    assert not second.is_new and not second.channel_moved
    assert second.channel == first.channel


def test_the_same_inputs_made_again_are_nothing_new(store: Store, tmp_path: Path) -> None:
    first = put(store, release(tmp_path, 1))
    again(tmp_path / "again", day=9, key_of_day=1)
    second = publish(tmp_path / "again", None, store, "latest", None, SilentReporter())
    assert (second.is_new, second.release_id, second.channel) == (False, first.release_id, first.channel)
    assert listed(store) == [first.release_id]


def test_a_repeated_run_never_moves_a_channel_back(store: Store, tmp_path: Path) -> None:
    put(store, release(tmp_path, 1))
    newer = put(store, release(tmp_path, 2))
    repeated = put(store, release(tmp_path, 1))
    assert not repeated.is_new and not repeated.channel_moved
    assert repeated.channel == newer.channel


def test_a_repeated_run_does_not_undo_a_rollback(store: Store, tmp_path: Path) -> None:
    good, bad = (put(store, release(tmp_path, day)).release_id for day in (1, 2))
    set_channel(store, "latest", good)
    repeated = put(store, release(tmp_path, 2))
    assert (repeated.release_id, repeated.channel.release, repeated.channel.sequence) == (bad, good, 3)


def test_a_release_of_the_store_is_put_in_a_further_channel(store: Store, tmp_path: Path) -> None:
    put(store, release(tmp_path, 1), channel="stable")
    put(store, release(tmp_path, 2))
    done = put(store, release(tmp_path, 2), channel="stable")
    assert not done.is_new and done.channel_moved
    assert (done.channel.release, done.channel.sequence) == (done.release_id, 2)


def test_a_new_release_is_followed_even_if_it_was_made_before_the_last(store: Store, tmp_path: Path) -> None:
    put(store, release(tmp_path, 2))
    done = put(store, release(tmp_path, 1))
    assert done.is_new and done.channel.release == done.release_id


def test_other_files_under_the_same_id_are_refused(store: Store, tmp_path: Path) -> None:
    folder = release(tmp_path, 1)
    first = put(store, folder)
    manifest = read_manifest(folder)
    content = b"cat\nfox\n"
    labels = next(file for file in manifest.files if file.path == "labels.txt")
    other = replace(labels, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    write(folder / "labels.txt", content)
    files = tuple(other if file == labels else file for file in manifest.files)
    write(folder / MANIFEST, manifest_bytes(replace(manifest, files=files)))
    with pytest.raises(LitesmithError) as error:
        put(store, folder)
    assert "a release never changes" in one_line_of(error)
    check_whole(store, first.release_id)


def test_a_report_drawn_again_is_nothing_new(store: Store, tmp_path: Path) -> None:
    folder = release(tmp_path, 1)
    first = put(store, folder)
    write(folder.parent / "report" / "index.html", b"<h1>drawn later</h1>")
    assert put(store, folder).channel == first.channel
    check_whole(store, first.release_id)


@pytest.mark.parametrize("damage", ["a changed model", "a lost model", "a model of other length"])
def test_a_folder_that_is_not_whole_is_refused_and_nothing_is_written(
    damage: str, store: Store, tmp_path: Path
) -> None:
    folder = release(tmp_path, 1)
    model = folder / "demo-small.tflite"
    if damage == "a lost model":
        model.unlink()
    else:
        model.write_bytes(b"X" * (1000 if damage == "a changed model" else 1001))
    with pytest.raises(LitesmithError) as error:
        put(store, folder)
    assert "demo-small.tflite" in one_line_of(error)
    assert listed(store) == [] and read_channel(store, "latest") is None


def test_a_damaged_release_is_mended_by_publishing_it_again(tmp_path: Path) -> None:
    store, folder = open_store(str(tmp_path / "store")), release(tmp_path, 1)
    done = put(store, folder)
    whole = tree(tmp_path / "store")
    damaged = tmp_path / "store" / "releases" / done.release_id
    (damaged / "demo-small.tflite").write_bytes(b"X" * 1000)
    (damaged / "labels.txt").unlink()
    lines = Lines()
    publish(folder, folder.parent / "report", store, "latest", None, lines)
    assert tree(tmp_path / "store") == whole
    assert len(lines.lines) == 2 and all("written again" in line for line in lines.lines)
    (damaged / MANIFEST).write_bytes(b"{")
    assert read_index(store) == ()
    put(store, folder)
    assert tree(tmp_path / "store") == whole


def test_a_damaged_channel_goes_on_with_the_next_number(store: Store, tmp_path: Path) -> None:
    ids = [put(store, release(tmp_path, day)).release_id for day in (1, 2)]
    store.write("channels/latest.json", b"{")
    with pytest.raises(LitesmithError) as error:
        read_channel(store, "latest")
    assert "damaged" in one_line_of(error)
    assert put(store, release(tmp_path, 2)).channel.sequence == 3
    assert pointed(store, "latest").release == ids[1]


def test_a_smaller_sequence_is_never_written(store: Store, tmp_path: Path) -> None:
    done = put(store, release(tmp_path, 1))
    put(store, release(tmp_path, 2))
    for sequence in (1, 2):
        with pytest.raises(LitesmithError) as error:
            write_channel(store, replace(done.channel, sequence=sequence), None)
        assert "rollback" in one_line_of(error)
    assert pointed(store, "latest").sequence == 2


def test_promote_refuses_what_is_not_there(store: Store, tmp_path: Path) -> None:
    done = put(store, release(tmp_path, 1))
    store.write("releases/half-20260101T000000Z-00000000/labels.txt", b"cat\n")
    for name in ("demo-2020", "half-20260101T000000Z-00000000", "../channels"):
        with pytest.raises(UsageError) as error:
            set_channel(store, "stable", name)
        assert name in one_line_of(error)
    with pytest.raises(UsageError) as error:
        set_channel(store, "../x", done.release_id)
    assert "--channel" in one_line_of(error)
    assert read_channel(store, "stable") is None


def test_promoting_twice_is_one_change(store: Store, tmp_path: Path) -> None:
    done = put(store, release(tmp_path, 1))
    first = set_channel(store, "stable", done.release_id)
    assert set_channel(store, "stable", done.release_id) == first


def test_rebuild_makes_a_lost_or_damaged_index_again(store: Store, tmp_path: Path) -> None:
    for day in (1, 2):
        put(store, release(tmp_path, day))
    before = store.read("index.json")
    for content in (b"", b"{}", b'{"format": 1, "releases": [{}]}'):
        store.write("index.json", content)
        assert len(listed(store)) == 2
        rebuild(store)
        assert store.read("index.json") == before
    store.remove("index.json")
    assert [entry.release_id for entry in rebuild(store)] == listed(store)
    assert store.read("index.json") == before


def test_rebuild_removes_what_was_abandoned_and_nothing_young(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    done = put(store, release(tmp_path, 1))
    releases = tmp_path / "store" / "releases"
    write(releases / "half-20260101T000000Z-00000000" / "labels.txt", b"cat\n")
    write(releases / ".tmp-other" / "labels.txt", b"cat\n")
    write(tmp_path / "store" / "channels" / ".tmp-latest.json", b"{")
    rebuild(store)  # the folder without a manifest may be one that is being copied
    assert sorted(path.name for path in releases.iterdir()) == [done.release_id, "half-20260101T000000Z-00000000"]
    assert [path.name for path in (tmp_path / "store" / "channels").iterdir()] == ["latest.json"]
    with store.locked(SilentReporter()):
        assert clean(store, grace_s=0.0) == ("releases/half-20260101T000000Z-00000000",)
    assert [path.name for path in releases.iterdir()] == [done.release_id]


def test_what_is_abandoned_in_memory_goes_too(tmp_path: Path) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    done = put(store, release(tmp_path, 1))
    store.write("releases/half-20260101T000000Z-00000000/a/labels.txt", b"cat\n")
    assert clean(store) == ()
    assert clean(store, grace_s=0.0) == ("releases/half-20260101T000000Z-00000000",)
    assert listed(store) == [done.release_id]


def test_a_signed_channel_is_not_changed_without_a_key(store: Store, tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = generate(key)
    first = put(store, release(tmp_path, 1), key=key)
    with pytest.raises(UsageError) as error:
        put(store, release(tmp_path, 2))
    assert "--sign_key" in one_line_of(error)
    assert listed(store) == [first.release_id]
    assert pointed(store, "latest", public) == first.channel


def test_a_release_and_a_channel_are_signed_later_and_with_a_new_key(store: Store, tmp_path: Path) -> None:
    keys = [tmp_path / "old", tmp_path / "new"]
    old, new = (generate(key) for key in keys)
    folder = release(tmp_path, 1)
    put(store, folder)
    with pytest.raises(LitesmithError) as error:
        pointed(store, "latest", old)
    assert "not signed" in one_line_of(error)
    put(store, folder, key=keys[0])
    assert pointed(store, "latest", old).sequence == 1
    put(store, folder, key=keys[1])
    assert pointed(store, "latest", new).sequence == 1


def test_a_key_signs_nothing_that_was_not_made_here(store: Store, tmp_path: Path) -> None:
    key = tmp_path / "key"
    generate(key)
    done = put(store, release(tmp_path, 1))
    again(tmp_path / "again", day=9, key_of_day=1)
    for change in (
        lambda: set_channel(store, "stable", done.release_id, key),
        lambda: publish(tmp_path / "again", None, store, "stable", key, SilentReporter()),
    ):
        with pytest.raises(LitesmithError) as error:
            change()
        assert "signs only what is made here" in one_line_of(error)
    assert read_channel(store, "stable") is None
    assert not store.exists(f"releases/{done.release_id}/{MANIFEST}.sig")


def test_a_channel_copied_over_another_is_refused(store: Store, tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = generate(key)
    put(store, release(tmp_path, 1), key=key)
    for suffix in ("", ".sig"):
        store.write(f"channels/stable.json{suffix}", store.read(f"channels/latest.json{suffix}"))
    with pytest.raises(LitesmithError) as error:
        read_channel(store, "stable", public)
    assert "of the channel 'latest'" in one_line_of(error)


def test_a_manifest_of_another_release_is_refused(store: Store, tmp_path: Path) -> None:
    first, second = (put(store, release(tmp_path, day)).release_id for day in (1, 2))
    store.write(f"releases/{second}/{MANIFEST}", store.read(f"releases/{first}/{MANIFEST}"))
    with pytest.raises(LitesmithError) as error:
        read_release(store, second)
    assert "another release" in one_line_of(error)


def test_the_channel_names_the_manifest(store: Store, tmp_path: Path) -> None:
    done = put(store, release(tmp_path, 1))
    content = store.read(f"releases/{done.release_id}/{MANIFEST}")
    assert done.channel.manifest_sha256 == hashlib.sha256(content).hexdigest()
    plain = json.loads(store.read("channels/latest.json"))
    assert {"channel", "sequence", "release", "manifest_sha256", "updated"} <= set(plain)
    assert Channel(**{**plain, "history": tuple(plain["history"])}) == done.channel


def test_a_server_of_a_folder_is_read_as_the_folder(tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = generate(key)
    local = open_store(str(tmp_path / "store"))
    for day in (1, 2):
        put(local, release(tmp_path, day), key=key)
    with served(tmp_path / "store") as url:
        store = open_store(f"{url}/")
        assert read_index(store) == read_index(local)
        assert listed(store) == listed(local)
        assert pointed(store, "latest", public) == pointed(local, "latest", public)
        assert read_channel(store, "stable") is None
        for change in (lambda: put(store, release(tmp_path, 1)), lambda: rebuild(store)):
            with pytest.raises(UsageError) as error:
                change()
            assert "can only be read" in one_line_of(error)


def test_publishers_at_once_lose_no_release_and_no_change(tmp_path: Path) -> None:
    store, gate = open_store(str(tmp_path / "store")), tmp_path / "gate"
    turns = [[release(tmp_path, day) for day in days] for days in (range(1, 6), range(6, 11))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.store.publisher", store.url, "latest", str(gate), *map(str, folders)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for folders in turns
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    gate.touch()
    while any(process.poll() is None for process in processes):  # readers need no lock
        shown = [entry.release_id for entry in read_index(store)]
        assert set(shown) <= set(store.release_ids())  # more may have come between the two looks
        for release_id in shown:
            check_whole(store, release_id)
        if read_channel(store, "latest") is not None:
            pointed(store, "latest")
    assert [process.wait() for process in processes] == [0, 0]
    assert len(listed(store)) == 10
    channel = pointed(store, "latest")
    assert channel.sequence == 10
    assert sorted((channel.release, *channel.history)) == sorted(listed(store))
    assert len(json.loads(store.read("index.json"))["releases"]) == 10
