"""Opening and reading stores of all kinds."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tenacity
from fsspec.implementations.memory import MemoryFileSystem

from core.errors import LitesmithError, UsageError
from core.progress import SilentReporter
from deploy.store.base import CHUNK_BYTES, Missing, Store, public_url
from deploy.store.filesystem import open_store
from deploy.store.index import read_index
from deploy.store.remote import ATTEMPTS, RemoteStore
from deploy.store.resolve import resolve
from tests.deploy.store.pull_samples import served
from tests.deploy.store.store_samples import listed, one_line_of, put, release

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow at once; and no proxy stands before the servers of these tests."""
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["path", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind that can be written here."""
    urls = {
        "path": str(tmp_path / "a store"),
        "file": f"file://{tmp_path}/store",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return open_store(urls[request.param])


def test_files_and_folders(store: Store) -> None:
    assert store.names("releases") == () and store.release_ids() == ()
    store.write("channels/latest.json", b"1")
    store.write("channels/latest.json", b"22")
    store.write_folder("releases/demo-1", [("a/b c#%41.txt", b"x"), ("manifest.json", b"{}")])
    store.write_folder("releases/demo-2", [("labels.txt", b"x")])
    assert store.read("channels/latest.json") == b"22"
    assert store.size_bytes("channels/latest.json") == 2
    assert store.read("releases/demo-1/a/b c#%41.txt") == b"x"
    assert not store.exists("channels") and not store.exists("channels/stable.json")
    assert store.names("releases") == ("demo-1", "demo-2")
    assert store.release_ids() == ("demo-1",)
    store.remove("releases/demo-1")
    store.remove("releases/demo-1")
    assert store.names("releases") == ("demo-2",)
    with pytest.raises(Missing) as error:
        store.read("channels/stable.json")
    assert "channels/stable.json" in one_line_of(error)
    with pytest.raises(Missing):
        list(store.chunks("channels/stable.json"))


def test_large_files_come_in_pieces(store: Store) -> None:
    content = bytes(range(256)) * (CHUNK_BYTES // 256 * 2 + 1)
    store.write("large", content)
    pieces = list(store.chunks("large"))
    assert b"".join(pieces) == content
    assert len(pieces) > 1 and max(map(len, pieces)) <= CHUNK_BYTES


def test_a_folder_needs_no_fsspec_and_no_tensorflow() -> None:
    program = (
        "import sys, deploy.store.publish as _; from deploy.store.filesystem import open_store; open_store('x');"
        "print([name for name in ('fsspec', 'aiohttp', 'tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a\nb",
        "a\0b",
        "nothing://bucket",
        "://",
        "file://",
        "file://folder/store",
        "http://",
        "http:///a",
        "http://host:99999/a",
        "http://host:x/",
        "https://host/a?b=c",
        "https://host/a#b",
        "http://[::1/a",
        "~nobody-of-this-name/x",
    ],
)
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as error:
        open_store(url)
    assert one_line_of(error).startswith("--store: ")


def test_a_file_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError) as error:
        open_store(str(tmp_path / "file"))
    assert "is a file" in one_line_of(error)
    with pytest.raises(UsageError) as error:
        open_store(str(tmp_path / "none"), must_exist=True)
    assert "is not there" in one_line_of(error)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://bucket/store", "s3fs", "s3fs"),
        ("gs://bucket/store", "gcsfs", "gcsfs"),
        ("sftp://host/store", "paramiko", "paramiko"),
        ("abfs://container/store", "adlfs", "adlfs"),
        ("smb://host/store", "smbclient", "smbprotocol"),
    ],
)
def test_a_missing_plug_in_is_named(url: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as error:
        open_store(url)
    assert one_line_of(error).endswith(f"needs the Python package {package}")


def test_passwords_are_not_told() -> None:
    assert public_url("sftp://me:secret@host:22/store") == "sftp://me@host:22/store"
    assert public_url("s3://bucket/store") == "s3://bucket/store"

    class Broken(MemoryFileSystem):
        def cat_file(self, *arguments: object, **options: object) -> bytes:
            raise PermissionError("refused: s%3Fcret and s?cret")

    store = RemoteStore("sftp://me:s%3Fcret@host/store", Broken(), "/store")
    with pytest.raises(LitesmithError) as error:
        store.read("index.json")
    assert "cret" not in one_line_of(error)


def test_two_names_of_a_folder_are_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    urls = {open_store(name).url for name in ("store", "./store/", "a/../store", f"file://{tmp_path}/store/")}
    assert urls == {str(tmp_path / "store")}


class Flaky(MemoryFileSystem):
    """Fails so often before it answers, with one error."""

    cachable = False

    def __init__(self, failures: int, error: Exception) -> None:
        super().__init__()
        self.left, self.error, self.asked = failures, error, 0

    def cat_file(self, *arguments: object, **options: object) -> bytes:
        self.asked += 1
        if self.asked <= self.left:
            raise self.error
        return b"content"


def test_a_network_that_fails_is_asked_again() -> None:
    fs = Flaky(ATTEMPTS - 1, ConnectionResetError("reset"))
    assert RemoteStore("s3://bucket", fs, "/bucket").read("index.json") == b"content"
    fs = Flaky(ATTEMPTS, ConnectionResetError("reset by\npeer"))
    with pytest.raises(LitesmithError) as error:
        RemoteStore("s3://bucket", fs, "/bucket").read("index.json")
    assert "reset by peer" in one_line_of(error) and fs.asked == ATTEMPTS


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x"), ValueError("x")])
def test_what_will_not_pass_is_asked_once(error: Exception) -> None:
    fs = Flaky(1, error)
    with pytest.raises(LitesmithError):
        RemoteStore("s3://bucket", fs, "/bucket").read("index.json")
    assert fs.asked == 1


@contextmanager
def answering(*answers: tuple[int, bytes, int]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers in turn, the last one for ever: status, body, and length that it claims."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, length = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/store", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_busy_server_is_asked_again_and_a_strict_one_is_not() -> None:
    with answering((503, b"", 0), (429, b"", 0), (200, b"{}", 2)) as (url, asked):
        assert open_store(url).read("a b.json") == b"{}"
        assert asked == ["/store/a%20b.json"] * 3
    with answering((403, b"", 0)) as (url, asked):
        with pytest.raises(LitesmithError) as error:
            open_store(url).read("index.json")
        assert "403" in one_line_of(error) and len(asked) == 1
    with answering((404, b"", 0)) as (url, _), pytest.raises(Missing):
        open_store(url).read("index.json")


def test_an_answer_cut_short_is_an_error() -> None:
    with answering((200, b"half", 8)) as (url, _):
        with pytest.raises(LitesmithError) as error:
            open_store(url).read("model.tflite")
        assert "model.tflite" in one_line_of(error)
        with pytest.raises(LitesmithError) as error:
            list(open_store(url).chunks("model.tflite"))
        assert "model.tflite" in one_line_of(error)


def test_a_server_that_is_not_there_is_one_line() -> None:
    with served(ROOT) as url:
        pass
    with pytest.raises(LitesmithError) as error:
        read_index(open_store(url))
    assert url in one_line_of(error)


def test_a_server_of_something_else_is_one_line(tmp_path: Path) -> None:
    with served(tmp_path) as url, pytest.raises(LitesmithError) as error:
        read_index(open_store(url))
    assert "release rebuild" in one_line_of(error)
    with served(tmp_path) as url, pytest.raises(UsageError) as error:
        resolve(open_store(url), None, None, "--release")
    assert "it has no index.json either" in one_line_of(error)


def test_odd_file_names_over_http(tmp_path: Path) -> None:
    (tmp_path / "a b#%41é.txt").write_bytes(b"x")
    with served(tmp_path) as url:
        store = open_store(url)
        assert store.read("a b#%41é.txt") == b"x"
        assert list(store.chunks("a b#%41é.txt")) == [b"x"]
        assert store.size_bytes("a b#%41é.txt") == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / "file" / "store"))
    with pytest.raises(LitesmithError) as error:
        put(store, release(tmp_path, 1))
    assert str(tmp_path / "file") in one_line_of(error)
    nowhere = open_store("/proc/store")  # where nobody can make a folder, not even root
    with pytest.raises(UsageError) as error:
        put(nowhere, release(tmp_path, 1))
    assert "cannot be locked" in one_line_of(error)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "releases").write_bytes(b"")
    with pytest.raises(LitesmithError) as error:
        put(open_store(str(tmp_path / "store")), release(tmp_path, 1))
    assert "releases" in one_line_of(error)


def test_a_publisher_waits_for_another_one(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    folder = release(tmp_path, 1)
    other = threading.Thread(target=put, args=(open_store(store.url), folder))
    with store.locked(SilentReporter()):
        other.start()
        other.join(0.2)  # it would have published by then, or will have by the end of the test
        assert other.is_alive() and store.release_ids() == ()
    other.join()
    assert len(listed(store)) == 1
