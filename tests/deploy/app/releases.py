"""Releases as small as they can be, around models that the tests of deploy have converted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.values import file_sha256
from deploy.app.app_files import write_app_files
from deploy.app.facts import AppModel, ReleaseFacts
from deploy.flatbuffer import describe
from deploy.interpreter import predict
from deploy.manifest import MANIFEST, Manifest, ReleaseFile, ReleaseLatency, ReleaseModel, TestSet, manifest_bytes
from search.dataset import ImageSet

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMAND = "python -m pipeline.main run --config=configs/demo.py --workdir=out/demo"
TEST_SET = TestSet("digits", LABELS, 1000, "ab" * 32)
FACTS = ReleaseFacts("demo", "2030-01-02T03:04:05Z", LABELS, TEST_SET, "digits", 3000, 300, "shift", 7, command=COMMAND)
LATENCY = (
    ReleaseLatency(
        *("pixel3", 812.5, 901.0, 2500, 4, "benchmark_model 2.21"),
        low_us=800.0,
        high_us=820.5,
        processes=5,
        device="Pixel 3",
        delegate="xnnpack",
        peak_memory_bytes=12_300_000,
    ),
    ReleaseLatency("host", 41.5, 0.0, 1000, 1, "ai-edge-litert 2.3.0", verdict="noisy: spread 12 %"),
)


def released_model(path: Path, scheme: str, test: ImageSet) -> tuple[ReleaseModel, np.ndarray]:
    """What a manifest says of a model, and the class that it names for each test image."""
    (inputs,), (outputs,) = describe(path)
    predicted = predict(path, test.rgb()).argmax(1).astype(np.int32)
    accuracy = float(np.mean(predicted == test.labels))
    model = ReleaseModel(
        file=path.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        zipped_bytes=1000,
        scheme=scheme,
        input=inputs,
        output=outputs,
        labels="labels.txt",
        arch="input_r28_n10_w1 stem_s2_c16",
        macs=1_234_567,
        params=12_345,
        recipe="pcqat",
        float_test_accuracy=accuracy + 0.01,
        test_accuracy=accuracy,
        sparsity=0.5,
        clusters=16,
        latency=LATENCY,
        tool_versions={"tensorflow": "2.21.0"},
    )
    return model, predicted


def make_release(folder: Path, sources: dict[str, Path], test: ImageSet, *, metadata: bool) -> Manifest:
    """A release's folder of models by scheme, each as SCHEME.tflite, with all that write_app_files makes."""
    folder.mkdir()
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    entries = []
    for scheme, source in sources.items():
        shutil.copyfile(source, folder / f"{scheme}.tflite")
        model, predicted = released_model(folder / f"{scheme}.tflite", scheme, test)
        entries.append(AppModel(model, test, predicted, ("prune0.5", "cluster16", "qat")))
    extras = write_app_files(folder, entries, FACTS, golden_images=4, metadata=metadata)
    return write_manifest(folder, entries, extras)


def write_manifest(folder: Path, entries: list[AppModel], extras: dict[str, tuple[str, ...]]) -> Manifest:
    """The manifest of what is in the folder."""
    models = tuple(replace(entry.model, extras=extras[entry.model.file]) for entry in entries)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    beside = sorted(names - {model.file for model in models})
    files = tuple(ReleaseFile(name, file_sha256(folder / name), (folder / name).stat().st_size) for name in beside)
    manifest = Manifest("demo", FACTS.created, {}, models, TEST_SET, key="a" * 12, files=files)
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return manifest


def pulled(release: Path, out: Path, manifest: Manifest, file: str) -> Path:
    """What `pull` makes of a release: one model with what belongs to it."""
    model = next(model for model in manifest.artifacts if model.file == file)
    for path in (model.file, model.labels, *model.extras, MANIFEST):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(release / path, out / path)
    sha256 = file_sha256(out / MANIFEST)
    (out / "pulled.json").write_text(json.dumps({"model": file, "manifest_sha256": sha256}))
    return out
