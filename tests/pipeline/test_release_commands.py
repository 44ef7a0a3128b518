"""The commands of releases: what they print, their exit codes, and the way from a store to a verified model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import LitesmithError, UsageError
from core.progress import SilentReporter
from core.registry import load
from deploy.manifest import MANIFEST, manifest_bytes, parse_manifest
from deploy.store.channels import read_channel
from deploy.store.diff import difference
from deploy.store.filesystem import open_store
from deploy.store.publish import publish
from pipeline import usage
from pipeline.call import Call
from pipeline.commands import COMMANDS
from pipeline.flag_table import TABLE
from pipeline.release_config import ReleaseConfig
from tests.deploy.store.pull_samples import latency, served, with_model, write, write_release

ROOT = Path(__file__).parents[2]
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one pulled."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two releases: stable points to the first, latest to the second."""
    for day, channel in ((1, "stable"), (2, "latest")):
        write_release(tmp_path / f"run{day}", day)
        publish(tmp_path / f"run{day}", None, open_store(str(tmp_path / "store")), channel, None, SilentReporter())
    return tmp_path / "store"


def command(name: str, *arguments: str, workdir: Path | None = None, **flags: Any) -> int:
    """A command, as pipeline.main calls it."""
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in flags.items()}
    call = Call(arguments, texts, _none, _none if workdir is None else lambda: workdir, False, workdir is not None)
    return int(load(COMMANDS, name, "command")(call))


def _none() -> Any:
    raise UsageError("missing")


def test_list_shows_the_newest_first_with_its_channels(store: Path, capsys: Out) -> None:
    assert command("list", store=store) == 0
    header, second, first = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["release", "created", "channels"]
    assert second.split()[0].startswith("demo-20261102")
    assert first.split()[0].startswith("demo-20261101")
    assert second.split()[2:4] == ["latest", "3"]
    assert first.split()[2] == "stable"
    (store.parent / "empty").mkdir()
    assert command("list", store=store.parent / "empty") == 0
    assert "no releases" in capsys.readouterr().out


def test_list_by_http_is_as_the_index_says(store: Path, capsys: Out) -> None:
    with served(store) as url:
        assert command("list", store=url) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
        (store / "index.json").write_text("{")
        with pytest.raises(LitesmithError, match="release rebuild") as error:
            command("list", store=url)
        assert error.value.exit_code == 1
        assert command("release", "rebuild", store=store) == 0
        assert command("list", store=url) == 0


def test_show_has_figures_with_their_conditions(store: Path, capsys: Out) -> None:
    assert command("show", "stable", store=store) == 0
    shown = capsys.readouterr().out
    for words in (
        ("demo-20261101T100000Z-00000000", "created 2026-11-01"),
        ("1,000 test images of animals", "2 classes"),
        ("demo-large.tflite", "full_integer", "3,000 bytes", "98.00 %"),
        ("demo-large.tflite", "pixel3", "1,176.0 to 1,224.0", "Some CPU", "litert", "ok"),
        ("demo-gpu.tflite", "pixel3", "fell back to CPU: no GPU"),
        ("evaluation/other.bin", "10 bytes"),
    ):
        assert any(all(word in line for word in words) for line in shown.splitlines()), words
    assert command("show", "demo-20261102T100000Z-00000000", store=store) == 0
    assert "created 2026-11-02" in capsys.readouterr().out


def test_diff_shows_what_differs_and_only_that(store: Path, capsys: Out) -> None:
    assert command("diff", "stable", "latest", store=store) == 0
    shown = capsys.readouterr().out
    assert "config.train.epochs: 4 -> 5" in shown
    assert "same: demo-large.tflite" in shown
    assert "accuracy" not in shown
    assert command("diff", "stable", "stable", store=store) == 0
    assert "nothing differs" in capsys.readouterr().out


def test_json_has_all_of_it(store: Path, capsys: Out) -> None:
    assert command("list", store=store, json=True) == 0
    second, first = json.loads(capsys.readouterr().out)
    assert (second["channels"], first["channels"]) == (["latest"], ["stable"])
    assert command("show", "stable", store=store, json=True) == 0
    shown = capsys.readouterr().out
    assert parse_manifest(shown.encode(), "show").release_id == first["release_id"]
    assert command("diff", "stable", "latest", store=store, json=True) == 0
    assert json.loads(capsys.readouterr().out)["config"] == [["config.train.epochs", "4", "5"]]


def test_the_guide_names_what_there_is() -> None:
    """Its flags exist, its commands too, and the limits of the gates are the configuration's."""
    guide = (ROOT / "docs/releases.md").read_text()
    flags = set(re.findall(r"--([a-z_]+)", guide)) - {"config", "workdir"}
    assert len(flags) > 10
    assert flags <= set(TABLE)
    used = set(re.findall(r"pipeline\.main ([a-z_]+)", guide))
    assert {"pull", "verify", "list", "show", "diff", "release"} <= used <= set(COMMANDS)
    limits = re.findall(r"`config\.release\.(max_\w+)` = ([0-9.]+)", guide)
    assert len(limits) == 3
    assert all(getattr(ReleaseConfig(), name) == float(value) for name, value in limits)


