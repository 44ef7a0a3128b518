"""Event files: what TensorBoard reads of them, after kills and when a training goes on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.tracking import EventTracker, Tracker, flat
from tests.event_logs import curves, rows


@dataclass(frozen=True)
class Settings:
    rate: float = 0.5
    sides: tuple[int, ...] = (16, 24)
    limit: float | None = None


def test_curves_are_read_as_they_were_written(tmp_path: Path) -> None:
    tracker = EventTracker(tmp_path / "logs")
    tracker.scalars(1, {"train/loss": 2.0, "train/accuracy": 0.25})
    assert curves(tmp_path / "logs") == {".": {"train/loss": [(1, 2.0)], "train/accuracy": [(1, 0.25)]}}
    tracker.scalars(2, {"train/loss": 1.0})
    tracker.of("trial").scalars(1, {"train/loss": 3.0})
    found = curves(tmp_path / "logs")
    assert found["."]["train/loss"] == [(1, 2.0), (2, 1.0)]
    assert found["trial"] == {"train/loss": [(1, 3.0)]}
    assert tracker.of("") is tracker


def test_steps_that_are_repeated_replace_those_of_a_killed_process(tmp_path: Path) -> None:
    """Two processes: the first dies while it writes a record of step 4; the second goes on at step 3."""
    killed, resumed = (EventTracker(tmp_path) for _ in range(2))
    for step in (1, 2, 3, 4):
        killed.scalars(step, {"train/loss": 10.0 + step})
    (torn,) = tmp_path.iterdir()
    torn.write_bytes(torn.read_bytes()[:-5])
    for step in (3, 4, 5):
        resumed.scalars(step, {"train/loss": float(step)})
    assert len(list(tmp_path.iterdir())) == 2
    assert curves(tmp_path)["."]["train/loss"] == [(1, 11.0), (2, 12.0), (3, 3.0), (4, 4.0), (5, 5.0)]


def test_a_copy_for_another_process_writes_its_own_file(tmp_path: Path) -> None:
    tracker = EventTracker(tmp_path)
    tracker.scalars(1, {"loss": 1.0})
    copy = pickle.loads(pickle.dumps(tracker))
    copy.scalars(2, {"loss": 2.0})
    assert len(list(tmp_path.iterdir())) == 2
    assert curves(tmp_path)["."]["loss"] == [(1, 1.0), (2, 2.0)]


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    tracker = EventTracker(tmp_path / "logs")
    tracker.scalars(1, {"loss": 1.0})
    for path in (tmp_path / "logs").iterdir():
        path.unlink()
    (tmp_path / "logs").rmdir()
    tracker.scalars(2, {"loss": 2.0})
    assert curves(tmp_path)["logs"]["loss"] == [(2, 2.0)]


def test_results_are_rows_with_hyperparameters_and_metrics(tmp_path: Path) -> None:
    tracker = EventTracker(tmp_path / "search")
    trial = tracker.of("a1")
    trial.compare({"kernel": 3, "train": Settings()}, {"val_accuracy": 0.5}, step=2, title="trial 1")
    tracker.of("b2").compare({"skip": True, "arch": "ir"}, {}, step=2, succeeded=False)
    assert rows(tmp_path / "search") == {
        "a1": ("trial 1", {"kernel": 3.0, "train.rate": 0.5, "train.sides": "16, 24"}, True),
        "b2": ("search/b2", {"skip": True, "arch": "ir"}, False),
    }
    assert curves(tmp_path / "search")["a1"] == {"val_accuracy": [(2, 0.5)]}


def test_a_later_result_replaces_the_row_and_leaves_the_curves(tmp_path: Path) -> None:
    """As of a trial that is evaluated again after a kill, and then promoted to more epochs."""
    tracker = EventTracker(tmp_path)
    tracker.scalars(1, {"train/loss": 1.0})
    for accuracy in (0.5, 0.625):
        tracker.compare({"epochs": 1}, {"val_accuracy": accuracy}, step=1, title="trial 1")
    assert curves(tmp_path)["."]["val_accuracy"] == [(1, 0.625)]
    promoted = EventTracker(tmp_path)
    promoted.scalars(2, {"train/loss": 0.5})
    promoted.compare({"epochs": 2}, {"val_accuracy": 0.75}, step=2, title="trial 4")
    assert curves(tmp_path)["."] == {"train/loss": [(1, 1.0), (2, 0.5)], "val_accuracy": [(2, 0.75)]}
    assert rows(tmp_path) == {".": ("trial 4", {"epochs": 2.0}, True)}


def test_settings_are_listed_flat() -> None:
    given = {"train": Settings(limit=2.0), "name": "x", "none": None, "deep": {"a": {"b": False}}}
    expected = {"train.rate": 0.5, "train.sides": "16, 24", "train.limit": 2.0, "name": "x", "deep.a.b": False}
    assert flat(given) == expected


def test_the_tracker_that_keeps_nothing_can_do_the_same(tmp_path: Path) -> None:
    tracker = Tracker().of("part")
    tracker.scalars(1, {"loss": 1.0})
    tracker.compare({"a": object()}, {"b": 1.0}, step=1)


@pytest.mark.parametrize("work", ["", "t.of('a')", "t.scalars(1, {'a': 1.0}); t.compare({'a': 1}, {}, step=1)"])
def test_tensorboard_is_imported_by_the_first_figure_and_tensorflow_never(work: str, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from core.tracking import EventTracker
t = EventTracker(Path({str(tmp_path)!r}))
{work}
print("tensorflow" in sys.modules, "tensorboard" in sys.modules)
"""
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str("scalars" in work)]
