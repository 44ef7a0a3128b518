"""Pulling from a store: what arrives, and what is refused without touching what was there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import LitesmithError, UsageError
from core.progress import SilentReporter
from core.workspace import read_json
from deploy.manifest import MANIFEST, Manifest, manifest_bytes, read_manifest
from deploy.store import pull as pulling
from deploy.store.channels import read_channel, set_channel
from deploy.store.filesystem import open_store
from deploy.store.publish import publish
from deploy.store.pull import Pull, pull
from deploy.store.select import Wish
from deploy.store.signing import generate, sign
from deploy.store.state import highest_seen, state_file
from tests.deploy.store.pull_samples import file_of, served, write, write_release

HOST = Wish(target="host", max_latency_us=70)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one pulled, nor what the user did."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one release, the channel latest pointing to it."""
    add(tmp_path / "store", tmp_path / "run", 1)
    return tmp_path / "store"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and its public key."""
    return tmp_path / "key", generate(tmp_path / "key")


def add(store: Path, run: Path, day: int, channel: str = "latest", key: Path | None = None) -> str:
    """Publishes a sample release; its ID."""
    shutil.rmtree(run, ignore_errors=True)
    write_release(run, day)
    return publish(run, None, open_store(str(store)), channel, key, SilentReporter()).release_id


def get(store: object, out: Path, asked: str | None = None, wish: Wish = HOST, key: Path | None = None) -> Pull:
    """Pulls without a display."""
    return pull(open_store(str(store)), asked, wish, out, key, SilentReporter())


def tree(folder: Path) -> dict[str, bytes]:
    """The content of each file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def rewritten(store: Path, change: Callable[[Manifest], Manifest], step: int = 1) -> str:
    """Changes the manifest of the store's only release and lets latest point to it with a sequence number `step`
    higher, as whoever can write the store and has no key could; the release's ID."""
    (folder,) = (store / "releases").iterdir()
    manifest = change(read_manifest(folder))
    write(folder / MANIFEST, manifest_bytes(manifest))
    channel = json.loads((store / "channels/latest.json").read_text())
    channel["sequence"] += step
    channel["manifest_sha256"] = file_of("", manifest_bytes(manifest)).sha256
    write(store / "channels/latest.json", json.dumps(channel).encode())
    return folder.name


