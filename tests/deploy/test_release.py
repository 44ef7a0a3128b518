from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

import pytest

from core.errors import LitesmithError
from core.values import TensorSpec, file_sha256
from core.workspace import committed_directory
from deploy.release import ReleaseEntry, ReleaseLatency, write_release, zipped_bytes

LATENCY = ReleaseLatency("host", 41.5, 44.0, 1000, 1, "litert-python")


def entry(directory: Path, file: str, scheme: str) -> ReleaseEntry:
    source = directory / f"source-{file}"
    source.write_bytes(scheme.encode() * 500)
    return ReleaseEntry(
        source=source,
        file=file,
        labels=("cat", "dög"),
        scheme=scheme,
        input=TensorSpec("image", (1, 28, 28, 3), "uint8", 1 / 255, 0),
        output=TensorSpec("scores", (1, 2), "uint8", 1 / 256, 0),
        arch="ir_r1_k3_s1_e6_c16",
        macs=1000,
        params=200,
        recipe="pcqat",
        float_test_accuracy=0.98,
        test_accuracy=0.975,
        sparsity=0.5,
        clusters=16,
        latency=(LATENCY,),
        tool_versions={"tensorflow": "2.21.0"},
    )


def test_manifest_is_as_agreed(tmp_path: Path) -> None:
    entries = [entry(tmp_path, "a_int8.tflite", "full_integer"), entry(tmp_path, "a_float32.tflite", "float32")]
    with committed_directory(tmp_path / "release") as staging:
        write_release(staging, "digits-1", "2030-01-02T03:04:05Z", {"seed": 1}, entries)
    release = tmp_path / "release"
    assert sorted(path.name for path in release.iterdir()) == [
        "a_float32.tflite",
        "a_int8.tflite",
        "labels.txt",
        "manifest.json",
    ]
    assert (release / "labels.txt").read_text(encoding="utf-8") == "cat\ndög\n"
    manifest = json.loads((release / "manifest.json").read_text())
    assert set(manifest) == {"release", "created", "config", "artifacts"}
    first = manifest["artifacts"][0]
    agreed = (
        "file sha256 size_bytes zipped_bytes scheme input output labels arch macs params recipe float_test_accuracy "
        "test_accuracy sparsity clusters latency tool_versions"
    )
    assert set(first) == set(agreed.split())
    content = (release / "a_int8.tflite").read_bytes()
    assert content == entries[0].source.read_bytes()
    assert first["sha256"] == file_sha256(release / "a_int8.tflite") and first["size_bytes"] == len(content)
    assert first["latency"] == [dataclasses.asdict(LATENCY)]
    assert first["input"]["shape"] == [1, 28, 28, 3] and first["labels"] == "labels.txt"


def test_zipped_bytes_is_what_a_zip_takes() -> None:
    content = b"abc" * 10_000
    # A .zip of one file adds 98 bytes of headers and twice its name to the deflated data (zlib adds 6 to the same).
    expected = len(zlib.compress(content, 9)) - 6 + 98 + 2 * len("m.tflite")
    assert zipped_bytes(content, "m.tflite") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "float16"}, "no float32 sibling"),
        ({"file": "a_int8.tflite"}, "file names must differ"),
        ({"file": "labels.txt"}, "file names must differ"),
        ({"labels": ("cat", "cow")}, "do not share their labels"),
    ],
)
def test_a_bad_release_is_refused_whole(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    second = dataclasses.replace(entry(tmp_path, "a_float32.tflite", "float32"), **changes)
    entries = [entry(tmp_path, "a_int8.tflite", "full_integer"), second]
    with pytest.raises(LitesmithError, match=message), committed_directory(tmp_path / "release") as staging:
        write_release(staging, "digits-1", "2030-01-02T03:04:05Z", {}, entries)
    assert not (tmp_path / "release").exists()
