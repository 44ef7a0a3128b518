"""Real runs with a supernet, killed with SIGKILL at a place, run again, and compared with an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.workspace import read_json
from search.grammar import from_text
from tests.pipeline.test_resume import ROOT, TIMEOUT_S, _assert_equal_arrays, _kill_when, _log, _trials

pytestmark = pytest.mark.slow

# Within the training of the supernet (after an epoch's checkpoint), between stages, within the search and fine-tuning.
PLACES = (
    "scratch/supernet-*/supernet.npz",
    "stages/supernet-*",
    "scratch/search-*/trials.jsonl",
    "stages/w0.data-*",
    "scratch/w0.float-*/checkpoint.npz",
)
SETTINGS = (
    "--config.search.evaluator=supernet",
    "--config.search.oracle=regularized_evolution",
    "--config.search.max_trials=3",
    "--config.supernet.full_epochs=1",
    "--config.supernet.epochs=5",
    "--config.supernet.batch_size=16",
    "--config.supernet.resolutions=(12,16)",
    "--config.supernet.recalibration_images=32",
    "--config.supernet.predictor_networks=10",
    "--config.supernet.fine_tune_epochs=2",
    "--config.compress.recipes=ptq",
)
EXTRACTED = (
    "input_r12_n3_w1 stem_s2_c16 ir_r1_k3_s1_e1_c8 ir_r1_k3_s1_e2_c16 ir_r1_k3_s2_e2_c24 ir_r1_k3_s2_e2_c40 head_c96"
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 16 x 16 pictures, dark to bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    pictures = (rng.integers(0, 60, (150, 16, 16)) + 80 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "bright.npz"
    np.savez(path, x_train=pictures[:120], y_train=labels[:120], x_test=pictures[120:], y_test=labels[120:])
    return path


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert start("run", images, workdir).wait(TIMEOUT_S) == 0, _log(workdir)
    return workdir


def start(command: str, images: Path, workdir: Path, *more: str) -> subprocess.Popen[bytes]:
    config = ("--config=tests/testdata/tiny.py", f"--config.data.name=npz:{images}", *SETTINGS)
    whole = (sys.executable, "-m", "pipeline.main", command, *config, f"--workdir={workdir}", *more)
    with open(workdir.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(whole, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def test_a_killed_run_equals_an_undisturbed_one(images: Path, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for place in PLACES:
        _kill_when(start("run", images, run), run, place)
    assert start("run", images, run).wait(TIMEOUT_S) == 0, _log(run)
    assert _trials(run) == _trials(undisturbed)
    for pattern in ("stages/supernet-*/weights.npz", "stages/w0.float-*/model/weights.npz"):
        (ours,), (theirs,) = run.glob(pattern), undisturbed.glob(pattern)
        _assert_equal_arrays(ours, theirs)
    (ours,), (theirs,) = run.glob("stages/w0.data-*/labels.npy"), undisturbed.glob("stages/w0.data-*/labels.npy")
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_killed_extraction_goes_on(images: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Killed while networks are evaluated for the predictor, and while the network is fine-tuned."""
    workdir, calm = tmp_path / "run", tmp_path / "calm"
    shutil.copytree(undisturbed, workdir)
    assert start("extract", images, workdir, "--max_macs=6e5", f"--out={calm}").wait(TIMEOUT_S) == 0, _log(workdir)
    out = tmp_path / "out"
    asked = ("--max_macs=6e5", f"--out={out}")
    process = start("extract", images, undisturbed, *asked)
    end = time.monotonic() + TIMEOUT_S
    while not list(undisturbed.glob("extract/evaluated-*.jsonl")):
        assert process.poll() is None and time.monotonic() < end, _log(undisturbed)
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _kill_when(start("extract", images, undisturbed, *asked), out, "scratch/w0.float-*/checkpoint.npz")
    assert start("extract", images, undisturbed, *asked).wait(TIMEOUT_S) == 0, _log(undisturbed)
    (log,) = undisturbed.glob("extract/evaluated-*.jsonl")
    assert len(log.read_text().splitlines()) == 10
    (theirs,) = workdir.glob("extract/evaluated-*.jsonl")
    assert log.read_text() == theirs.read_text()
    assert _trials(out) == _trials(calm)
    (ours,), (theirs,) = out.glob("stages/search-*/winners.json"), calm.glob("stages/search-*/winners.json")
    assert read_json(ours) == read_json(theirs)
    weights = "stages/w0.float-*/model/weights.npz"
    (ours,), (theirs,) = out.glob(weights), calm.glob(weights)
    _assert_equal_arrays(ours, theirs)
    models = sorted(path.name for path in (out / "release").glob("*.tflite"))
    assert models == ["tiny-float32.tflite", "tiny-ptq.tflite"]


def test_the_named_network_in_a_resolution_of_its_own(images: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start("extract", images, undisturbed, f"--arch={EXTRACTED}", f"--out={out}").wait(TIMEOUT_S) == 0, _log(
        undisturbed
    )
    (trial,) = _trials(out)
    assert from_text(trial["arch"]).resolution == 12
    (resized,) = out.glob("stages/w0.data-*/images.npy")
    assert np.load(resized, mmap_mode="r").shape[1:3] == (12, 12)


def test_its_status_is_told(images: Path, undisturbed: Path) -> None:
    command: Sequence[str] = (sys.executable, "-m", "pipeline.main", "status", f"--workdir={undisturbed}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0
    assert any(line.startswith("supernet ") and "largest network" in line for line in done.stdout.splitlines())