def test_a_pull_by_http_holds_the_model_and_all_that_is_of_it(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with served(store) as url:
        done = get(url, out)
    (released,) = (store / "releases").iterdir()
    expected = ("demo-gpu.tflite", "labels.txt", "cards/demo-gpu.md", MANIFEST)
    found = tree(out)
    assert {path: found[path] for path in expected} == {path: (released / path).read_bytes() for path in expected}
    assert set(found) == {*expected, "pulled.json"}
    assert (done.is_new, done.files, done.size_bytes) == (True, 3, 900 + 8 + 6)
    assert read_json(out / "pulled.json") == {
        "store": url,
        "release": released.name,
        "channel": "latest",
        "sequence": 1,
        "manifest_sha256": file_of("", found[MANIFEST]).sha256,
        "model": "demo-gpu.tflite",
        "why": done.selection.why,
        "files": ["demo-gpu.tflite", "cards/demo-gpu.md", "labels.txt"],
    }
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_stable_comes_before_latest_and_an_id_before_both(store: Path, tmp_path: Path) -> None:
    first = get(store, tmp_path / "out").release_id
    second = add(store, tmp_path / "run", 2)
    assert get(store, tmp_path / "out").release_id == second
    assert get(store, tmp_path / "out", first).release_id == first
    set_channel(open_store(str(store)), "stable", first)
    assert get(store, tmp_path / "other").release_id == first
    assert get(store, tmp_path / "other", "latest").release_id == second


def test_the_same_again_downloads_nothing(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get(store, out)
    inode = (out / "demo-gpu.tflite").stat().st_ino
    assert not get(store, out).is_new
    assert (out / "demo-gpu.tflite").stat().st_ino == inode
    (out / "demo-gpu.tflite").write_bytes(b"g" * 900)  # as long as the right one
    assert get(store, out).is_new
    assert (out / "demo-gpu.tflite").read_bytes() == b"G" * 900


def test_another_model_replaces_all_of_the_earlier_one(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get(store, out)
    assert get(store, out, wish=Wish(model="small")).is_new
    assert set(tree(out)) == {"demo-small.tflite", "cards/demo-small.md", "labels.txt", MANIFEST, "pulled.json"}


def test_a_damaged_index_stops_no_pull(store: Path, tmp_path: Path) -> None:
    (released,) = (store / "releases").iterdir()
    for content in (b"{", b""):
        (store / "index.json").write_bytes(content)
        with served(store) as url:
            get(url, tmp_path / "channel")
            get(url, tmp_path / "id", released.name)
            with pytest.raises(UsageError, match="no channel or release 'stabel'; its index cannot be read"):
                get(url, tmp_path / "typo", "stabel")


@pytest.mark.parametrize("asked", ["beta", "demo-20200101T000000Z-00000000", "../../etc", "", "a b"])
def test_what_the_store_does_not_have(store: Path, tmp_path: Path, asked: str) -> None:
    with pytest.raises(UsageError) as error:
        get(store, tmp_path / "out", asked)
    assert all(part in str(error.value) for part in ("--release", repr(asked), str(store), "= latest"))
    assert not (tmp_path / "out").exists()


def test_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(UsageError, match="no channel stable or latest; it has no releases"):
        get(tmp_path / "store", tmp_path / "out")


def test_no_server(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        pass
    with pytest.raises(LitesmithError) as error:
        get(url, tmp_path / "out")
    assert error.value.exit_code == 1
    assert url in str(error.value)
    assert "\n" not in str(error.value)


class TestWhatIsRefused:
    """Each with an earlier pull in place, which must stay as it was, and with no rubbish left beside it."""

    @pytest.fixture
    def out(self, store: Path, tmp_path: Path) -> Iterator[Path]:
        out = tmp_path / "pulled" / "out"
        get(store, out, wish=Wish(model="small"))
        before = tree(out)
        yield out
        assert tree(out) == before
        assert os.listdir(out.parent) == ["out"]

    def refused(self, store: object, out: Path, wish: Wish = HOST, key: Path | None = None) -> str:
        with pytest.raises(LitesmithError) as error:
            get(store, out, "latest", wish=wish, key=key)
        assert error.value.exit_code == 1, error.value
        return str(error.value)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"g" * 900, "SHA-256"), (b"G" * 899, "truncated, 899 of 900"), (b"G" * 5_000_000, "longer than the 900")],
    )
    def test_a_model_that_is_not_the_manifests(self, store: Path, out: Path, content: bytes, words: str) -> None:
        (released,) = (store / "releases").iterdir()
        (released / "demo-gpu.tflite").write_bytes(content)
        with served(store) as url:
            message = self.refused(url, out)
        assert words in message
        assert f"{url}/releases/{released.name}/demo-gpu.tflite" in message

    def test_a_missing_extra(self, store: Path, out: Path) -> None:
        (released,) = (store / "releases").iterdir()
        (released / "cards/demo-gpu.md").unlink()
        assert "cards/demo-gpu.md: missing, although the manifest has it" in self.refused(store, out)

    def test_a_manifest_that_is_not_the_channels(self, store: Path, out: Path) -> None:
        (released,) = (store / "releases").iterdir()
        write(released / MANIFEST, (released / MANIFEST).read_bytes().replace(b"0.97", b"0.99"))
        assert MANIFEST in self.refused(store, out)

    def test_a_channel_to_nowhere(self, store: Path, out: Path) -> None:
        (released,) = (store / "releases").iterdir()
        (released / MANIFEST).unlink()
        assert f"points to {released.name}, which is not in the store whole" in self.refused(store, out)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"channel": "latest"}', b"\xff\xfe"])
    def test_a_damaged_channel(self, store: Path, out: Path, content: bytes) -> None:
        write(store / "channels/latest.json", content)
        assert "latest.json" in self.refused(store, out)

    def test_no_model_that_fits(self, store: Path, out: Path) -> None:
        assert "nearest is demo-small.tflite" in self.refused(store, out, Wish(target="host", max_latency_us=1))

    @pytest.mark.parametrize(
        "path",
        ["../escaped", "/tmp/escaped", "a/../../escaped", "./labels", "a//b", ".hidden", "a\\..\\b", "C:x", "x\0y", ""],
    )
    def test_paths_that_leave_the_folder(self, store: Path, out: Path, path: str) -> None:
        rewritten(store, lambda manifest: with_extra(manifest, path))
        assert "path" in self.refused(store, out)
        assert not list(out.parents[1].rglob("*escaped*"))

    @pytest.mark.parametrize(
        "path", ["pulled.json", "Pulled.JSON", "manifest.json", "Manifest.json", "MANIFEST.json.sig"]
    )
    def test_paths_of_pulls_own_files(self, store: Path, out: Path, path: str) -> None:
        rewritten(store, lambda manifest: with_extra(manifest, path))
        assert repr(path) in self.refused(store, out)

    def test_a_path_below_a_file(self, store: Path, out: Path) -> None:
        rewritten(store, lambda manifest: with_extra(manifest, "labels.txt/inner"))
        self.refused(store, out)

    def test_not_signed(self, store: Path, out: Path, keys: tuple[Path, Path]) -> None:
        assert "not signed" in self.refused(store, out, key=keys[1])


