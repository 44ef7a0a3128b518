"""The command line as a user meets it: a process, its exit code, what it prints, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.main import _with_default_config
from search.cost import cost
from search.grammar import from_text

ROOT = Path(__file__).parents[2]
# Usage errors must be found before TensorFlow is imported, which alone takes 4 s or more.


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def _refusal(*arguments: str) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    done = _run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("litesmith: ")
    return line


def _demo(workdir: Path, *overrides: str) -> tuple[str, ...]:
    return ("run", "--config=configs/demo.py", f"--workdir={workdir}", *overrides)


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_ends_with_0_and_names_every_command(flag: str) -> None:
    done = _run(flag)
    assert done.returncode == 0
    commands = ["run", "search", "compress", "convert", "bench", "report", "status", "describe", "scale"]
    assert all(f"\n  {name} " in done.stdout for name in commands)


def test_no_command_shows_the_usage_and_ends_with_2() -> None:
    done = _run()
    assert done.returncode == 2
    assert "usage:" in done.stdout


def test_a_dry_run_lists_stages_and_keys_and_writes_nothing(tmp_path: Path) -> None:
    done = _run(*_demo(tmp_path / "run"), "--dry_run")
    assert done.returncode == 0
    for stage in ("data", "teacher", "search", "w0.float", "w0.qat.validate", "report", "release"):
        assert any(line.startswith(stage + " ") for line in done.stdout.splitlines())
    assert "to do in" in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("--config.search.spce=x", ("config.search.spce", "space", "max_trials")),
        ("--config.serach.space=x", ("config.serach", "search", "teacher")),
        ("--config.search.space.deep=x", ("config.search.space", "no keys")),
        ("--config.search.max_trials=x", ("config.search.max_trials", "x", "whole number")),
        ("--config.search.max_trials=0", ("config.search.max_trials", "0", "from 1")),
        ("--config.train.learning_rate=nan", ("config.train.learning_rate", "nan", "from")),
        ("--config.search.space=foo", ("config.search.space", "foo", "mobilenet_v2_small")),
        ("--config.search.oracle=foo", ("config.search.oracle", "foo", "expected one of bayesian, hyperband")),
        ("--config.search.objective=foo", ("config.search.objective", "foo", "mnasnet_soft")),
        ("--config.search.num_workers=0", ("config.search.num_workers", "0", "from 1 to 256")),
        ("--config.search.num_workers=two", ("config.search.num_workers", "two", "whole number")),
        ("--config.search.max_macs=-1", ("config.search.max_macs", "-1", "from 1")),
        ("--config.search.objective=pareto", ("config.search.oracle", "bayesian", "one of nsga2")),
        ("--config.search.target=phone", ("config.search.target", "phone", "host")),
        ("--config.bench.targets=phone", ("config.bench.targets", "phone", "host")),
        ("--config.compress.recipes=ptq,cluster+prune", ("config.compress.recipes", "'prune'", "cannot come after")),
        ("--config.compress.recipes=foo", ("config.compress.recipes", "foo", "qat")),
        ("--config.data.name=foo", ("config.data.name", "foo", "mnist_5k")),
        ("--config.data.name=npz:/nowhere/x.npz", ("/nowhere/x.npz",)),
        ("--config.data.name=directory:/nowhere", ("/nowhere",)),
        ("--config.teacher.network=foo", ("config.teacher.network", "foo", "mobilenet_v2")),
        ("--config.teacher.file=/nowhere/x.h5", ("config.teacher.file", "/nowhere/x.h5")),
        ("--config.release.name=a/b", ("config.release.name", "a/b", "letters")),
        ("--config.release.on_device_training=maybe", ("on_device_training", "maybe", "expected True or False")),
        ("--config.seed=-1", ("config.seed", "-1", "from 0")),
        ("--config.teacher.epochs=0", ("config.teacher.epochs", "0", "from 1")),
        ("--config.compress.recipes=(3,)", ("config.compress.recipes", "3")),
        ("--config.compress.recipes=pcqat,prune+cluster+qat", ("pcqat", "prune+cluster+qat", "one recipe")),
        ("--config.bench.num_threads=200", ("config.bench.num_threads", "200")),
        ("--config.bench.cpu_mask=(900,)", ("config.bench.cpu_mask", "900")),
        ("--nonsense", ("nonsense",)),
    ],
)
def test_a_bad_setting_is_one_line_with_what_is_legal(tmp_path: Path, override: str, parts: tuple[str, ...]) -> None:
    line = _refusal(*_demo(tmp_path / "run", override))
    assert all(part in line for part in parts), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "configuration"),
    [
        (("run", "--model=m.keras"), "own_model.py"),
        (("--model=m.keras", "run"), "own_model.py"),
        (("run", "--model=m.keras", "--config=mine.py"), None),
        (("pull", "--model=qat"), None),  # of a release
        (("benchmark", "--models=m.tflite"), "benchmark.py"),
        (("status", "--workdir=w"), None),
    ],
)
def test_a_configuration_is_taken_where_a_command_needs_one(
    arguments: tuple[str, ...], configuration: str | None
) -> None:
    found = _with_default_config(["main.py", *arguments])
    added = [] if configuration is None else [f"--config={ROOT / 'configs' / configuration}"]
    assert found == ["main.py", *added, *arguments]


def test_a_bad_past_log_is_refused_before_anything_runs(tmp_path: Path) -> None:
    overrides = ("--config.search.oracle=transfer", "--config.search.past_logs=README.md", "--dry_run")
    line = _refusal(*_demo(tmp_path / "run", *overrides))
    assert "config.search.past_logs: README.md: not a trial log (" in line


def test_scale_prints_a_network_within_the_budget() -> None:
    done = _run("scale", "--arch=mobilenet_v2", "--max_macs=500e6", "--resolution=96", "--num_classes=10")
    assert (done.returncode, done.stderr) == (0, "")
    (text,) = (line for line in done.stdout.splitlines() if line.startswith("input_r"))
    scaled = from_text(text)
    assert scaled.num_classes == 10
    assert scaled.resolution > 96
    # phi is a multiple of 0.01, and the depth of each stage grows in whole blocks, by a third at most here.
    assert 0.6 * 500e6 < cost(scaled).macs <= 500e6


def test_a_typo_is_refused_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.main"]
    arguments = _demo(tmp_path / "run", "--config.search.spce=x")
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    *imported, line = done.stderr.splitlines()
    assert (done.returncode, line.startswith("litesmith: ")) == (2, True)
    assert any(entry.endswith("pipeline.config") for entry in imported)
    assert not any(entry.endswith(("tensorflow", "tf_keras", "keras_tuner")) for entry in imported)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("rum", "--workdir=w"), ("rum", "run", "status")),
        (("run", "extra", "--workdir=w"), ("run extra",)),
        (("run", "--config=configs/demo.py"), ("--workdir",)),
        (("run", "--workdir=w"), ("--config",)),
        (("run", "--config=configs/nowhere.py", "--workdir=w"), ("--config", "configs/nowhere.py")),
        (("status", "--workdir=nowhere"), ("--workdir", "nowhere")),
        (("scale",), ("--max_macs", "missing")),
        (("scale", "--max_macs=x"), ("max_macs", "x", "number")),
        (("scale", "--arch=vgg16", "--max_macs=1e9", "--width_multiplier=2"), ("--width_multiplier", "describe")),
        (("scale", "--arch=vgg16", "--max_macs=1e9", "--alpha=9"), ("alpha", "9", "from 1 to 2")),
        (("scale", "--arch=vgg16", "--max_macs=1e9", "--grid_step=0.1"), ("--grid_step", "--config")),
        (("scale", "--arch=vgg16", "--workdir=w"), ("--config", "missing")),
        (("scale", "--arch=vgg16", "--config=configs/demo.py"), ("--workdir", "missing")),
        (("scale", "--config=configs/demo.py", "--workdir=w", "--alpha=1.1"), ("--alpha", "grid")),
        (("search", "--config=configs/demo.py", "--workdir=w", "--arch=vgg16"), ("--arch", "search", "scale")),
    ],
)
def test_a_bad_command_is_one_line(arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    line = _refusal(*arguments)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize("body", ["import nowhere", "def get_config(): return 3", "def get_config(: pass", "x = 1"])
def test_a_broken_config_file_is_one_line(tmp_path: Path, body: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(body)
    assert "--config" in _refusal("run", f"--config={path}", f"--workdir={tmp_path / 'run'}")


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--workdir" in _refusal(*_demo(tmp_path / "file"))
    assert "--workdir" in _refusal(*_demo(tmp_path / "file" / "below"))
    assert "--workdir" in _refusal(*_demo(tmp_path / ("x" * 300)))


def test_the_status_of_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('[{"some": "thing"}]')
    assert "--workdir" in _refusal("status", f"--workdir={tmp_path}")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds other files" in _refusal(*_demo(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_corrupt_npz_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert str(path) in _refusal(*_demo(tmp_path / "run", f"--config.data.name=npz:{path}"))
    assert not (tmp_path / "run").exists()


def test_a_pickled_npz_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x_train=np.array([{"a": 1}], dtype=object), y_train=[0], x_test=[0], y_test=[0])
    assert str(path) in _refusal(*_demo(tmp_path / "run", f"--config.data.name=npz:{path}"))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_not_a_model_or_holds_code_is_refused(tmp_path: Path) -> None:
    noise, coded = tmp_path / "noise.h5", tmp_path / "coded.h5"
    noise.write_bytes(b"0" * 100)
    layer = {"class_name": "Lambda", "config": {"name": "evil", "function": ["gASV", None, None]}}
    with h5py.File(coded, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "net", "layers": [layer]}}
        )
        file.create_group("model_weights").attrs["layer_names"] = [b"evil"]
    assert str(noise) in _refusal(*_demo(tmp_path / "run", f"--config.teacher.file={noise}"))
    assert "evil" in _refusal(*_demo(tmp_path / "run", f"--config.teacher.file={coded}"))
    assert not (tmp_path / "run").exists()
