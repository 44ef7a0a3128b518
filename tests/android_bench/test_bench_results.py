"""Result files: what a kill leaves, what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from android_bench.results import BenchEntry, ResultFile, entry_of, in_order, read_results
from android_bench.session import MeasurementError
from android_bench.settings import BenchConfig
from android_bench.stats import latency_stats
from core.errors import UsageError
from core.values import Measurement, Target

ROOT = Path(__file__).resolve().parents[2]
TARGET = Target("host")


def entry(sha256: str, model: str = "net") -> BenchEntry:
    measurement = Measurement(sha256, TARGET, latency_stats([[1_000, 2_500]]), 5, "tool", {"a": "b"})
    return entry_of(model, sha256, TARGET, measurement)


def failure(sha256: str) -> BenchEntry:
    return entry_of("net", sha256, TARGET, MeasurementError("it crashed\nbadly"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "results.jsonl"


def test_entries_survive_and_failed_ones_are_to_be_tried_again(path):
    results = ResultFile(path, BenchConfig())
    results.append(entry("aa"))
    results.append(failure("bb"))
    again = ResultFile(path, BenchConfig(max_cool_down_seconds=1, retries=0))  # no matter for the figures
    assert again.measured("aa", TARGET) == entry("aa")
    assert again.measured("bb", TARGET) is None
    assert again.measured("aa", Target("host", num_threads=2)) is None
    assert [one.verdict for one in read_results(path)] == ["ok", "failed: it crashed badly"]


def test_the_latest_entry_counts(path):
    results = ResultFile(path, BenchConfig())
    for one in (failure("aa"), entry("aa"), entry("aa", "same file, other name")):
        results.append(one)
    assert [(one.model, one.verdict) for one in read_results(path)] == [("net", "ok"), ("same file, other name", "ok")]


def test_the_order_is_not_that_of_the_devices(path):
    results = ResultFile(path, BenchConfig())
    for one in (entry("cc", "before"), failure("bb"), entry("bb"), entry("aa")):
        results.append(one)
    ordered = in_order((entry("aa"), entry("bb")), read_results(path))
    assert [one.artifact_sha256 for one in ordered] == ["aa", "bb", "cc"]
    assert ordered[1].measurement is not None


def test_kill_loses_nothing_that_was_appended(path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.android_bench.test_bench_results import *
results = ResultFile(Path({str(path)!r}), BenchConfig())
for number in range(10**6):
    results.append(entry(str(number)))
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in writer.stdout:
        if int(line) == 20:
            break
    writer.send_signal(signal.SIGKILL)
    told = [20, *(int(line) for line in writer.stdout.read().splitlines())]
    writer.wait()
    assert len(read_results(path)) >= told[-1] + 1
    ResultFile(path, BenchConfig()).append(entry("more"))
    assert read_results(path)[-1].artifact_sha256 == "more"


@pytest.mark.parametrize("cut", [1, 12, 40, 80])
def test_an_unfinished_line_is_dropped(path, cut):
    ResultFile(path, BenchConfig()).append(entry("aa"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:cut])
    assert len(read_results(path)) == 1
    ResultFile(path, BenchConfig()).append(entry("bb"))
    assert len(read_results(path)) == 2
    path.write_bytes(whole[:cut])  # not even the first line is whole
    ResultFile(path, BenchConfig()).append(entry("cc"))
    assert [one.artifact_sha256 for one in read_results(path)] == ["cc"]


def test_other_settings_are_refused(path):
    ResultFile(path, BenchConfig(runs=10))
    with pytest.raises(
        UsageError, match=r"results\.jsonl: made with other settings \(.*runs=10.*\); use these, or"
    ) as caught:
        ResultFile(path, BenchConfig(runs=11))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of litesmith benchmark results"),
        (b"a photo", "not a file of litesmith benchmark results"),
        (b"[1]\n", "not a file of"),
        (b"\xff\xfe\n", "not a file of"),
        (b"{}\n", "not a file of litesmith benchmark results"),
        (b'{"format": "litesmith benchmark results", "settings": {}, "version": 9}\n', "version 9"),
    ],
)
def test_other_files_are_one_line_and_stay_as_they_are(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    calls = [read_results] + ([lambda file: ResultFile(file, BenchConfig())] if content else [])
    for call in calls:
        with pytest.raises(UsageError, match=message) as caught:
            call(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
        assert path.read_bytes() == content


def test_an_entry_of_the_wrong_form_names_its_line(path):
    ResultFile(path, BenchConfig()).append(entry("aa"))
    record = json.loads(path.read_text().splitlines()[1])
    record["target"]["num_threads"] = "two"
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")
    with pytest.raises(UsageError, match=r"results\.jsonl:3\.target\.num_threads: 'two' has the wrong type"):
        read_results(path)


def test_absent_and_unwritable_files(tmp_path):
    with pytest.raises(UsageError, match="absent: no such file"):
        read_results(tmp_path / "absent")
    with pytest.raises(UsageError, match="cannot be read"):
        read_results(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        ResultFile(tmp_path / "file" / "below", BenchConfig())
