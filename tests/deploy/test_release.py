from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.errors import LitesmithError
from core.values import TensorSpec, file_sha256
from core.workspace import committed_directory
from deploy import release as release_module
from deploy.app.facts import ReleaseFacts
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel, TestSet, read_manifest
from deploy.predictions import PREDICTIONS, Predictions, parse_predictions
from deploy.release import AppSettings, ReleaseContent, write_release, zipped_bytes

LATENCY = ReleaseLatency("host", 41.5, 44.0, 1000, 1, "litert-python", 41.0, 42.0, 5, "Some CPU", "x86_64", "xnnpack")
NAMES = ("cat", "dög")
TEST_SET = TestSet("pets", NAMES, 3, "0" * 64)


def model(directory: Path, file: str, scheme: str) -> ReleaseModel:
    source = directory / f"source-{file}"
    source.write_bytes(scheme.encode() * 500)
    return ReleaseModel(
        file=file,
        sha256=file_sha256(source),
        size_bytes=source.stat().st_size,
        zipped_bytes=100,
        scheme=scheme,
        input=TensorSpec("image", (1, 28, 28, 3), "uint8", 1 / 255, 0),
        output=TensorSpec("scores", (1, 2), "uint8", 1 / 256, 0),
        labels="labels.txt",
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


def content(directory: Path, *models: ReleaseModel) -> ReleaseContent:
    created, command = "2030-01-02T03:04:05+00:00", "python -m pipeline.main run"
    manifest = Manifest("digits-1", created, {"seed": 1}, models, TEST_SET, "0123456789ab", command)
    label = np.array([0, 1, 1], np.int32)
    return ReleaseContent(
        manifest=manifest,
        sources={model.file: directory / f"source-{model.file}" for model in models},
        predictions=Predictions(np.arange(3, dtype=np.uint64), label, {model.file: label for model in models}),
        models=(),
        facts=ReleaseFacts("digits-1", created, NAMES, TEST_SET, "pets", 5, 2, "none", 1),
        app=AppSettings(0, "com.example", metadata=False),
    )


def both(directory: Path) -> ReleaseContent:
    models = model(directory, "a_int8.tflite", "full_integer"), model(directory, "a_float32.tflite", "float32")
    return content(directory, *models)


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What apps get is tested in tests/deploy/app; the models of these tests are no models."""

    def write(folder: Path, *_: object, **__: object) -> dict[str, tuple[str, ...]]:
        (folder / "golden").mkdir()
        (folder / "golden" / "a.json").write_text("{}")
        return {"a_int8.tflite": ("golden/a.json",)}

    monkeypatch.setattr(release_module, "write_app_files", write)


def test_a_release_is_whole_and_its_manifest_lists_all_of_it(tmp_path: Path) -> None:
    whole = both(tmp_path)
    with committed_directory(tmp_path / "release") as staging:
        written = write_release(staging, whole)
    folder = tmp_path / "release"
    assert read_manifest(folder) == written
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {file.path for file in written.all_files} == there.keys() - {"manifest.json"}
    for file in written.all_files:
        found = there[file.path].read_bytes()
        assert (file.size_bytes, file.sha256) == (len(found), hashlib.sha256(found).hexdigest())
    assert (folder / "labels.txt").read_text(encoding="utf-8") == "cat\ndög\n"
    assert (folder / "a_int8.tflite").read_bytes() == (tmp_path / "source-a_int8.tflite").read_bytes()
    predicted = parse_predictions((folder / PREDICTIONS).read_bytes(), "x").predicted
    assert predicted.keys() == {"a_int8.tflite", "a_float32.tflite"}
    assert written.artifacts[0].extras == ("golden/a.json",) and written.artifacts[1].extras == ()
    assert written.release_id == "digits-1-20300102T030405Z-01234567"


def test_manifest_is_as_agreed(tmp_path: Path) -> None:
    with committed_directory(tmp_path / "release") as staging:
        write_release(staging, both(tmp_path))
    manifest = json.loads((tmp_path / "release" / "manifest.json").read_text())
    agreed = "artifacts command config created failed files format key release test_set"
    assert set(manifest) == set(agreed.split())
    first = manifest["artifacts"][0]
    agreed = (
        "file sha256 size_bytes zipped_bytes scheme input output labels arch macs params recipe float_test_accuracy "
        "test_accuracy val_accuracy sparsity clusters latency tool_versions winner extras"
    )
    assert set(agreed.split()) <= set(first)
    assert first["latency"] == [dataclasses.asdict(LATENCY)]
    assert first["input"]["shape"] == [1, 28, 28, 3] and first["labels"] == "labels.txt"
    assert manifest["test_set"] == {"name": "pets", "class_names": ["cat", "dög"], "images": 3, "sha256": "0" * 64}


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
        ({"sha256": "1" * 64}, "has changed since it was converted"),
        ({"labels": "names.txt"}, "names 'names.txt', which is not among the files"),
    ],
)
def test_a_bad_release_is_refused_whole(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    second = dataclasses.replace(model(tmp_path, "a_float32.tflite", "float32"), **changes)  # type: ignore[arg-type]
    whole = content(tmp_path, model(tmp_path, "a_int8.tflite", "full_integer"), second)
    sources = {**whole.sources, second.file: tmp_path / "source-a_float32.tflite"}
    with pytest.raises(LitesmithError, match=message), committed_directory(tmp_path / "release") as staging:
        write_release(staging, dataclasses.replace(whole, sources=sources))
    assert not (tmp_path / "release").exists()