def test_differences(tmp_path: Path) -> None:
    before = write_release(tmp_path)
    after = with_model(before, "large", test_accuracy=0.97, size_bytes=1500, sha256="a" * 64)
    figures = (latency("host", 30.0), latency("pixel3", 505.0))
    after = with_model(after, "small", latency=figures)
    after = with_model(after, "gpu", file="demo-npu.tflite", latency=())
    tests = replace(before.test_set, class_names=("cat", "cow"), images=900, sha256="b" * 64)
    found = difference(before, replace(after, test_set=tests, config={"seed": 1, "new": {"key": "x"}}))
    rows = {(row.model, row.what): row.change for row in found.rows}
    assert rows == {
        ("demo-large.tflite", "accuracy"): "-1.00 percentage points",
        ("demo-large.tflite", "size"): "-50.0%",
        ("demo-large.tflite", "content"): "another file",
        ("demo-small.tflite", "latency on host"): "-25.0%",
        ("demo-small.tflite", "latency on pixel3"): "+1.0%, within the intervals",
    }
    assert (found.removed, found.added) == (("demo-gpu.tflite",), ("demo-npu.tflite",))
    assert found.config == (("config.new.key", "–", "'x'"), ("config.train.epochs", "4", "–"))
    classes, images = found.cautions
    assert classes == "the classes differ (gone: dog; new: cow)"
    assert images == "the accuracies are of different test images (1,000 of animals before, 900 of animals after)"
    assert not found.is_same
    assert difference(before, before).is_same


def test_latencies_under_other_conditions_are_not_compared(tmp_path: Path) -> None:
    before = write_release(tmp_path)
    moved = replace(latency("host", 80.0), device="Another CPU", threads=4)
    after = with_model(before, "large", latency=(moved, latency("pixel3", 1200.0, verdict="fell back to CPU: why")))
    assert [(row.what, row.change) for row in difference(before, after).rows] == [
        ("latency on host", "not compared: other device, threads"),
        ("latency on pixel3", "no figure any more"),
    ]


def test_pull_says_what_it_took_and_why(store: Path, tmp_path: Path, capsys: Out) -> None:
    flags: dict[str, Any] = {"store": store, "target": "host", "max_latency_us": 91.0}
    assert command("pull", out=tmp_path / "out", **flags) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-8:] == [
        "release: demo-20261101T100000Z-00000000 (stable, sequence 1); not signed",
        "took demo-large.tflite: 98.00 % accurate, 90.0 us on host (88.2 to 91.8), 3,000 bytes",
        "  why: the most accurate of the release's 3 models, which all fit within --max_latency_us=91 on host",
        "  but: its interval ends at 91.8 us, beyond --max_latency_us=91",
        "  not demo-small.tflite: less accurate: 95.00 %",
        "  not demo-gpu.tflite: less accurate: 97.00 %",
        f"{tmp_path / 'out'}: 3 files, 3,016 bytes, all as the manifest says",
        f"next: python -m pipeline.main verify {tmp_path / 'out'}",
    ]
    assert command("pull", out=tmp_path / "out", **flags) == 0
    assert "there already" in capsys.readouterr().out


def test_a_release_is_signed_promoted_and_pulled(tmp_path: Path, capsys: Out) -> None:
    key, store = tmp_path / "key", tmp_path / "signed"
    assert command("release", "keygen", out=key) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    public = tmp_path / "key.pub"
    write_release(tmp_path / "run", 1)
    publish(tmp_path / "run", None, open_store(str(store)), "latest", key, SilentReporter())
    flags: dict[str, Any] = {"store": store, "release": "latest", "channel": "stable"}
    assert command("release", "promote", sign_key=key, **flags) == 0
    assert "stable is demo-20261101T100000Z-00000000 (sequence 1, signed)" in capsys.readouterr().out
    assert read_channel(open_store(str(store)), "stable", public) is not None
    assert command("pull", store=store, public_key=public, out=tmp_path / "out") == 0
    assert "(stable, sequence 1); signed with your key" in capsys.readouterr().out
    assert command("show", "stable", store=store, public_key=public) == 0


