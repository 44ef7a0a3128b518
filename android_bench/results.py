"""Results of benchmarks: one entry per model and target, in a file that only grows and survives any kill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.session import FELL_BACK
from android_bench.settings import BenchConfig, tool_of
from core.errors import LitesmithError, UsageError, one_line
from core.spec_io import content_id, from_plain
from core.values import LatencyStats, Measurement, Target
from core.workspace import AppendLog

FORMAT = "litesmith benchmark results"
VERSION = 1
FAILED = "failed"  # what the verdict of an entry without measurement begins with
# Of BenchConfig: what makes two measurements of a model on a target comparable.
SETTINGS = ("processes", "warmup_runs", "runs", "min_seconds", "profile")

_BEGINNING = f'{{"format": "{FORMAT}"'.encode()  # of the first line, as AppendLog writes it

CSV_HEADER = (
    *("model", "artifact_sha256", "target", "kind", "device", "tool", "delegate", "threads", "verdict"),
    *("median_us", "low_us", "high_us", "p95_us", "mean_us", "min_us", "center", "spread"),
    *("runs", "processes", "peak_memory_bytes"),
)


@dataclass(frozen=True, slots=True)
class BenchEntry:
    """What came of measuring one model on one target.

    Attributes:
      model: its name in tables.
      artifact_sha256: of the .tflite file.
      target: as it was resolved.
      verdict: that of the measurement, or "failed: " and why.
      measurement: None if it failed.
    """

    model: str
    artifact_sha256: str
    target: Target
    verdict: str
    measurement: Measurement | None = None

    @property
    def latency(self) -> LatencyStats | None:
        """The target's figure; None if there is none: it failed, fell back to the CPU, or is an emulator's."""
        return None if self.measurement is None else figure(self.measurement)


def figure(measurement: Measurement) -> LatencyStats | None:
    """A measurement's latency if it is one of the target: not of the CPU that took a delegate's place, nor of an
    emulator."""
    other = measurement.verdict.startswith(FELL_BACK) or "emulated" in measurement.conditions
    return None if other else measurement.latency


def entry_of(model: str, sha256: str, target: Target, result: Measurement | LitesmithError) -> BenchEntry:
    """The entry of a result of android_bench.protocol.measure_all."""
    if isinstance(result, LitesmithError):
        return BenchEntry(model, sha256, target, f"{FAILED}: {one_line(result)}")
    return BenchEntry(model, sha256, target, result.verdict, result)


class ResultFile:
    """A JSON-lines file of entries, the first line saying what it is and how was measured.

    Opening one that exists continues it. Raises UsageError in one line if it is something else, was made with other
    settings, or is damaged before its last line (a last line that a killed writer left unfinished is dropped).
    """

    def __init__(self, path: Path, config: BenchConfig) -> None:
        self._log = AppendLog(path)
        settings = {key: getattr(config, key) for key in SETTINGS}
        self._entries: dict[str, BenchEntry] = {}
        records = _records(path) if path.exists() else []
        if not records:
            try:
                self._log.append({"format": FORMAT, "version": VERSION, "settings": settings})
            except OSError as error:
                raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
            return
        if content_id(records[0]["settings"]) != content_id(settings):
            was = ", ".join(f"{key}={value}" for key, value in records[0]["settings"].items())
            raise UsageError(f"{path}: made with other settings ({was}); use these, or another file")
        for entry in _entries(path, records):
            self._entries[_key(entry.artifact_sha256, entry.target)] = entry

    def measured(self, sha256: str, target: Target) -> BenchEntry | None:
        """The latest entry of a model and a target if it has a measurement; a failed one is to be tried again."""
        entry = self._entries.get(_key(sha256, target))
        return entry if entry is not None and entry.measurement is not None else None

    def append(self, entry: BenchEntry) -> None:
        """Adds an entry; it is on disk when this returns."""
        self._log.append(entry)
        self._entries[_key(entry.artifact_sha256, entry.target)] = entry


def read_results(path: Path) -> tuple[BenchEntry, ...]:
    """The entries of a file, of each model and target the latest. Raises UsageError as ResultFile does."""
    if not path.exists():
        raise UsageError(f"{path}: no such file; expected {FORMAT}")
    records = _records(path)
    if not records:
        raise UsageError(f"{path}: not a file of {FORMAT}")
    latest = {(entry.model, _key(entry.artifact_sha256, entry.target)): entry for entry in _entries(path, records)}
    return tuple(latest.values())


def in_order(entries: Sequence[BenchEntry], known: Iterable[BenchEntry]) -> tuple[BenchEntry, ...]:
    """`entries` as they are, then what else is known; a file of results has the order in which devices were done."""
    here = {(entry.model, _key(entry.artifact_sha256, entry.target)) for entry in entries}
    others = (entry for entry in known if (entry.model, _key(entry.artifact_sha256, entry.target)) not in here)
    return (*entries, *others)


def csv_rows(entries: Iterable[BenchEntry]) -> Iterator[tuple[str, ...]]:
    """CSV_HEADER, then a row per entry; the figures are empty where the target has none."""
    yield CSV_HEADER
    for entry in entries:
        target, measurement, latency = entry.target, entry.measurement, entry.latency
        names = (entry.model, entry.artifact_sha256, target.name, target.kind, target.device)
        tool = measurement.tool if measurement else tool_of(target)
        identity = (*names, tool, target.delegate, str(target.num_threads), entry.verdict)
        figures = [""] * (len(CSV_HEADER) - len(identity))
        if measurement and latency:
            values = (latency.median_us, latency.low_us, latency.high_us, latency.p95_us, latency.mean_us)
            figures = [f"{value:.3f}" for value in (*values, latency.min_us)]
            figures += [latency.center, f"{latency.spread:.4f}", str(latency.runs), str(latency.processes)]
            figures.append(str(measurement.peak_memory_bytes))
        yield (*identity, *figures)


def _key(sha256: str, target: Target) -> str:
    return f"{sha256} {content_id(target)}"


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a file, the header first; none of an empty file or one with an unfinished header only."""
    try:
        with open(path, "rb") as file:
            begun = file.read(len(_BEGINNING))
        if not (begun.startswith(_BEGINNING) or _BEGINNING.startswith(begun)):
            raise UsageError(f"{path}: not a file of {FORMAT}")
        records = AppendLog(path).read()
    except UsageError:
        raise
    except (OSError, LitesmithError) as error:
        raise UsageError(f"{path}: cannot be read as {FORMAT}: {one_line(error)}") from error
    if not records:
        return []
    header = records[0]
    if header.get("format") != FORMAT or not isinstance(header.get("settings"), dict):
        raise UsageError(f"{path}: not a file of {FORMAT}")
    if header.get("version") != VERSION:
        raise UsageError(f"{path}: version {header.get('version')!r} of {FORMAT}; expected {VERSION}")
    return records


def _entries(path: Path, records: list[dict[str, Any]]) -> list[BenchEntry]:
    return [from_plain(BenchEntry, record, f"{path}:{line}") for line, record in enumerate(records[1:], 2)]
