"""Curves and results of trainings, for TensorBoard. Logs are for people: nothing reads them again.

TensorBoard's modules are imported by the first figure, so that a process that trains nothing does without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.spec_io import to_plain

TENSORBOARD = "tensorboard"  # the folder of a run's logs
EVENT_FILE = "events.out.tfevents"  # in the names that TensorBoard looks for
RESULT = "result"


class Tracker:
    """Where the figures of one training go. This one drops them, for library use; EventTracker keeps them."""

    def of(self, name: str) -> Tracker:
        """The tracker of a part, such as a trial of a search; of "" it is the tracker itself."""
        return self

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve; steps are epochs or trials, counted from 1, and grow.

        A tracker's first step is where its process goes on: it replaces what a killed one had logged from there on.
        """

    def compare(
        self,
        values: Mapping[str, Any],
        metrics: Mapping[str, float],
        *,
        step: int,
        title: str = "",
        succeeded: bool = True,
    ) -> None:
        """The result of a training of `step` epochs as a row among others, named `title` (default: the tracker's name).

        `values` are the hyperparameters, as values of any kind. A later result replaces the row.
        """


class EventTracker(Tracker):
    """Writes TensorBoard's event files into `folder`, and those of parts into folders below.

    Each process has a file of its own, in the order of their numbers, and a result has one as well. What a call writes
    has left the process when it returns. A tracker can be pickled: the copy begins its own file. Raises OSError where
    the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self._folder, self._name = folder, name or folder.name
        self._file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return EventTracker, (self._folder, self._name)

    def of(self, name: str) -> Tracker:
        """The tracker of the folder `name` below this one's."""
        return EventTracker(self._folder / name, f"{self._name}/{name}") if name else self

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends to this process' file."""
        from core import event_file

        content = event_file.scalars(step, values)
        if self._file is None or not self._file.exists():
            self._file = self._next_file(str(os.getpid()))
            content = event_file.started(step) + content
        with open(self._file, "ab") as file:
            file.write(content)

    def compare(
        self,
        values: Mapping[str, Any],
        metrics: Mapping[str, float],
        *,
        step: int,
        title: str = "",
        succeeded: bool = True,
    ) -> None:
        """Writes a file with this result alone: of two rows TensorBoard would show the first one's hyperparameters."""
        from core import event_file

        for old in self._folder.glob(f"{EVENT_FILE}.*.{RESULT}"):
            old.unlink()
        content = event_file.compared(title or self._name, step, flat(values), metrics, succeeded)
        self._next_file(RESULT).write_bytes(content)

    def _next_file(self, suffix: str) -> Path:
        """The path of a file that TensorBoard reads after all that are there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name.split(".")[3]) for path in self._folder.glob(f"{EVENT_FILE}.*")]
        return self._folder / f"{EVENT_FILE}.{max(numbers, default=0) + 1:06d}.{suffix}"


def flat(values: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Settings as TensorBoard can list them: those of a dataclass under "name.field", sequences as text, no None."""
    result: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        plain = to_plain(value)
        if isinstance(plain, dict):
            result |= {f"{name}.{key}": item for key, item in flat(plain).items()}
        elif isinstance(plain, list):
            result[name] = ", ".join(str(item) for item in plain)
        elif plain is not None:
            result[name] = plain
    return result
