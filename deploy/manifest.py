"""What a release says of itself: the values of manifest.json. No TensorFlow here.

The manifest is written last, so a folder that has one is whole. It lists every other file with its checksum.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import LitesmithError, UsageError, bad_value, one_line
from core.spec_io import from_plain, to_plain
from core.values import Measurement, TensorSpec

MANIFEST = "manifest.json"
PULLED = "pulled.json"  # the note that `pull` leaves beside it
FORMAT = 1
MAX_DIGITS = 18  # of a whole number; more is nobody's size or count
SHA256 = re.compile("[0-9a-f]{64}")
RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# What a measurement was made on, as the runners of phones, boards and this computer say it.
_DEVICES = ("device", "board", "host_cpu")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release beside the models: `path` is relative, with "/" between folders."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ReleaseLatency:
    """A model's latency on one target, with its conditions.

    Attributes:
      low_us, high_us: the 95 % interval of `median_us`; both 0 where there is none.
      p95_us: 0 where the tool does not tell it.
      device: what was measured on: a phone's or board's model, or the CPU of the computer `host`; "" if unknown.
      verdict: "ok" or why not to trust the figure, as core.values.Measurement has it.
    """

    target: str
    median_us: float
    p95_us: float
    runs: int
    threads: int
    tool: str
    low_us: float = 0.0
    high_us: float = 0.0
    processes: int = 0
    device: str = ""
    abi: str = ""
    delegate: str = ""
    peak_memory_bytes: int = 0
    verdict: str = "ok"


@dataclass(frozen=True, slots=True)
class TestSet:
    """The test images that all accuracies are of; `sha256` is of images and labels."""

    __test__ = False  # pytest takes it for a test class

    name: str
    class_names: tuple[str, ...]
    images: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """One .tflite. Accuracies and sparsity are fractions of 1; `clusters` is None where no weights were clustered.

    Attributes:
      labels: the file of its labels.
      winner: which of the search's winners it is, from 0.
      val_accuracy: on the validation images, which the search saw; 0 where it is not known.
      extras: files beside the model that are of this one alone: card, golden outputs, snippets, wrapper.
    """

    file: str
    sha256: str
    size_bytes: int
    zipped_bytes: int
    scheme: str
    input: TensorSpec
    output: TensorSpec
    labels: str
    arch: str
    macs: int
    params: int
    recipe: str
    float_test_accuracy: float
    test_accuracy: float
    sparsity: float
    clusters: int | None
    latency: tuple[ReleaseLatency, ...]
    tool_versions: dict[str, str] = field(default_factory=dict)
    winner: int = 0
    val_accuracy: float = 0.0
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release: its models, and every other file.

    Attributes:
      release: the name that its releases share (config.release.name).
      created: when, as ISO 8601 text in UTC.
      key: of the run's inputs (data, configuration, versions): equal keys, equal work.
      command: the command line that makes the release again.
      files: all files but the models, the manifest and its signature.
      failed: the files of models that were asked for and could not be made.
    """

    release: str
    created: str
    config: Any
    artifacts: tuple[ReleaseModel, ...]
    test_set: TestSet
    key: str = ""
    command: str = ""
    files: tuple[ReleaseFile, ...] = ()
    failed: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def release_id(self) -> str:
        """NAME-TIME-KEY, the folder of the release in a store; the same for the same manifest."""
        time = re.sub("[^0-9TZ]", "", self.created.replace("+00:00", "Z"))
        return f"{self.release}-{time}-{self.key[:8]}"

    @property
    def all_files(self) -> tuple[ReleaseFile, ...]:
        """The models and every other file."""
        models = (ReleaseFile(model.file, model.sha256, model.size_bytes) for model in self.artifacts)
        return (*models, *self.files)


