"""The protocol with a runner that plays back sessions: no process, no clock, no TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from android_bench import protocol
from android_bench.protocol import check_model_file, measure, measure_all, runner_for, search_latency_us
from android_bench.session import Concern, MeasurementError, Summary, TargetState
from android_bench.settings import BenchConfig
from core.errors import UsageError
from core.spec_io import canonical_json, from_plain, to_plain
from core.values import Measurement, OpTime, Target, file_sha256
from tests.android_bench.playback import FakeTime, PlaybackRunner, model_file, session

TARGET = Target("bench", kind="host", num_threads=1, cpu_mask=(0,))


@pytest.fixture
def model(tmp_path):
    return model_file(tmp_path)


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
    assert runner.events == ["locked", "state", "run", "run", "state", "released"]


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
    with pytest.raises(
        UsageError, match="kind of target toaster: 'oven' is not legal; expected one of android, host, ssh"
    ):
        runner_for(Target("toaster", kind="oven"))


# What the target is asked before, between and after the sessions.

HOT = TargetState({"temperature": "45"}, wait_for="thermal status 2 (moderate)")
COOL = TargetState({"temperature": "30"})


def test_a_hot_device_is_waited_for(model):
    time, runner = FakeTime(), PlaybackRunner([session(10)], states=[HOT, HOT, COOL])
    measured = measure(model, TARGET, BenchConfig(processes=1), runner, sleep=time.sleep)
    assert (measured.verdict, measured.conditions["cool_down_seconds"]) == ("ok", "10")
    assert time.slept == [5.0, 5.0]
    assert measured.conditions["temperature"] == "30"
    assert runner.events == ["locked", "state", "state", "state", "run", "state", "released"]


@pytest.mark.parametrize("kind", ["throttled", "noisy"])
def test_waiting_ends_and_the_figure_says_why_not_to_trust_it(model, kind):
    time, hot = FakeTime(), replace(HOT, wait_kind=kind)
    config = BenchConfig(processes=1, max_cool_down_seconds=12)
    measured = measure(model, TARGET, config, PlaybackRunner([session(10)], states=[hot]), sleep=time.sleep)
    assert time.slept == [5.0, 5.0, 2.0]
    reason = "thermal status 2 (moderate)"
    assert measured.verdict == f"{kind}: {reason} after waiting for 12 s; {reason} after the sessions"


def test_throttling_during_the_measurement_is_seen_after_it(model):
    runner = PlaybackRunner([session(10)], states=[COOL, HOT])
    measured = measure(model, TARGET, BenchConfig(processes=1), runner, sleep=FakeTime().sleep)
    assert measured.verdict == "throttled: thermal status 2 (moderate) after the sessions"
    assert (measured.conditions["temperature"], measured.conditions["temperature_after"]) == ("30", "45")


def test_a_concern_after_the_sessions_counts(model):
    after = TargetState({}, (Concern("noisy", "the screen went on"),))
    measured = measure(model, TARGET, BenchConfig(processes=1), PlaybackRunner([session(10)], states=[COOL, after]))
    assert measured.verdict == "noisy: the screen went on"


def test_a_device_that_is_gone_after_the_sessions_keeps_its_figure(model):
    runner = PlaybackRunner([session(10)], states=[COOL, MeasurementError("pixel: no answer")])
    measured = measure(model, TARGET, BenchConfig(processes=1), runner)
    assert measured.verdict == "noisy: its state after the sessions is unknown: pixel: no answer"
    assert measured.latency.median_us == 10.0


def test_a_failing_clean_up_keeps_the_figure(model):
    class Careless(PlaybackRunner):
        def run(self, model_path, target, plan):
            self.states = [UsageError("cannot tidy up")]
            return super().run(model_path, target, plan)

    measured = measure(model, TARGET, BenchConfig(processes=1), Careless([session(10)]))
    assert measured.conditions["after_the_sessions"] == "failed: cannot tidy up"


def test_the_target_is_looked_at_again_once_a_minute(tmp_path):
    time = FakeTime()

    class Slow(PlaybackRunner):
        def run(self, model_path, target, plan):
            time.sleep(20)
            return super().run(model_path, target, plan)

    paths = [model_file(tmp_path, name) for name in "ab"]
    runner = Slow([session(10)], states=[COOL, HOT, COOL])
    results = measure_all(paths, TARGET, BenchConfig(processes=4), runner, sleep=time.sleep, clock=time.clock)
    # A round takes 40 s, so there is a look before the first and the third. There it is hot, and again 5 s later cool.
    assert "".join(event[0] for event in runner.events[1:-1]) == "s" + "rrrr" + "ss" + "rrrr" + "s"
    assert [result.verdict for result in results] == ["ok", "ok"]
    assert results[0].conditions["cool_down_seconds"] == "5"


# Retries.


def gone():
    return MeasurementError("pixel: pushing the model: connection reset", transient=True)


def test_a_lost_connection_is_tried_again(model):
    time, runner = FakeTime(), PlaybackRunner([gone(), gone(), session(10)])
    measured = measure(model, TARGET, BenchConfig(processes=1, retries=2), runner, sleep=time.sleep)
    assert (measured.verdict, time.slept) == ("ok", [2.0, 4.0])


def test_after_the_last_attempt_the_error_says_how_many_there_were(model):
    time, runner = FakeTime(), PlaybackRunner([gone()])
    with pytest.raises(MeasurementError, match=r"connection reset \(3 attempts\)") as caught:
        measure(model, TARGET, BenchConfig(retries=2), runner, sleep=time.sleep)
    assert caught.value.transient
    assert runner.events == ["locked", "state", "run", "run", "run", "released"]


def test_a_state_is_tried_again_too(model):
    runner = PlaybackRunner([session(10)], states=[gone(), COOL])
    assert measure(model, TARGET, BenchConfig(processes=1), runner, sleep=FakeTime().sleep).verdict == "ok"


@pytest.mark.parametrize("error", [UsageError("refused"), MeasurementError("crashed")])
def test_what_the_model_is_to_blame_for_is_not_tried_again(model, error):
    time, runner = FakeTime(), PlaybackRunner([error])
    with pytest.raises(type(error), match=str(error)):
        measure(model, TARGET, BenchConfig(), runner, sleep=time.sleep)
    assert (runner.events.count("run"), time.slept) == (1, [])


# Several models in turns.


def test_models_take_turns_in_random_order(tmp_path):
    paths = [model_file(tmp_path, name) for name in "abcde"]
    runner = PlaybackRunner([session(10)])
    results = measure_all(paths, TARGET, BenchConfig(processes=6), runner)
    rounds = ["".join(runner.models[start : start + 5]) for start in range(0, 30, 5)]
    assert all(sorted(order) == list("abcde") for order in rounds)
    assert len(set(rounds)) > 1 and rounds[0] != "abcde"
    assert [result.artifact_sha256 for result in results] == [file_sha256(path) for path in paths]
    assert results[0].conditions["order"].startswith("in turns with 4 other models, random (seed ")
    again = PlaybackRunner([session(10)])
    measure_all(paths, TARGET, BenchConfig(processes=6), again)
    assert again.models == runner.models


def test_one_model_that_fails_leaves_the_others(tmp_path):
    class Refusing(PlaybackRunner):
        def run(self, model_path, target, plan):
            answer = super().run(model_path, target, plan)
            if model_path.stem == "b":
                raise UsageError("refused")
            return answer

    paths = [model_file(tmp_path, "a"), model_file(tmp_path, "b"), tmp_path / "absent.tflite"]
    runner = Refusing([session(10)])
    first, second, third = measure_all(paths, TARGET, BenchConfig(processes=3), runner)
    assert first.verdict == "ok"
    assert (str(second), "cannot be read" in str(third)) == ("refused", True)
    assert sorted(runner.models) == ["a", "a", "a", "b"]


def test_a_lost_device_ends_all_its_models(tmp_path):
    paths = [model_file(tmp_path, name) for name in "abc"]
    runner = PlaybackRunner([session(10), gone()])
    results = measure_all(paths, TARGET, BenchConfig(retries=0), runner)
    assert ["connection reset (1 attempts)" in str(result) for result in results] == [True] * 3
    assert len(runner.plans) == 2


# What the tool tells, and what it does not.


def test_a_tool_that_tells_means_only(model):
    summary = Summary(runs=50, median_us=10.0, mean_us=10.0, min_us=8.0, max_us=30.0, center="mean")
    measured = measure(model, TARGET, BenchConfig(processes=2), PlaybackRunner([replace(session(), summary=summary)]))
    assert (measured.latency.center, measured.latency.p95_us, measured.latency.runs) == ("mean", 0.0, 100)
    assert measured.conditions["center"] == "the tool prints means, no medians"
    assert measured.conditions["runs_per_process"] == "50 to 50"


def test_profile_is_one_more_session_and_not_in_the_latency(model):
    ops = (OpTime("CONV_2D", "conv", 5.0, 1.0),)
    runner = PlaybackRunner([session(10), session(10), session(99, ops=ops)])
    measured = measure(model, TARGET, BenchConfig(processes=2, profile=True), runner)
    assert [plan.profile for plan in runner.plans] == [False, False, True]
    assert (measured.ops, measured.latency.median_us, measured.verdict) == (ops, 10.0, "ok")
    assert measured.conditions["op_profile"] == "of one more session, which is not in the latency"


@pytest.mark.parametrize(
    ("profiled", "words"), [(session(99), "not told by the tool"), (MeasurementError("crashed"), "failed: crashed")]
)
def test_a_profile_that_cannot_be_had_costs_nothing_else(model, profiled, words):
    runner = PlaybackRunner([session(10), profiled])
    measured = measure(model, TARGET, BenchConfig(processes=1, profile=True), runner)
    assert (measured.ops, measured.verdict, measured.conditions["op_profile"]) == ((), "ok", words)


def test_a_legacy_delegate_is_called_one(model):
    measured = measure(
        model, replace(TARGET, delegate="nnapi"), BenchConfig(processes=1), PlaybackRunner([session(10)])
    )
    assert measured.conditions["delegate"] == "nnapi (legacy: Android deprecated NNAPI in version 15)"


def test_a_drifting_target_is_noisy(model):
    runner = PlaybackRunner([session(value) for value in (100, 102, 104, 106, 108)])
    measured = measure(model, TARGET, BenchConfig(), runner)
    assert measured.verdict == "noisy: it grew 8% slower from the first session to the last (p = 0.017)"


# Search.


def test_a_fall_back_is_no_figure_for_a_search(model):
    runner = PlaybackRunner([session(10, concerns=[Concern("fell back to CPU", "no GPU")])])
    with pytest.raises(MeasurementError, match="bench: fell back to CPU: no GPU"):
        search_latency_us(model, BenchConfig(), TARGET, runner)


def test_a_search_waits_for_a_device_and_refuses_a_throttled_one(model):
    phone, config = replace(TARGET, kind="android"), BenchConfig(max_cool_down_seconds=5)
    time, runner = FakeTime(), PlaybackRunner([session(10)], states=[HOT, COOL])
    assert search_latency_us(model, config, phone, runner, sleep=time.sleep) == 10.0
    assert time.slept == [5.0]
    with pytest.raises(MeasurementError, match="throttled: thermal status 2"):
        search_latency_us(model, config, phone, PlaybackRunner([session(10)], states=[HOT]), sleep=time.sleep)


def test_a_search_does_not_ask_for_the_hosts_load(model):
    runner = PlaybackRunner([session(10)])
    search_latency_us(model, BenchConfig(), TARGET, runner)
    assert "state" not in runner.events
