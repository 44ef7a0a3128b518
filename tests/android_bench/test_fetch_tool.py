"""Downloads from a local HTTP server."""

from __future__ import annotations

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from android_bench.fetch_tool import fetch_tool
from core.errors import LitesmithError, UsageError

DATA = b"\x7fELF" + bytes(range(256)) * 9000  # 2.3 MB: several chunks
DIGEST = hashlib.sha256(DATA).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self):
        self.requests.append(self.path)
        getattr(self, f"_{self.path.strip('/')}", self._missing)()

    def _benchmark_model(self):
        self._head(200, len(DATA))
        self.wfile.write(DATA)

    def _truncated(self):
        self._head(200, len(DATA))
        self.wfile.write(DATA[:-1000])
        self.close_connection = True

    def _silent(self):
        self._head(200, len(DATA))
        self.wfile.flush()
        self.server.silence.wait(30)

    def _moved(self):
        self._redirect("/benchmark_model")

    def _outside(self):
        self._redirect("file:///etc/hostname")

    def _round(self):
        self._redirect("/round")

    def _missing(self):
        self.send_error(404)

    def _redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    def _head(self, code, length):
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        """Nothing on the test's output."""


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.silence = threading.Event()
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.silence.set()
        http.shutdown()


@pytest.fixture
def requests():
    _Handler.requests.clear()
    return _Handler.requests


def test_a_tool_is_fetched_once(server, requests, tmp_path):
    path = fetch_tool(f"{server}/benchmark_model", DIGEST.upper(), tmp_path / "cache")
    assert path.read_bytes() == DATA
    assert path.name == f"{DIGEST[:16]}-benchmark_model"
    assert os.access(path, os.X_OK)
    assert fetch_tool(f"{server}/benchmark_model", DIGEST, tmp_path / "cache") == path
    assert requests == ["/benchmark_model"]


def test_a_redirect_is_followed(server, tmp_path):
    assert fetch_tool(f"{server}/moved", DIGEST, tmp_path).read_bytes() == DATA


def test_a_damaged_copy_is_fetched_again(server, requests, tmp_path):
    path = fetch_tool(f"{server}/benchmark_model", DIGEST, tmp_path)
    path.write_bytes(b"damaged")
    assert fetch_tool(f"{server}/benchmark_model", DIGEST, tmp_path).read_bytes() == DATA
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("benchmark_model", rf"has SHA-256 {DIGEST}, expected {'0' * 64}; not kept"),
        ("nothing", "the server answers 404 Not Found"),
        ("truncated", rf"the download ended after {len(DATA) - 1000} of {len(DATA)} bytes"),
        ("silent", "cannot be downloaded"),
        ("outside", "the server answers 302"),
        ("round", "the server answers 302"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(server, tmp_path, page, words):
    with pytest.raises(LitesmithError, match=words) as caught:
        fetch_tool(f"{server}/{page}", "0" * 64, tmp_path, silence_s=0.5)
    assert str(caught.value).startswith(f"{server}/{page}: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path):
    with pytest.raises(LitesmithError, match=r"cannot be downloaded \(.*refused\)"):
        fetch_tool("http://127.0.0.1:1/tool", "0" * 64, tmp_path)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LitesmithError, match="file: cannot be written"):
        fetch_tool(f"{server}/benchmark_model", DIGEST, tmp_path / "file")


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://host/tool", "http:///tool", "http://[/tool"])
def test_other_urls_are_usage_errors(url, tmp_path):
    with pytest.raises(UsageError, match="expected an http or https address"):
        fetch_tool(url, DIGEST, tmp_path)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "g" * 64])
def test_other_checksums_are_usage_errors(sha256, tmp_path):
    with pytest.raises(UsageError, match="expected 64 hexadecimal digits"):
        fetch_tool("https://host/tool", sha256, tmp_path)
