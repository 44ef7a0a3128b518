"""Several devices at once, with runners that play back sessions."""

from __future__ import annotations

import contextlib
import operator
import threading
from pathlib import Path

import pytest

from android_bench.campaign import devices, labelled, measure_targets
from android_bench.connections import Connections
from android_bench.results import read_results
from android_bench.session import MeasurementError
from android_bench.settings import BenchConfig
from core.errors import UsageError
from core.values import Target
from tests.android_bench.playback import PlaybackRunner, model_file, session

CONFIG = BenchConfig(processes=2, retries=0)
HOST, PIXEL, PI = Target("host"), Target("pixel3", kind="android"), Target("pi4", kind="ssh")
WAIT_SECONDS = 30  # for other threads; only a failure waits this long


@pytest.fixture
def models(tmp_path):
    return {name: model_file(tmp_path, name) for name in "abc"}


class Runners:
    """Makes a PlaybackRunner per target; `made` has them by name. `answers` replaces the sessions of some targets."""

    def __init__(self, **answers):
        self.answers, self.made = answers, {}

    def __call__(self, target, connections):
        runner = PlaybackRunner(self.answers.get(target.name, [session(10)]))
        self.made.setdefault(target.name, runner)
        return runner


def test_entries_come_in_the_order_of_targets_and_models(models):
    entries = measure_targets(models, [PIXEL, HOST], CONFIG, make_runner=Runners(host=[session(20)]))
    assert [(entry.target.name, entry.model, entry.latency.median_us) for entry in entries] == [
        *(("pixel3", name, 10.0) for name in "abc"),
        *(("host", name, 20.0) for name in "abc"),
    ]


def test_devices_run_in_parallel(models):
    together = threading.Barrier(3)

    class Meeting(PlaybackRunner):
        def state(self, target):
            # Each device waits here for the others: one after the other they would never meet.
            together.wait(WAIT_SECONDS)
            return super().state(target)

    entries = measure_targets(models, [HOST, PIXEL, PI], CONFIG, make_runner=lambda *_: Meeting([session(10)]))
    assert {entry.verdict for entry in entries} == {"ok"}


def test_one_run_at_a_time_on_each_device(models):
    busy, seen = threading.Lock(), []

    class Alone(PlaybackRunner):
        def run(self, model_path, target, plan):
            assert busy.acquire(blocking=False)
            with contextlib.ExitStack() as stack:
                stack.callback(busy.release)
                seen.append(target.name)
                return super().run(model_path, target, plan)

    targets = [HOST, Target("host_cpu", delegate="cpu")]
    entries = measure_targets(models, targets, CONFIG, make_runner=lambda *_: Alone([session(10)]))
    assert {entry.verdict for entry in entries} == {"ok"}
    assert seen == ["host"] * 6 + ["host_cpu"] * 6


def test_targets_of_one_phone_share_its_thread():
    gpu = Target("pixel3_gpu", kind="android", delegate="gpu")
    other = Target("pixel4", kind="android", device="Pixel 4")
    connections = Connections(serials={"pixel3": "X1", "pixel3_gpu": "X1"}, hosts={"pi4": "10.0.0.7"})
    assert devices([HOST, PIXEL, gpu, other, PI], connections) == {
        "host": [HOST],
        "android X1": [PIXEL, gpu],
        "android Pixel 4": [other],
        "ssh 10.0.0.7": [PI],
    }


def test_a_failing_device_leaves_the_others(models):
    lost = MeasurementError("pixel3: connection reset", transient=True)
    entries = measure_targets(models, [PIXEL, HOST], CONFIG, make_runner=Runners(pixel3=[session(10), lost]))
    assert [entry.verdict for entry in entries] == ["failed: pixel3: connection reset (1 attempts)"] * 3 + ["ok"] * 3


def test_a_lost_device_is_not_asked_for_the_rest(tmp_path):
    models = {str(number): model_file(tmp_path, str(number)) for number in range(20)}
    runners = Runners(pixel3=[MeasurementError("gone", transient=True)])
    entries = measure_targets(models, [PIXEL], CONFIG, make_runner=runners)
    assert len(entries) == 20 and all(entry.verdict.startswith("failed: gone") for entry in entries)
    assert runners.made["pixel3"].events.count("run") == 1


def test_a_device_that_cannot_be_used_is_a_failed_entry(models):
    def make(target, connections):
        if target.kind == "android":
            raise UsageError("pixel3: unauthorized")
        return PlaybackRunner([session(10)])

    entries = measure_targets(models, [PIXEL, HOST], CONFIG, make_runner=make)
    assert [entry.verdict for entry in entries] == ["failed: pixel3: unauthorized"] * 3 + ["ok"] * 3


