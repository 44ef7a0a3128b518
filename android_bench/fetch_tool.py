"""Downloads a benchmark tool whose checksum is known.

TensorFlow publishes benchmark_model only as a nightly build that changes without notice, so there is no table of
checksums here: whoever names a URL has looked at the file behind it once, and says its SHA-256.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO

from core.errors import LitesmithError, UsageError, bad_value, one_line
from core.values import file_sha256

# By ABI: TensorFlow's nightly builds (https://ai.google.dev/edge/litert/models/measurement).
_NIGHTLY = "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
NIGHTLY_URLS = {
    "arm64-v8a": f"{_NIGHTLY}android_aarch64_benchmark_model",
    "armeabi-v7a": f"{_NIGHTLY}android_arm_benchmark_model",
}

SILENCE_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20


def fetch_tool(url: str, sha256: str, cache_dir: Path, silence_s: float = SILENCE_SECONDS) -> Path:
    """The executable file behind an http or https URL, from `cache_dir` if it is there already.

    The file appears there only if its SHA-256 is `sha256` (64 hex digits). `silence_s` is how long the server may be
    silent. Raises UsageError for another kind of URL or checksum, LitesmithError in one line if the download fails or
    another content comes.
    """
    digest, name = _checked(url, sha256)
    path = cache_dir / f"{digest[:16]}-{name}"
    if path.is_file() and file_sha256(path) == digest:
        return path
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=cache_dir)
    except OSError as error:
        raise LitesmithError(f"{cache_dir}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _download(url, file, silence_s)
            if found != digest:
                raise LitesmithError(f"{url}: has SHA-256 {found}, expected {digest}; not kept")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o755)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _checked(url: str, sha256: str) -> tuple[str, str]:
    """The checksum in lower case and the file's name."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise bad_value("SHA-256 of the benchmark tool", sha256, "64 hexadecimal digits")
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"URL of the benchmark tool: {url!r} is not legal; expected an http or https address")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", parts.path.rpartition("/")[2])
    return sha256.lower(), name or "benchmark_model"


def _download(url: str, file: IO[bytes], silence_s: float) -> str:
    """Writes the content to `file`; its SHA-256."""
    digest, count = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=silence_s) as response:
            length = response.headers.get("Content-Length")
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                count += len(chunk)
    except urllib.error.HTTPError as error:
        reason = " ".join(error.reason.split())[:200]  # of an endless redirect: several lines
        raise LitesmithError(f"{url}: the server answers {error.code} {reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        words = one_line(cause) if isinstance(cause, Exception) else str(cause)
        raise LitesmithError(f"{url}: cannot be downloaded ({words})") from error
    if length is not None and length.isdigit() and count < int(length):
        raise LitesmithError(f"{url}: the download ended after {count} of {length} bytes")
    return digest.hexdigest()
