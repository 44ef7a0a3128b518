"""manifest.json: what is read again, and what is refused, in one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import LitesmithError, UsageError
from deploy.manifest import (
    MANIFEST,
    Manifest,
    ReleaseFile,
    TestSet,
    manifest_bytes,
    parse_manifest,
    read_manifest,
    safe_path,
)
from tests.deploy.store.pull_samples import write_release

FILE = ReleaseFile("labels.txt", "0" * 64, 3)
PLAIN = Manifest("a", "2030-01-02T03:04:05+00:00", {}, (), TestSet("x", ("cat",), 1, "0" * 64), "k" * 12, "", (FILE,))


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_release(tmp_path)
    assert read_manifest(tmp_path) == written
    assert manifest_bytes(read_manifest(tmp_path)) == (tmp_path / MANIFEST).read_bytes()
    assert written.release_id == "demo-20261101T100000Z-00000000"


@pytest.mark.parametrize("path", ["a", "a/b.txt", "golden/images/1.png", "a b", "ö.md"])
def test_paths_inside_the_release_are_safe(path: str) -> None:
    assert safe_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../a", "a/../b", "a/./b", "/a", "a//b", "a/", "a\\b", "C:a", "a\0", "a\nb", ".hidden"),
        *("a/.tmp-b", "manifest.json", "Manifest.JSON", "manifest.json.sig", "pulled.json", "a*", 'a"', "a|b"),
    ],
)
def test_paths_that_leave_it_or_are_ours_are_not(path: str) -> None:
    assert not safe_path(path)
    files = (dataclasses.replace(FILE, path=path),)
    with pytest.raises(LitesmithError, match=r"^m: the path .* leaves the release's folder or is not legal") as caught:
        parse_manifest(manifest_bytes(dataclasses.replace(PLAIN, files=files)), "m")
    assert len(str(caught.value).splitlines()) == 1


def _with(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda plain: {**plain, **changes}


def _files(*paths: str) -> Callable[[dict[str, Any]], Any]:
    return _with(files=[{"path": path, "sha256": "0" * 64, "size_bytes": 3} for path in paths])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with(format=2), "format: 2 is not legal"),
        (_with(release=3), "has the wrong type"),
        (_with(release="../a"), "is no legal name of a release"),
        (_with(**{"a\rb": 1}), "unknown key"),
        (_with(config=float("nan")), "NaN is no number"),
        (_with(config=float("inf")), "Infinity is no number"),
        (_with(config=10**30), "a number of 31 digits"),
        (_with(command="\x1b[2J"), "control character"),
        (_with(config={"a\n": 1}), "control character"),
        (_with(failed=["a", "\x9b1m"]), "control character"),
        (_files("a", "A"), "names a file twice"),
        (_files("a/b", "A"), "'a' would be a file and a folder"),
        (_with(files=[{"path": "a", "sha256": "0", "size_bytes": 3}]), "no legal checksum or size"),
        (_with(files=[{"path": "a", "sha256": "0" * 64, "size_bytes": -1}]), "no legal checksum or size"),
        (lambda plain: [], "not a manifest of this version"),
    ],
)
def test_what_is_not_to_be_trusted_is_refused_in_one_line(change: Callable[[Any], Any], words: str) -> None:
    content = json.dumps(change(json.loads(manifest_bytes(PLAIN)))).encode()
    with pytest.raises(LitesmithError) as caught:
        parse_manifest(content, "m")
    text = str(caught.value)
    assert text.startswith("m: ") and words in text and len(text.splitlines()) == 1
    assert not isinstance(caught.value, UsageError)  # of what was read, not of what the user wrote


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"config": 1e999}'])
def test_damaged_content_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(LitesmithError, match=r"^m: damaged manifest") as caught:
        parse_manifest(content, "m")
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_a_manifest_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json that can be read"):
        read_manifest(tmp_path)
