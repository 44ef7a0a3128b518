"""The files of a release and its manifest."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import LitesmithError
from core.values import TensorSpec, file_sha256
from core.workspace import atomic_write_bytes, atomic_write_json
from deploy.schemes import FLOAT32

MANIFEST = "manifest.json"
LABELS = "labels.txt"


@dataclass(frozen=True, slots=True)
class ReleaseLatency:
    """One line of latency; `tool` names what measured it."""

    target: str
    median_us: float
    p95_us: float
    runs: int
    threads: int
    tool: str


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """One .tflite of a release: the file to copy and everything the manifest says of it.

    Accuracies and sparsity are fractions of 1; `clusters` is None for a network whose weights were not clustered.
    """

    source: Path
    file: str
    labels: tuple[str, ...]
    scheme: str
    input: TensorSpec
    output: TensorSpec
    arch: str
    macs: int
    params: int
    recipe: str
    float_test_accuracy: float
    test_accuracy: float
    sparsity: float
    clusters: int | None
    latency: tuple[ReleaseLatency, ...]
    tool_versions: Mapping[str, str]


def zipped_bytes(content: bytes, name: str = "model.tflite") -> int:
    """Size in bytes of a .zip holding just this file, deflated at level 9: what a download costs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr(name, content)
    return len(archive.getvalue())


def write_release(out_dir: Path, name: str, created: str, config: Any, entries: Sequence[ReleaseEntry]) -> None:
    """Fills `out_dir`, a staging directory that the caller commits, with the models, the labels and the manifest.

    Args:
      created: when, as ISO 8601 text.
      config: the configuration of the run, with a canonical JSON form.

    Raises LitesmithError if no float32 sibling is among the entries, two would get one file name, or they differ in
    their labels.
    """
    _check(entries)
    for entry in entries:
        shutil.copyfile(entry.source, out_dir / entry.file)
    labels = "".join(f"{label}\n" for label in entries[0].labels)
    atomic_write_bytes(out_dir / LABELS, labels.encode())
    artifacts = [_artifact(out_dir, entry) for entry in entries]
    manifest = {"release": name, "created": created, "config": config, "artifacts": artifacts}
    atomic_write_json(out_dir / MANIFEST, manifest)


def _check(entries: Sequence[ReleaseEntry]) -> None:
    if not any(entry.scheme == FLOAT32 for entry in entries):
        raise LitesmithError("release: no float32 sibling among its models")
    names = [entry.file for entry in entries]
    if len({*names, LABELS, MANIFEST}) != len(names) + 2:
        raise LitesmithError(f"release: file names must differ, got {', '.join(names)}")
    if len({entry.labels for entry in entries}) != 1:
        raise LitesmithError("release: its models do not share their labels")


def _artifact(out_dir: Path, entry: ReleaseEntry) -> dict[str, Any]:
    content = (out_dir / entry.file).read_bytes()
    return {
        "file": entry.file,
        "sha256": file_sha256(out_dir / entry.file),
        "size_bytes": len(content),
        "zipped_bytes": zipped_bytes(content, entry.file),
        "scheme": entry.scheme,
        "input": entry.input,
        "output": entry.output,
        "labels": LABELS,
        "arch": entry.arch,
        "macs": entry.macs,
        "params": entry.params,
        "recipe": entry.recipe,
        "float_test_accuracy": entry.float_test_accuracy,
        "test_accuracy": entry.test_accuracy,
        "sparsity": entry.sparsity,
        "clusters": entry.clusters,
        "latency": list(entry.latency),
        "tool_versions": dict(entry.tool_versions),
    }