def latency_of(measurement: Measurement) -> ReleaseLatency:
    """What a release tells of a measurement."""
    latency, target, conditions = measurement.latency, measurement.target, measurement.conditions
    return ReleaseLatency(
        target=target.name,
        median_us=latency.median_us,
        p95_us=latency.p95_us,
        runs=latency.runs,
        threads=target.num_threads,
        tool=measurement.tool,
        low_us=latency.low_us,
        high_us=latency.high_us,
        processes=latency.processes,
        device=next((conditions[name] for name in _DEVICES if conditions.get(name)), ""),
        abi=target.abi,
        delegate=target.delegate,
        peak_memory_bytes=measurement.peak_memory_bytes,
        verdict=measurement.verdict,
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The file's content; equal manifests have equal bytes, which is what is signed."""
    return (json.dumps(to_plain(manifest), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in `content`, checked: no path of it leaves the release's folder or names a file twice.

    Raises LitesmithError naming `where` if it is damaged, of a later format, or not to be trusted.
    """
    try:
        plain = json.loads(content, parse_constant=_number, parse_int=_whole_number, parse_float=_number)
        if isinstance(plain, dict) and plain.get("format") != FORMAT:
            raise bad_value(f"{where}: format", plain.get("format"), f"{FORMAT}, which this version reads")
        manifest = from_plain(Manifest, plain, "manifest")
    except UsageError as error:
        raise LitesmithError(f"{where}: not a manifest of this version: {one_line(error)}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or no text at all
        raise LitesmithError(f"{where}: damaged manifest ({one_line(error)})") from error
    _check(manifest, where)
    try:
        check_printable(plain)
    except ValueError as error:
        raise LitesmithError(f"{where}: damaged manifest ({one_line(error)})") from error
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a release's folder. Raises UsageError if there is none, LitesmithError if it is damaged."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{folder}: no {MANIFEST} that can be read ({error.strerror}); expected a release") from error
    return parse_manifest(content, str(path))


def safe_path(path: str) -> bool:
    """Whether a relative path stays in its folder, is in its plainest form, and is not one of our own files."""
    parts = PurePosixPath(path).parts
    plain = bool(parts) and str(PurePosixPath(*parts)) == path and not PurePosixPath(path).is_absolute()
    hidden = any(part.startswith(".") for part in parts)  # also "..", and the names of temporaries
    legal = not set(path) & set('\\:*?"<>|\0') and path.isprintable()
    return plain and not hidden and legal and not path.casefold().startswith((MANIFEST, PULLED))


def check_printable(plain: Any) -> None:
    """Raises ValueError if a text in a value of JSON has a control character: people see it on their terminals."""
    for text in _texts(plain):
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise ValueError(f"a control character in {text[:40]!r}")


def _texts(plain: Any) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, (list, dict)):
        for inner in plain if isinstance(plain, list) else (*plain, *plain.values()):
            yield from _texts(inner)


def _number(text: str) -> float:
    """A number of JSON that is one: not NaN, and not infinity, which also large numbers become."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number")
    return value


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _check(manifest: Manifest, where: str) -> None:
    if not RELEASE_ID.fullmatch(manifest.release_id):
        raise LitesmithError(f"{where}: {manifest.release_id!r} is no legal name of a release")
    paths = [file.path for file in manifest.all_files]
    for file in manifest.all_files:
        if not safe_path(file.path):
            raise LitesmithError(f"{where}: the path {file.path!r} leaves the release's folder or is not legal")
        if not SHA256.fullmatch(file.sha256) or file.size_bytes < 0:
            raise LitesmithError(f"{where}: {file.path}: no legal checksum or size")
    names = {path.casefold() for path in paths}
    if len(names) != len(paths):
        raise LitesmithError(f"{where}: it names a file twice")
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    if folders & names:
        raise LitesmithError(f"{where}: {min(folders & names)!r} would be a file and a folder")
    known = set(paths)
    for model in manifest.artifacts:
        for path in (model.labels, *model.extras):
            if path not in known:
                raise LitesmithError(f"{where}: {model.file} names {path!r}, which is not among the files")
