"""Small releases for the tests of pulling: real files with real checksums, and figures on two targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from core.values import TensorSpec
from deploy.manifest import (
    MANIFEST,
    Manifest,
    ReleaseFile,
    ReleaseLatency,
    ReleaseModel,
    TestSet,
    manifest_bytes,
)

LABELS = b"cat\ndog\n"


def latency(target: str, median_us: float, spread: float = 0.02, verdict: str = "ok") -> ReleaseLatency:
    """A figure with an interval of `spread` to both sides."""
    low, high = median_us * (1 - spread), median_us * (1 + spread)
    return ReleaseLatency(
        target, median_us, median_us * 1.3, 500, 1, "litert", low, high, 5, "Some CPU", verdict=verdict
    )


def model(name: str, content: bytes, accuracy: float, latencies: tuple[ReleaseLatency, ...]) -> ReleaseModel:
    """A model of the recipe `name` with one extra file, its card."""
    image = TensorSpec("image", (1, 28, 28, 3), "uint8", 1 / 255, 0)
    scores = TensorSpec("scores", (1, 2), "uint8", 1 / 256, 0)
    return ReleaseModel(
        file=f"demo-{name}.tflite",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        zipped_bytes=len(content) // 2,
        scheme="full_integer",
        input=image,
        output=scores,
        labels="labels.txt",
        arch="input_r28_n2_w1",
        macs=1000,
        params=100,
        recipe=name,
        float_test_accuracy=0.99,
        test_accuracy=accuracy,
        sparsity=0.0,
        clusters=None,
        latency=latencies,
        extras=(f"cards/demo-{name}.md",),
    )


# Of each recipe: its content, accuracy, and latencies. "large" is accurate and slow, "small" the contrary; "gpu" was
# to run on the phone's GPU and did not.
MODELS: Mapping[str, tuple[bytes, float, tuple[ReleaseLatency, ...]]] = {
    "large": (b"L" * 3000, 0.98, (latency("host", 90.0), latency("pixel3", 1200.0))),
    "small": (b"S" * 1000, 0.95, (latency("host", 40.0), latency("pixel3", 500.0))),
    "gpu": (b"G" * 900, 0.97, (latency("host", 60.0), latency("pixel3", 100.0, verdict="fell back to CPU: no GPU"))),
}


def write_release(folder: Path, day: int = 1) -> Manifest:
    """Fills `folder` as stage "release" does; `day` tells releases apart."""
    files = {"labels.txt": LABELS, "evaluation/other.bin": b"not pulled"}
    artifacts = []
    for name, (content, accuracy, latencies) in MODELS.items():
        artifact = model(name, content, accuracy, latencies)
        files[artifact.extras[0]] = f"# {name}\n".encode()
        artifacts.append(artifact)
        write(folder / artifact.file, content)
    for path, content in files.items():
        write(folder / path, content)
    manifest = Manifest(
        release="demo",
        created=f"2026-11-{day:02}T10:00:00+00:00",
        config={"seed": 1, "train": {"epochs": 3 + day}},
        artifacts=tuple(artifacts),
        test_set=TestSet("animals", ("cat", "dog"), 1000, "0" * 64),
        key=f"{day:064x}",
        files=tuple(file_of(path, content) for path, content in sorted(files.items())),
    )
    write(folder / MANIFEST, manifest_bytes(manifest))
    return manifest


def file_of(path: str, content: bytes) -> ReleaseFile:
    """What the manifest says of a file."""
    return ReleaseFile(path, hashlib.sha256(content).hexdigest(), len(content))


def write(path: Path, content: bytes) -> None:
    """Writes a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def with_model(manifest: Manifest, name: str, **changes: object) -> Manifest:
    """The manifest with one model's values replaced."""
    file = f"demo-{name}.tflite"
    artifacts = (replace(item, **changes) if item.file == file else item for item in manifest.artifacts)  # type: ignore[arg-type]
    return replace(manifest, artifacts=tuple(artifacts))


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A local HTTP server of a folder; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