def test_a_manifest_that_the_store_has_changed_is_not_signed_by_a_promotion(tmp_path: Path) -> None:
    key, store = tmp_path / "key", tmp_path / "signed"
    command("release", "keygen", out=key)
    manifest = write_release(tmp_path / "run", 1)
    publish(tmp_path / "run", None, open_store(str(store)), "latest", key, SilentReporter())
    released = store / "releases" / manifest.release_id / MANIFEST
    write(released, manifest_bytes(replace(manifest, command="another")))
    with pytest.raises(LitesmithError, match="not signed with") as error:
        command("release", "promote", store=store, release=manifest.release_id, channel="stable", sign_key=key)
    assert error.value.exit_code == 1
    assert not (store / "channels/stable.json").exists()


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        (lambda: command("release", store="s"), ("release", "publish", "rebuild", "none")),
        (lambda: command("release", "remove", store="s"), ("'remove'", "keygen", "promote")),
        (lambda: command("release", "rebuild", store="s", channel="x"), ("--channel", "rebuild", "--store")),
        (lambda: command("release", "rebuild", store="s", workdir=Path("x")), ("--workdir", "rebuild", "--store")),
        (lambda: command("release", "promote", store=".", release="latest"), ("--channel", "missing")),
        (lambda: command("release", "publish", store="s", sign_key="", workdir=Path("x")), ("--sign_key", "missing")),
        (lambda: command("release", "keygen"), ("--out", "missing")),
        (lambda: command("list"), ("--store", "missing")),
        (lambda: command("list", store="/nowhere/at/all"), ("--store", "/nowhere/at/all")),
        (lambda: command("show", store="."), ("show", "one channel or ID", "none")),
        (lambda: command("diff", "stable", store="."), ("diff", "two channels or IDs", "stable")),
        (lambda: command("pull", store="."), ("--out", "missing")),
        (lambda: command("pull", store=".", out="x", public_key=""), ("--public_key", "missing")),
        (lambda: command("pull", store=".", out="x", target=""), ("--target", "missing")),
        (lambda: command("pull", store=".", out="x", min_accuracy=95.0), ("--min_accuracy", "95")),
        (lambda: command("pull", "extra", store=".", out="x"), ("unexpected extra",)),
    ],
)
def test_bad_usage_names_what_is_wrong(wrong: Callable[[], int], parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        wrong()
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_the_usage_tells_of_every_command() -> None:
    assert all(f"\n  {name} " in usage.USAGE or f"\n  {name}\n" in usage.USAGE for name in COMMANDS)


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline/commands").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_the_command_line_takes_every_flag_that_a_command_reads(path: Path) -> None:
    patterns = (r'call\.(?:flags\.get|needed|file)\("(\w+)"', r'call\.flags\["(\w+)"\]', r'"(\w+)" in call\.flags')
    read = {flag for pattern in patterns for flag in re.findall(pattern, path.read_text(encoding="utf-8"))}
    for flag in sorted(read):
        assert path.stem in TABLE[flag].commands, flag


def _main(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pipeline.main", *arguments]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})}
    )


def test_the_command_line_from_an_empty_folder_to_a_verified_model(store: Path, tmp_path: Path) -> None:
    """Exit codes as a process, and no TensorFlow on the way: with a module of that name that cannot be imported."""
    write(tmp_path / "no/tensorflow.py", b"raise SystemExit('TensorFlow was imported')")
    without = {"PYTHONPATH": str(tmp_path / "no")}
    out = tmp_path / "out"
    with served(store) as url:
        pulled = _main("pull", f"--store={url}", "--prefer=size", f"--out={out}", environment=without)
        assert (pulled.returncode, pulled.stderr) == (0, "")
        assert "took demo-gpu.tflite" in pulled.stdout
        named = _main("pull", f"--store={url}", "--model=small", f"--out={out}", environment=without)
        assert (named.returncode, named.stderr) == (0, "")
        assert (out / "demo-small.tflite").exists()
        (broken,) = (store / "releases").glob("demo-20261102*")
        (broken / "demo-small.tflite").write_bytes(b"s" * 1000)
        flags = (f"--store={url}", "--release=latest", "--model=small", f"--out={tmp_path / 'new'}")
        refused = _main("pull", *flags)
        assert refused.returncode == 1
        assert refused.stderr.startswith("litesmith: ")
        assert refused.stderr.count("\n") == 1
        assert not (tmp_path / "new").exists()
    verified = _main("verify", str(out), environment=without)
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
    (out / "labels.txt").write_bytes(b"dog\ncat\n")
    assert _main("verify", str(out)).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pull", "--store=STORE", "--target=pixel9", "--out=OUT"), 2, ("--target", "pixel9", "host, pixel3")),
        (("pull", "--store=STORE", "--target=host", "--max_latency_us=1", "--out=OUT"), 1, ("nearest",)),
        (("pull", "--store=STORE", "--max_size_bytes=1kB", "--out=OUT"), 2, ("--max_size_bytes", "1kB")),
        (("pull", "--store=gopher://x/y", "--out=OUT"), 2, ("--store", "gopher")),
        (("list", "--store=STORE", "--out=OUT"), 2, ("--out", "list does not take it")),
    ],
)
def test_exit_codes_of_the_command_line(
    store: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    places = {"STORE": str(store), "OUT": str(tmp_path / "out")}
    done = _main(*(argument.replace("STORE", places["STORE"]).replace("OUT", places["OUT"]) for argument in arguments))
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("litesmith: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()
