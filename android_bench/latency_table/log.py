"""What has been measured for a table so far, in a folder that survives a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from android_bench.latency_table.meters import Timing
from core.errors import LitesmithError, UsageError
from core.spec_io import to_plain
from core.workspace import AppendLog, atomic_write_json, read_json

REQUEST, SESSIONS, MODELS = "request.json", "sessions.jsonl", "models"


@dataclass
class Progress:
    """The sessions of each unit by its name, each with a timing of each of its files; and the target's state."""

    sessions: dict[str, list[tuple[Timing, ...]]] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    concerns: list[str] = field(default_factory=list)


class WorkFolder:
    """The folder of a table that is being measured: its request, its models, its log."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / MODELS
        self._folder = folder
        self._log = AppendLog(folder / SESSIONS)

    def pin(self, request: Mapping[str, Any]) -> None:
        """Begins with a request, or goes on with it. Raises UsageError if the folder was begun with another one."""
        path, plain = self._folder / REQUEST, to_plain(dict(request))
        self.models.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            atomic_write_json(path, plain)
            return
        before = read_json(path)
        for name in plain:
            if before.get(name) != plain[name]:
                raise UsageError(
                    f"{self._folder}: its table was begun with {name} = {before.get(name)!r}, not {plain[name]!r}; "
                    "finish it with the former, or delete the folder"
                )

    def add_batch(self, timings: Mapping[str, Sequence[Timing]]) -> None:
        """Notes one session of each of some units, all or none of them."""
        plain = {name: [[timing.median_us, timing.runs] for timing in files] for name, files in timings.items()}
        self._log.append({"timings": plain})

    def add_state(self, conditions: Mapping[str, str], concerns: Sequence[str]) -> None:
        """Notes the target's condition, and what speaks against its figures."""
        self._log.append({"conditions": dict(conditions), "concerns": list(concerns)})

    def progress(self) -> Progress:
        """All that is noted. Raises LitesmithError if the log is damaged."""
        progress = Progress()
        for record in self._log.read():
            try:
                self._take(progress, record)
            except (KeyError, TypeError, ValueError) as error:
                path = self._folder / SESSIONS
                raise LitesmithError(f"{path}: damaged record {str(record)[:80]}; delete {self._folder}") from error
        return progress

    @staticmethod
    def _take(progress: Progress, record: Mapping[str, Any]) -> None:
        if "timings" not in record:
            progress.conditions.update(record["conditions"])
            progress.concerns.extend(record["concerns"])
            return
        for name, files in record["timings"].items():
            session = tuple(Timing(float(median_us), int(runs)) for median_us, runs in files)
            progress.sessions.setdefault(name, []).append(session)
