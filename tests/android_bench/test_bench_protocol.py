"""The protocol with a runner that plays back sessions: no process, no clock, no TensorFlow."""

from __future__ import annotations

import contextlib

import pytest

from android_bench import protocol
from android_bench.protocol import check_model_file, measure, runner_for, search_latency_us
from android_bench.session import Concern, MeasurementError, Session, TargetState
from android_bench.settings import BenchConfig
from core.errors import UsageError
from core.spec_io import canonical_json, from_plain, to_plain
from core.values import Measurement, Target, file_sha256

TARGET = Target("bench", kind="host", num_threads=1, cpu_mask=(0,))


class PlaybackRunner:
    """Answers each session from a list (the last entry again and again) and notes what happens in `events`."""

    tool = "playback 1.0"

    def __init__(self, sessions, concerns=()):
        self.sessions, self.concerns = list(sessions), tuple(concerns)
        self.events, self.plans = [], []

    @contextlib.contextmanager
    def exclusive(self, target):
        self.events.append("locked")
        try:
            yield
        finally:
            self.events.append("released")

    def state(self, target):
        self.events.append("state")
        return TargetState({"host_cpu": "imaginary"}, self.concerns)

    def run(self, model_path, target, plan):
        self.events.append("run")
        self.plans.append(plan)
        session = self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0]
        if isinstance(session, Exception):
            raise session
        return session


def session(*microseconds, cpu_share=0.99, concerns=(), memory=1):
    durations = tuple(round(value * 1_000) for value in microseconds)
    return Session(durations, memory, cpu_share, {"init_us": "7"}, tuple(concerns))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and the rest")
    return path


def test_measurement_holds_figures_conditions_and_identity(model):
    runner = PlaybackRunner([session(10, 11, 12, memory=5), session(10, 10, memory=9), session(10.5)])
    measured = measure(model, TARGET, BenchConfig(processes=3), runner)
    assert measured.verdict == "ok"
    assert measured.latency.process_medians_us == (11.0, 10.0, 10.5)
    assert (measured.latency.median_us, measured.latency.runs) == (10.5, 6)
    assert (measured.peak_memory_bytes, measured.tool, measured.target) == (9, "playback 1.0", TARGET)
    assert measured.artifact_sha256 == file_sha256(model)
    assert measured.conditions == {
        "host_cpu": "imaginary",
        "init_us": "7",
        "threads": "1",
        "cpu_mask": "0",
        "delegate": "xnnpack",
        "processes": "3",
        "warmup_runs": "20",
        "runs_per_process": "1 to 3",
        "lowest_cpu_share": "0.990",
    }


def test_measurement_survives_json(model):
    measured = measure(model, TARGET, BenchConfig(processes=1), PlaybackRunner([session(10)]))
    assert from_plain(Measurement, to_plain(measured)) == measured
    assert "NaN" not in canonical_json(measured)


def test_everything_happens_inside_the_lock(model):
    runner = PlaybackRunner([session(10)])
    measure(model, TARGET, BenchConfig(processes=2), runner)
    assert runner.events == ["locked", "state", "run", "run", "released"]


def test_lock_is_released_after_a_failed_session(model):
    runner = PlaybackRunner([session(10), MeasurementError("gone")])
    with pytest.raises(MeasurementError, match="gone"):
        measure(model, TARGET, BenchConfig(processes=3), runner)
    assert runner.events == ["locked", "state", "run", "run", "released"]


def test_plan_is_the_config(model):
    runner = PlaybackRunner([session(10)])
    measure(model, TARGET, BenchConfig(processes=1, warmup_runs=3, runs=44, min_seconds=0.5), runner)
    (plan,) = runner.plans
    assert (plan.warmup_runs, plan.runs, plan.min_seconds) == (3, 44, 0.5)


def test_verdict_collects_concerns_of_sessions_state_and_figures(model):
    fallback = Concern("fell back to CPU", "no part was taken")
    sessions = [session(10, concerns=[fallback]), session(20, concerns=[fallback], cpu_share=None)]
    runner = PlaybackRunner(sessions, [Concern("noisy", "core 0 was busy")])
    measured = measure(model, TARGET, BenchConfig(processes=2), runner)
    assert measured.verdict == (
        "fell back to CPU: no part was taken; "
        "noisy: core 0 was busy; process medians spread over 67% of their median (limit 10%)"
    )


def test_search_protocol_is_short_and_takes_the_median_process(model):
    runner = PlaybackRunner([session(10), session(30), session(11)])
    assert search_latency_us(model, BenchConfig(), TARGET, runner) == 11.0
    assert len(runner.plans) == protocol.SEARCH_PROCESSES
    assert {(plan.runs, plan.min_seconds) for plan in runner.plans} == {
        (protocol.SEARCH_RUNS, protocol.SEARCH_MIN_SECONDS)
    }
    assert runner.events[0] == "locked" and runner.events[-1] == "released"


def test_search_protocol_never_exceeds_the_config(model):
    runner = PlaybackRunner([session(10)])
    search_latency_us(model, BenchConfig(processes=1, runs=5, min_seconds=0.0), TARGET, runner)
    assert [(plan.runs, plan.min_seconds) for plan in runner.plans] == [(5, 0.0)]


def test_search_measures_on_the_first_target(model):
    seen = []

    class Noting(PlaybackRunner):
        def run(self, model_path, target, plan):
            seen.append(target.name)
            return super().run(model_path, target, plan)

    search_latency_us(model, BenchConfig(targets=("host_cpu", "host")), runner=Noting([session(10)]))
    assert set(seen) == {"host_cpu"}


def test_missing_file_is_one_line_and_nothing_runs(tmp_path):
    runner = PlaybackRunner([session(10)])
    for call in (lambda path: measure(path, TARGET, BenchConfig(), runner), check_model_file):
        with pytest.raises(UsageError) as caught:
            call(tmp_path / "absent.tflite")
        assert str(caught.value) == (
            f"{tmp_path}/absent.tflite: cannot be read (No such file or directory); expected a .tflite model"
        )
    assert runner.events == []


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\3\4 a zip file"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.tflite: not a \.tflite model .*expected b'TFL3'"):
        search_latency_us(path, BenchConfig(), TARGET, PlaybackRunner([session(10)]))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        check_model_file(tmp_path)


def test_unknown_kind_of_target_lists_the_legal_ones():
    with pytest.raises(UsageError, match="kind of target toaster: 'oven' is not legal; expected one of host"):
        runner_for(Target("toaster", kind="oven"))
