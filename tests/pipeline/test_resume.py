"""Real runs killed with SIGKILL at a place, run again, and compared with an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.event_logs import curves, rows

ROOT = Path(__file__).parents[2]
# A whole run takes one to two minutes on two idle cores; this only ends a run that hangs.
TIMEOUT_S = 900.0

# Each place is a file whose appearance tells where the run is: within the search, within a training (after an epoch's
# checkpoint), between passes, between stages, and while the results are published.
PLACES = ("scratch/search-*/trials.jsonl", "scratch/w0.prune0.5-*/checkpoint.npz", "stages/w0.float.float32.convert-*")
MORE_PLACES = (
    "scratch/data-*",
    "stages/data-*",
    "stages/search-*",
    "scratch/teacher-*/checkpoint.npz",
    "scratch/w0.float-*/checkpoint.npz",
    "stages/w0.prune0.5-*",
    "scratch/w0.prune0.5-qat-*/checkpoint.npz",
    "stages/w0.prune0.5-qat.convert-*",
    "stages/w0.prune0.5-qat.validate-*",
    "stages/w0.prune0.5-qat.bench.host-*",
    "stages/report-*",
    "release",
)
LATENCY_CONDITIONS = ("target", "threads", "tool", "device", "abi", "delegate", "processes")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 16 x 16 pictures: a bright square in one of three places, on noise."""
    rng = np.random.default_rng(0)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pictures = rng.integers(0, 80, (count, 16, 16), np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[4:12, 5 * label : 5 * label + 5] += 150
        return pictures, labels

    path = tmp_path_factory.mktemp("images") / "squares.npz"
    (x_train, y_train), (x_test, y_test) = split(120), split(60)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert _start(images, workdir).wait(TIMEOUT_S) == 0, _log(workdir)
    return workdir


def test_a_run_killed_at_three_places_equals_an_undisturbed_one(
    images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    _run_with_kills(images, tmp_path / "run", PLACES)
    _assert_equal_runs(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_a_run_killed_at_twelve_more_places_equals_an_undisturbed_one(
    images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    _run_with_kills(images, tmp_path / "run", MORE_PLACES)
    _assert_equal_runs(tmp_path / "run", undisturbed)


def test_a_second_run_of_a_finished_folder_does_nothing_again(images: Path, undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("stages/*/*")}
    assert _start(images, undisturbed).wait(TIMEOUT_S) == 0
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("stages/*/*")} == before
    assert _log(undisturbed).count("done before") == len(json.loads((undisturbed / "plan.json").read_text()))


def _run_with_kills(images: Path, workdir: Path, places: Sequence[str]) -> None:
    for place in places:
        process = _start(images, workdir)
        _kill_when(process, workdir, place)
    assert _start(images, workdir).wait(TIMEOUT_S) == 0, _log(workdir)


def _start(images: Path, workdir: Path) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "pipeline.main", "run", "--config=tests/testdata/tiny.py", f"--workdir={workdir}")
    with open(workdir.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            [*command, f"--config.data.name=npz:{images}"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )


def _kill_when(process: subprocess.Popen[bytes], workdir: Path, place: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not list(workdir.glob(place)):
        assert process.poll() is None, f"ended before {place} was there:\n{_log(workdir)}"
        assert time.monotonic() < end, f"{place} did not appear"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def _log(workdir: Path) -> str:
    return workdir.with_suffix(".log").read_text()


def _assert_equal_runs(run: Path, expected: Path) -> None:
    assert _trials(run) == _trials(expected)
    weights = sorted(path.relative_to(expected) for path in expected.glob("stages/*/model/weights.npz"))
    assert len(weights) == 4  # teacher, float, pruned, pruned and quantized
    for path in weights:
        _assert_equal_arrays(run / path, expected / path)
    assert _manifest(run) == _manifest(expected)
    _assert_equal_logs(run / "tensorboard", expected / "tensorboard")
    assert not list(run.rglob(".tmp-*"))
    assert not list((run / "scratch").iterdir())


def _assert_equal_logs(logs: Path, expected: Path) -> None:
    """TensorBoard shows each epoch and trial once, with the same figures."""
    ours, theirs = (
        {(run, tag): points for run, tags in curves(path).items() for tag, points in tags.items() if _repeats(tag)}
        for path in (logs, expected)
    )
    assert ours == theirs
    trained = {run for run, tag in theirs if tag == "train/loss"}
    assert {"teacher", "w0.float", "w0.prune0.5", "w0.prune0.5-qat"} <= trained
    assert rows(logs) == rows(expected)


def _repeats(tag: str) -> bool:
    return not tag.endswith("/seconds") and not tag.startswith("latency_us")


def _assert_equal_arrays(path: Path, expected: Path) -> None:
    with np.load(path) as ours, np.load(expected) as theirs:
        assert sorted(ours) == sorted(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{path.parent.parent.name}: {name}")


def _trials(run: Path) -> list[dict[str, Any]]:
    (log,) = run.glob("stages/search-*/trials.jsonl")
    trials = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in trials]


def _manifest(run: Path) -> dict[str, Any]:
    """The manifest without times: when it was written, and measured latencies; of files that tell them, the names."""
    manifest = json.loads((run / "release" / "manifest.json").read_text())
    del manifest["created"], manifest["command"]  # which names the folder
    manifest["files"] = [file["path"] for file in manifest["files"]]
    for artifact in manifest["artifacts"]:
        artifact["latency"] = [{name: figure[name] for name in LATENCY_CONDITIONS} for figure in artifact["latency"]]
    return manifest
