"""Weight sharing on the command line: a process, its exit code and what it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "noise.npz"
    pixels, labels = np.zeros((30, 16, 16), np.uint8), np.arange(30) % 3
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    return path


def run(command: str, images: Path, workdir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shared = ("--config=configs/fashion_mnist_supernet.py", f"--workdir={workdir}", f"--config.data.name=npz:{images}")
    whole = [sys.executable, "-X", "importtime", "-m", "pipeline.main", command, *shared, *arguments]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120)


def refusal(images: Path, workdir: Path, *arguments: str, command: str = "extract") -> str:
    """The one line of a command that ends with 2, writes nothing and loads no TensorFlow."""
    done = run(command, images, workdir, *arguments)
    *imported, line = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("litesmith: "), done.stderr[-2000:]
    assert not any(entry.endswith(("tensorflow", "tf_keras", "keras_tuner")) for entry in imported)
    assert not workdir.exists()
    return line


def test_the_plan_of_the_configuration_that_comes_with_it(images: Path, tmp_path: Path) -> None:
    done = run("run", images, tmp_path / "run", "--dry_run")
    assert done.returncode == 0, done.stderr[-2000:]
    names = [line.split()[0] for line in done.stdout.splitlines()[1:-1]]
    assert names[:4] == ["data", "supernet", "search", "w0.float"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--max_macs=1e6",), ("--out", "missing", "folder")),
        (("--out=o",), ("extract: expected one of --arch, --max_latency_us and --max_macs",)),
        (("--out=o", "--max_macs=1e6"), ("--workdir", "no finished supernet", "search")),
        (("--out=o", "--max_macs=1e6", "--alpha=1"), ("--alpha: extract does not take it",)),
        (("--out=o", "--max_macs=1e6", "now"), ("extract: unexpected now",)),
    ],
)
def test_a_bad_extract_is_one_line(
    images: Path, tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = refusal(images, tmp_path / "run", *arguments)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("--config.search.space=nasbench201", ("nasbench201",)),
        ("--config.supernet.epochs=1", ("config.supernet.epochs", "1", "at least")),
        ("--config.supernet.method=magic", ("config.supernet.method", "magic", "progressive")),
        ("--config.supernet.resolutions=(16,)", ("config.supernet.resolutions", "(16,)", "two")),
        ("--config.search.oracle=hyperband", ("config.search.oracle", "hyperband", "supernet")),
    ],
)
def test_what_no_supernet_can_do_is_refused_before_anything_runs(
    images: Path, tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    line = refusal(images, tmp_path / "run", override, command="run")
    assert all(part in line for part in parts), line