def test_what_is_measured_already_is_taken_from_the_file(models, tmp_path):
    results = tmp_path / "results.jsonl"
    crash = MeasurementError("crashed")
    first = measure_targets(models, [HOST], CONFIG, results=results, make_runner=Runners(host=[crash, session(10)]))
    assert [entry.measurement is None for entry in first].count(True) == 1
    runners = Runners()
    second = measure_targets(models, [HOST, PI], CONFIG, results=results, make_runner=runners)
    assert {entry.verdict for entry in second} == {"ok"}
    assert len(runners.made["host"].models) == CONFIG.processes  # the failed one alone
    assert len(runners.made["pi4"].models) == 3 * CONFIG.processes
    key = operator.attrgetter("target.name", "model")
    assert sorted(read_results(results), key=key) == sorted(second, key=key)


def test_an_interruption_keeps_what_is_finished_and_ends_the_rest(tmp_path):
    """The first device is through with its models when the second is interrupted between two sessions."""
    models = {name: model_file(tmp_path, name) for name in "ab"}
    results, through = tmp_path / "results.jsonl", threading.Event()
    released = []

    class Interrupted(PlaybackRunner):
        @contextlib.contextmanager
        def exclusive(self, target):
            try:
                yield
            finally:
                released.append(target.name)
                if target.kind == "host":
                    through.set()

        def run(self, model_path, target, plan):
            if target.kind == "ssh":
                assert through.wait(WAIT_SECONDS)
                raise KeyboardInterrupt
            return super().run(model_path, target, plan)

    with pytest.raises(KeyboardInterrupt):
        measure_targets(models, [HOST, PI], CONFIG, results=results, make_runner=lambda *_: Interrupted([session(10)]))
    assert {(entry.target.name, entry.model) for entry in read_results(results)} == {("host", "a"), ("host", "b")}
    assert sorted(released) == ["host", "pi4"]


def test_sessions_stop_when_another_thread_fails(models):
    begun, endless = threading.Event(), threading.Event()

    class Endless(PlaybackRunner):
        def run(self, model_path, target, plan):
            if target.kind == "ssh":
                assert begun.wait(WAIT_SECONDS)
                raise RuntimeError("a bug")
            begun.set()
            # Long enough for the other thread to fail; a hundred such sessions would take too long.
            endless.wait(0.2)
            return super().run(model_path, target, plan)

    runners = {}

    def make(target, connections):
        return runners.setdefault(target.name, Endless([session(10)]))

    with pytest.raises(RuntimeError, match="a bug"):
        measure_targets(models, [HOST, PI], BenchConfig(processes=100), make_runner=make)
    assert len(runners["host"].models) < 300
    assert runners["host"].events[-1] == "released"


def test_bad_input_is_refused_before_anything_runs(models, tmp_path):
    runners = Runners()
    with pytest.raises(UsageError, match="host, host: expected different names"):
        measure_targets(models, [HOST, HOST], CONFIG, make_runner=runners)
    with pytest.raises(UsageError, match=r"absent\.tflite: cannot be read"):
        measure_targets({**models, "d": tmp_path / "absent.tflite"}, [HOST], CONFIG, make_runner=runners)
    (tmp_path / "photo").write_text("a photo\n")
    with pytest.raises(UsageError, match="photo: "):
        measure_targets(models, [HOST], CONFIG, results=tmp_path / "photo", make_runner=runners)
    assert runners.made == {}


def test_labels_tell_files_of_one_name_apart():
    paths = [Path("a/net.tflite"), Path("b/net.tflite"), Path("b/other.tflite")]
    assert labelled(paths) == {"a/net.tflite": paths[0], "b/net.tflite": paths[1], "other": paths[2]}


def test_one_runner_serves_all_batches_and_a_failing_clean_up_keeps_the_figures(tmp_path):
    models = {str(number): model_file(tmp_path, str(number)) for number in range(10)}  # more than one batch
    made = []

    class Keeping(PlaybackRunner):
        def __enter__(self):
            self.events.append("opened")
            return self

        def __exit__(self, *_):
            self.events.append("closed")
            raise MeasurementError("pixel3: gone while tidying up")

    def make(target, connections):
        made.append(Keeping([session(10)]))
        return made[-1]

    entries = measure_targets(models, [PIXEL], CONFIG, make_runner=make)
    assert [entry.verdict for entry in entries] == ["ok"] * 10
    (runner,) = made
    assert (runner.events[0], runner.events[-1], runner.events.count("locked")) == ("opened", "closed", 2)
