"""The commands that measure, as processes: this computer with real LiteRT, a stand-in phone by the real adb program."""

from __future__ import annotations

import csv
import functools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from core.keras_env import keras

import pytest

from core.errors import UsageError
from core.values import file_sha256
from deploy.convert import convert
from pipeline.call import connections
from tests.android_bench.standin import desk

ROOT = Path(__file__).parents[2]
QUICK = ("--config.bench.processes=5", "--config.bench.runs=5", "--config.bench.min_seconds=0")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two networks; the second does two hundred times the first's work."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, channels in (("small", 4), ("large", 64)):
        image = keras.Input((24, 24, 3))
        values = keras.layers.Conv2D(channels, 3)(image)
        values = keras.layers.Conv2D(channels, 3)(values)
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(values))
        found[name] = folder / f"{name}.tflite"
        found[name].write_bytes(convert(model, "float32").content)
    return found


def test_models_are_measured_reported_and_not_measured_again(models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("benchmark", f"--models={models['small']},{models['large']}", "--targets=host,host_cpu", f"--out={out}")
    done = _run(*command, *QUICK)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    medians = {(row["model"], row["target"]): float(row["median_us"]) for row in rows}
    assert set(medians) == {(model, target) for model in models for target in ("host", "host_cpu")}
    for target in ("host", "host_cpu"):
        assert medians["small", target] < medians["large", target]
    page = (out / "index.html").read_text()
    assert all(word in page for word in ("small", "large", "host_cpu", "Leaderboard"))
    before = (out / "results.jsonl").read_bytes()
    again = _run(*command, *QUICK)
    assert again.returncode == 0
    assert (out / "results.jsonl").read_bytes() == before
    _compare(out, tmp_path)


def _compare(out: Path, tmp_path: Path) -> None:
    """A result against itself differs in nothing; and one target of it against the other."""
    done = _run("compare", f"--before={out}", f"--after={out / 'results.jsonl'}", f"--out={tmp_path / 'comparison'}")
    assert (done.returncode, done.stderr) == (0, "")
    comparison = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert [row["ratio"] for row in comparison] == [1.0] * 4
    assert (tmp_path / "comparison" / "index.html").read_text().count("no significant difference") == 4
    targets = _run("compare", f"--results={out}", "--before=host", "--after=host_cpu")
    assert targets.returncode == 0
    assert targets.stdout.count("host -> host_cpu") == 2
    wrong = _run("compare", f"--results={out}", "--before=host", "--after=phone")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        f"litesmith: --after: 'phone' is no target of {out}; it has host, host_cpu\n",
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("benchmark", "--targets=host", "--out=o"), ("--models", "missing")),
        (("benchmark", "--models=m.tflite", "--out=o"), ("--targets", "missing")),
        (("benchmark", "--models=m.tflite", "--targets=host"), ("--out", "missing")),
        (("benchmark", "--models=nowhere.tflite", "--targets=host", "--out=o"), ("nowhere.tflite",)),
        (("benchmark", "--models=README.md", "--targets=host", "--out=o"), ("README.md", "not a .tflite")),
        (("benchmark", "--models=m.tflite", "--targets=phone", "--out=o"), ("--targets", "phone", "host_cpu")),
        (("benchmark", "--models=m", "--targets=host", "--out=o", "--arch=x"), ("--arch", "scale")),
        (("benchmark", "more", "--targets=host"), ("benchmark", "more")),
        (("benchmark", "--models=m", "--targets=host", "--out=o", "--config.bench.runs=0"), ("config.bench.runs",)),
        (("compare", "--before=nowhere", "--after=nowhere"), ("nowhere", "no such file")),
        (("compare", "--before=README.md", "--after=README.md"), ("README.md", "not a file")),
        (("compare", "--after=x"), ("--before", "missing")),
        (("devices", "extra"), ("devices", "extra")),
        (("devices", "--ssh=a=b", "--ssh=a=c"), ("--ssh", "a=c")),
        (("devices", "--benchmark_model=http://x/y"), ("--benchmark_model", "sha256")),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    placed = tuple(word.replace("--out=o", f"--out={tmp_path / 'o'}") for word in arguments)
    done = _run(*placed)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("litesmith: ")
    assert all(part in line for part in parts), line
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder on a loopback port."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with desk.adb_server(tmp_path_factory.mktemp("adb")) as client:
        yield client


def test_a_phone_and_this_computer_at_once(adb: object, models: dict[str, Path], tmp_path: Path) -> None:
    with desk.attached(tmp_path / "phone") as phone:
        shown = _run("devices")
        assert shown.returncode == 0
        lines = shown.stdout.splitlines()
        assert any(line.startswith(phone.serial) and "Pixel 3" in line and "yes" in line for line in lines), lines
        assert any(line.startswith("host ") for line in lines)
        where = (f"--serial={phone.serial}", f"--benchmark_model={desk.TOOL}")
        out = tmp_path / "out"
        target = tmp_path / "desk_phone.toml"
        target.write_text('kind = "android"\ndevice = "Pixel 3"\ncores = "big"\n')
        command = ("benchmark", f"--models={models['small']}", f"--targets=host,{target}", f"--out={out}")
        done = _run(*command, *where, *QUICK)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert phone.files() == []
    entries = json.loads((out / "results.json").read_text())
    assert [entry["target"]["name"] for entry in entries] == ["host", "desk_phone"]
    assert entries[1]["measurement"]["latency"]["median_us"] == 405  # of the recorded run that the stand-in repeats


def test_a_phone_that_is_not_there_fails_alone(adb: object, models: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "gone.toml"
    target.write_text('kind = "android"\n')
    command = ("benchmark", f"--models={models['small']}", f"--targets=host,{target}", f"--out={tmp_path / 'out'}")
    done = _run(*command, "--serial=nobody", f"--benchmark_model={desk.TOOL}", "--config.bench.retries=0", *QUICK)
    assert done.returncode == 1, done.stderr
    entries = {entry["target"]["name"]: entry for entry in json.loads((tmp_path / "out/results.json").read_text())}
    assert entries["host"]["measurement"] is not None
    assert entries["gone"]["verdict"].startswith("failed: ")
    assert "nobody" in entries["gone"]["verdict"]


def test_flags_become_connections(tmp_path: Path) -> None:
    found = connections({"serial": ["a=1", "2"], "ssh": ["pi=me@host"], "benchmark_model": ["x86=/t", "/a=b"]})
    assert found.serials == {"a": "1", "": "2"}
    assert found.hosts == {"pi": "me@host"}
    assert found.benchmark_model == {"x86": "/t", "": "/a=b"}
    with pytest.raises(UsageError, match="sha256"):
        connections({"benchmark_model": ["arm64-v8a=http://127.0.0.1/tool"]})


def test_a_tool_behind_a_url_is_fetched(
    serve: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "tool").write_bytes(b"\x7fELF")
    checksum = file_sha256(tmp_path / "served" / "tool")
    url = f"{serve(tmp_path / 'served')}/tool#sha256={checksum}"
    found = Path(connections({"benchmark_model": [f"arm64-v8a={url}"]}).benchmark_model["arm64-v8a"])
    assert found.read_bytes() == b"\x7fELF"
    assert tmp_path / "home" in found.parents