def with_extra(manifest: Manifest, path: str) -> Manifest:
    """The manifest with one more file among the extras of the model that the tests take."""
    artifacts = (
        replace(model, extras=(*model.extras, path)) if model.recipe == "gpu" else model for model in manifest.artifacts
    )
    return replace(manifest, artifacts=tuple(artifacts), files=(*manifest.files, file_of(path, b"x")))


class TestSigned:
    """A store whose releases and channels are signed, pulled with the public key."""

    @pytest.fixture
    def signed(self, tmp_path: Path, keys: tuple[Path, Path]) -> Path:
        add(tmp_path / "signed", tmp_path / "run", 1, key=keys[0])
        return tmp_path / "signed"

    def test_what_is_signed_is_taken_with_its_signature(
        self, signed: Path, tmp_path: Path, keys: tuple[Path, Path]
    ) -> None:
        with served(signed) as url:
            done = get(url, tmp_path / "out", key=keys[1])
        assert done.is_checked
        assert done.is_signed
        (released,) = (signed / "releases").iterdir()
        assert tree(tmp_path / "out")["manifest.json.sig"] == (released / "manifest.json.sig").read_bytes()
        assert not get(signed, tmp_path / "other").is_checked

    @pytest.mark.parametrize("lost", ["channels/latest.json.sig", "releases/*/manifest.json.sig"])
    def test_a_lost_signature(self, signed: Path, tmp_path: Path, keys: tuple[Path, Path], lost: str) -> None:
        (file,) = signed.glob(lost)
        file.unlink()
        with pytest.raises(LitesmithError, match="not signed") as error:
            get(signed, tmp_path / "out", key=keys[1])
        assert error.value.exit_code == 1
        assert not (tmp_path / "out").exists()

    def test_another_key(self, signed: Path, tmp_path: Path) -> None:
        with pytest.raises(LitesmithError, match="signed with key") as error:
            get(signed, tmp_path / "out", key=generate(tmp_path / "stranger"))
        assert error.value.exit_code == 1

    def test_a_changed_manifest_with_its_checksum_in_the_channel(
        self, signed: Path, tmp_path: Path, keys: tuple[Path, Path]
    ) -> None:
        release_id = rewritten(signed, lambda manifest: replace(manifest, command="other"))
        for asked in ("latest", release_id):
            with pytest.raises(LitesmithError, match="signature is of another content"):
                get(signed, tmp_path / "out", asked, key=keys[1])

    def test_a_signed_channel_under_another_name(self, signed: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
        """Who can write the store, but not sign, must not make a test release the stable one."""
        for suffix in ("json", "json.sig"):
            shutil.copyfile(signed / f"channels/latest.{suffix}", signed / f"channels/stable.{suffix}")
        with pytest.raises(LitesmithError, match="file of the channel 'latest', not of 'stable'"):
            get(signed, tmp_path / "out", key=keys[1])

    def test_a_key_that_is_none(self, signed: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
        for key in (tmp_path / "missing", keys[0], signed / "index.json"):
            with pytest.raises(UsageError, match="--public_key"):
                get(signed, tmp_path / "out", key=key)


class TestRollback:
    """A store that shows an older state than it did."""

    def rolled_back(self, store: Path, tmp_path: Path, key: Path | None = None) -> None:
        """Lets the channel go from sequence 2, which was pulled to `out`, back to 1."""
        old = {path: path.read_bytes() for path in (store / "channels").iterdir()}
        add(store, tmp_path / "run", 2, key=key)
        assert get(store, tmp_path / "out").channel == read_channel(open_store(str(store)), "latest")
        for path, content in old.items():
            path.write_bytes(content)

    def test_is_refused_wherever_it_is_pulled_to(self, tmp_path: Path, keys: tuple[Path, Path]) -> None:
        store = tmp_path / "signed"
        add(store, tmp_path / "run", 1, key=keys[0])
        self.rolled_back(store, tmp_path, keys[0])
        before = tree(tmp_path / "out")
        for out, key in (("out", None), ("new", None), ("new", keys[1])):
            with pytest.raises(LitesmithError, match="rolled back: its sequence is 1, and 2 was seen") as error:
                get(store, tmp_path / out, key=key)
            assert error.value.exit_code == 1
        assert tree(tmp_path / "out") == before
        assert not (tmp_path / "new").exists()

    def test_is_refused_by_the_pulled_folder_alone(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.rolled_back(store, tmp_path)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another computer"))
        with pytest.raises(LitesmithError, match=r"rolled back.*pulled\.json"):
            get(store, tmp_path / "out")
        get(store, tmp_path / "new")

    def test_the_message_says_what_to_delete(self, store: Path, tmp_path: Path) -> None:
        self.rolled_back(store, tmp_path)
        file = state_file(str(store), "latest")
        with pytest.raises(LitesmithError, match=str(file)):
            get(store, tmp_path / "new")
        file.unlink()
        get(store, tmp_path / "new")

    def test_an_id_is_what_was_asked_for(self, store: Path, tmp_path: Path) -> None:
        first = get(store, tmp_path / "out").release_id
        self.rolled_back(store, tmp_path)
        assert get(store, tmp_path / "out", first).release_id == first

    def test_a_channel_set_back_by_its_owner_is_none(self, store: Path, tmp_path: Path) -> None:
        first = get(store, tmp_path / "out").release_id
        add(store, tmp_path / "run", 2)
        get(store, tmp_path / "out")
        set_channel(open_store(str(store)), "latest", first)
        assert get(store, tmp_path / "out").release_id == first
        seen = highest_seen(str(store), "latest")
        assert seen is not None
        assert seen.sequence == 3

    def test_the_same_number_for_another_release(self, store: Path, tmp_path: Path) -> None:
        get(store, tmp_path / "out")
        rewritten(store, lambda manifest: replace(manifest, command="other"), step=0)
        with pytest.raises(LitesmithError, match="was rewritten: its sequence 1 named another release"):
            get(store, tmp_path / "new")

    def test_a_vanished_stable_is_not_replaced_by_latest(self, store: Path, tmp_path: Path) -> None:
        set_channel(open_store(str(store)), "stable", get(store, tmp_path / "out").release_id)
        get(store, tmp_path / "out")
        (store / "channels/stable.json").unlink()
        with pytest.raises(LitesmithError, match="channel stable was seen before and is gone"):
            get(store, tmp_path / "out")
        get(store, tmp_path / "out", "latest")

    def test_a_damaged_state_is_told(self, store: Path, tmp_path: Path) -> None:
        get(store, tmp_path / "out")
        file = state_file(str(store), "latest")
        for content in ("{", "{}", "[1]"):
            file.write_text(content)
            with pytest.raises(LitesmithError, match=str(file)) as error:
                get(store, tmp_path / "out")
            assert error.value.exit_code == 1

    def test_a_state_that_cannot_be_kept_is_told(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
        (note,) = get(store, tmp_path / "out").notes
        assert "rollback may go unnoticed" in note
        assert (tmp_path / "out/demo-gpu.tflite").exists()


class TestDestination:
    """What --out may be."""

    def test_an_empty_folder_and_a_link_to_one(self, store: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        get(store, tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real/demo-gpu.tflite").exists()
        assert not get(store, tmp_path / "real").is_new

    @pytest.mark.parametrize("content", [None, "{", "{}", '{"model": 1}'])
    def test_a_folder_of_somebody_elses(self, store: Path, tmp_path: Path, content: str | None) -> None:
        write(tmp_path / "out/mine.txt", b"mine")
        if content is not None:
            write(tmp_path / "out/pulled.json", content.encode())
        with pytest.raises(UsageError, match=r"holds mine\.txt and no pulled\.json"):
            get(store, tmp_path / "out")
        assert (tmp_path / "out/mine.txt").read_bytes() == b"mine"

    def test_a_pulled_folder_with_a_file_of_the_users(self, store: Path, tmp_path: Path) -> None:
        get(store, tmp_path / "out")
        write(tmp_path / "out/cards/notes.txt", b"mine")
        with pytest.raises(UsageError, match=r"holds cards/notes\.txt, which no pull wrote"):
            get(store, tmp_path / "out")
        (tmp_path / "out/cards/notes.txt").unlink()
        write(tmp_path / "out/cards/.DS_Store", b"left by a file manager")
        assert get(store, tmp_path / "out", wish=Wish(model="small")).is_new

    def test_links_in_a_pulled_folder_lead_nowhere(self, store: Path, tmp_path: Path) -> None:
        """What they point to is neither written nor removed."""
        get(store, tmp_path / "out")
        write(tmp_path / "mine/demo-gpu.md", b"mine")
        shutil.rmtree(tmp_path / "out/cards")
        (tmp_path / "out/cards").symlink_to(tmp_path / "mine")
        with pytest.raises(UsageError, match="holds cards, which no pull wrote"):
            get(store, tmp_path / "out")
        (tmp_path / "out/cards").unlink()
        for name in ("labels.txt", "pulled.json", MANIFEST):
            write(tmp_path / "mine" / name, (tmp_path / "out" / name).read_bytes() + b"\n")
            (tmp_path / "out" / name).unlink()
            (tmp_path / "out" / name).symlink_to(tmp_path / "mine" / name)
        before = tree(tmp_path / "mine")
        assert get(store, tmp_path / "out").is_new
        assert tree(tmp_path / "mine") == before
        assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))

    def test_a_file(self, store: Path, tmp_path: Path) -> None:
        write(tmp_path / "out", b"")
        with pytest.raises(UsageError, match="--out"):
            get(store, tmp_path / "out")
        with pytest.raises(UsageError, match="--out"):
            get(store, tmp_path / "out/inner")

    def test_the_current_folder(self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(UsageError, match="the folder that you are in"):
            get(store, Path("."))
        get(store, Path("inner"))

    def test_what_a_killed_pull_left_is_removed(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = tmp_path / "inner"
        left = inner / ".tmp-pull-out-abcdefgh"
        write(left / "demo-gpu.tflite", b"half")
        write(inner / ".tmp-pull-other-abcdefgh/x", b"another pull's")
        get(store, inner / "out")
        assert sorted(os.listdir(inner)) == [".tmp-pull-other-abcdefgh", "out"]

    def test_two_pulls_at_once_do_not_meet(self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A whole pull to the same folder while another one is at work."""
        first = pulling._download
        others: list[Pull] = []

        def meanwhile(*arguments: object) -> None:
            if not others:
                monkeypatch.setattr(pulling, "_download", first)
                others.append(get(store, tmp_path / "out", wish=Wish(model="small")))
            first(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(pulling, "_download", meanwhile)
        done = get(store, tmp_path / "out")
        assert others[0].selection.model.recipe == "small"
        assert done.selection.model.recipe == "gpu"
        assert set(tree(tmp_path / "out")) == {
            "demo-gpu.tflite",
            "cards/demo-gpu.md",
            "labels.txt",
            MANIFEST,
            "pulled.json",
        }


def test_a_connection_that_breaks_off_is_tried_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_store(str(store))
    whole, broken = opened.chunks, []

    def chunks(path: str) -> Iterator[bytes]:
        content = b"".join(whole(path))
        yield content[:5]
        if path.endswith(".tflite") and len(broken) < 2:
            broken.append(path)
            raise LitesmithError("the connection was reset")
        yield content[5:]

    monkeypatch.setattr(opened, "chunks", chunks)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pull(opened, None, HOST, tmp_path / "out", None, SilentReporter())
    assert (tmp_path / "out/demo-gpu.tflite").read_bytes() == b"G" * 900
    assert len(broken) == 2


@pytest.mark.parametrize(
    ("path", "words"),
    [("x" * 300, "out: cannot be written"), ("labels.txt/inner", "'labels.txt' would be a file and a folder")],
)
def test_a_path_that_no_disk_takes(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    """Of a server that answers to any: one line, and nothing is left."""
    rewritten(store, lambda manifest: with_extra(manifest, path))
    opened = open_store(str(store))
    whole = opened.chunks
    monkeypatch.setattr(opened, "chunks", lambda asked: iter([b"x"]) if asked.endswith(path) else whole(asked))
    with pytest.raises(LitesmithError, match=words) as error:
        pull(opened, None, HOST, tmp_path / "here/out", None, SilentReporter())
    assert error.value.exit_code == 1
    assert list(tmp_path.glob("here/*")) == []


def test_a_store_can_be_signed_later(store: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Signing what is there changes neither the release nor the channel's number; a pull then gets the signature."""
    get(store, tmp_path / "out")
    (released,) = (store / "releases").iterdir()
    publish(tmp_path / "run", None, open_store(str(store)), "latest", keys[0], SilentReporter())
    done = get(store, tmp_path / "out", key=keys[1])
    assert done.is_new
    assert (tmp_path / "out/manifest.json.sig").read_bytes() == sign((released / MANIFEST).read_bytes(), keys[0])
