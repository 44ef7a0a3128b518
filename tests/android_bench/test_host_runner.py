"""The host runner with real processes and LiteRT; and with workers that crash, hang or babble."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from android_bench.connections import Connections
from android_bench.protocol import measure, search_latency_us
from android_bench.runners.host import WORKER_COMMAND, HostRunner, make
from android_bench.session import MeasurementError, SessionPlan
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.errors import UsageError, one_line
from core.values import Target

HOST = resolve_target("host", BenchConfig())
HOST_COMPILED = resolve_target("host_compiled", BenchConfig())
HOST_CPU = resolve_target("host_cpu", BenchConfig())
ROOT = Path(__file__).resolve().parents[2]
CORES = tuple(sorted(os.sched_getaffinity(0)))

# As little as fixes a median: what these tests assert does not depend on how exact it is.
SHORT = BenchConfig(processes=2, warmup_runs=2, runs=10, min_seconds=0.0)
SHORT_PLAN = SessionPlan(warmup_runs=2, runs=10, min_seconds=0.0)


def python(code: str) -> tuple[str, ...]:
    """A command that runs `code` with this project on the module path."""
    return (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}")


def no_children() -> bool:
    return psutil.Process().children(recursive=True) == []


def test_measures_a_float_network(tiny_models):
    measured = measure(tiny_models["small"], HOST, SHORT)
    assert measured.latency.processes == SHORT.processes
    assert measured.latency.runs == SHORT.processes * SHORT.runs
    assert 0 < measured.latency.min_us <= measured.latency.median_us
    assert measured.tool.startswith("ai-edge-litert ")
    assert measured.conditions["delegate_partitions"] == "1"
    for key in ("host_cpu", "cores_online", "load_average", "governor", "python", "ai_edge_litert"):
        assert measured.conditions[key]
    # A process with an interpreter and NumPy holds tens of MB; the test process, with TensorFlow, holds over 300 MB,
    # which is what getrusage would have told.
    before = int(measured.conditions["memory_before_model_bytes"])
    assert before <= measured.peak_memory_bytes < 200e6
    assert no_children()


def test_quantized_network_gets_bytes(tiny_models):
    session = HostRunner().run(tiny_models["small_uint8"], HOST, SHORT_PLAN)
    assert len(session.durations_ns) == SHORT_PLAN.runs


def test_without_delegate_nothing_is_delegated_and_nothing_is_wrong(tiny_models):
    session = HostRunner().run(tiny_models["small"], HOST_CPU, SHORT_PLAN)
    assert session.conditions["delegate_partitions"] == "0"
    assert session.concerns == ()


def test_silent_fall_back_is_a_concern(tiny_models):
    # A worker that is asked for XNNPACK but loads without: exit code 0 and a plausible figure.
    code = (
        "from android_bench import host_worker; "
        "host_worker.RESOLVERS['xnnpack'] = host_worker.RESOLVERS['cpu']; host_worker.respond(host_worker.session)"
    )
    measured = measure(tiny_models["small"], HOST, SHORT, HostRunner(python(code)))
    assert measured.verdict.startswith("fell back to CPU: XNNPACK took no part of the graph")


def test_compiled_model_is_the_second_tool(tiny_models):
    measured = measure(tiny_models["small"], HOST_COMPILED, SHORT)
    assert measured.tool.startswith("ai-edge-litert ") and measured.tool.endswith(" CompiledModel")
    assert (measured.conditions["tool"], measured.target.tool) == ("CompiledModel", "compiled_model")
    assert measured.conditions["delegate_partitions"] == "1"
    assert measured.latency.runs == SHORT.processes * SHORT.runs


def test_compiled_model_without_delegate_and_with_bytes(tiny_models):
    runner, without = HostRunner(tool="compiled_model"), replace(HOST_COMPILED, delegate="cpu")
    assert runner.run(tiny_models["small"], without, SHORT_PLAN).conditions["delegate_partitions"] == "0"
    assert len(runner.run(tiny_models["small_uint8"], HOST_COMPILED, SHORT_PLAN).durations_ns) == SHORT_PLAN.runs


def test_silent_fall_back_of_compiled_model_is_a_concern(tiny_models):
    code = (
        "from android_bench import host_worker; "
        "host_worker.RESOLVERS['xnnpack'] = host_worker.RESOLVERS['cpu']; "
        "host_worker.KERNEL_MODES['xnnpack'] = 'BUILTIN'; host_worker.respond(host_worker.session)"
    )
    session = HostRunner(python(code), tool="compiled_model").run(tiny_models["small"], HOST_COMPILED, SHORT_PLAN)
    assert [concern.reason for concern in session.concerns] == ["XNNPACK took no part of the graph"]


def test_compiled_model_refuses_a_malformed_model_in_one_line(shared_model):
    path = shared_model("malformed_person_detect.tflite").resolve()
    with pytest.raises(UsageError) as caught:
        HostRunner(tool="compiled_model").run(path, HOST_COMPILED, SHORT_PLAN)
    reason = "quantized_dimension must be in range [0, 1). Was 3."
    assert str(caught.value) == f"{path}: LiteRT cannot load this model: {reason}"


def test_a_runner_measures_with_its_own_tool_only(tiny_models):
    with pytest.raises(UsageError, match="tool of target host_compiled: 'compiled_model' is not legal"):
        HostRunner().run(tiny_models["small"], HOST_COMPILED, SHORT_PLAN)
    assert make(HOST_COMPILED, Connections()).tool.endswith("CompiledModel")


def test_host_tells_no_operator_profile(tiny_models):
    measured = measure(tiny_models["small"], HOST, replace(SHORT, processes=1, profile=True))
    assert (measured.ops, measured.conditions["op_profile"]) == ((), "not told by the tool")


def test_order_of_three_networks_is_recovered(tiny_models):
    """Each network has over 20 times the MACs of the one before and the same two operators.

    An order, not a time: medians are compared that lie a factor of 3 apart at the very least (overhead included), and
    sharing a core with one other process costs a factor of 2 at most, and a median hardly that.
    """
    names = ("medium", "large", "small")
    latency_us = {name: search_latency_us(tiny_models[name], SHORT) for name in names}
    assert sorted(names, key=latency_us.__getitem__) == ["small", "medium", "large"]


def test_worker_is_pinned(tiny_models):
    session = HostRunner().run(tiny_models["small"], replace(HOST, cpu_mask=CORES[-1:]), SHORT_PLAN)
    assert session.conditions["cores_allowed"] == str(CORES[-1])


@pytest.mark.skipif(len(CORES) < 2, reason="needs 2 cores")
def test_two_threads(tiny_models):
    config = replace(SHORT, num_threads=2)
    measured = measure(tiny_models["medium"], resolve_target("host", config), config)
    assert (measured.conditions["threads"], measured.target.cpu_mask) == ("2", CORES[:2])
    assert measured.conditions["lowest_cpu_share"] == "not measured"


def test_core_that_does_not_exist_is_named_by_its_step(tiny_models):
    with pytest.raises(MeasurementError, match=r"host measurement failed at step 'pin': .*Invalid argument"):
        HostRunner().run(tiny_models["small"], replace(HOST, cpu_mask=(1023,)), SHORT_PLAN)


def test_unknown_delegate_is_refused(tiny_models):
    with pytest.raises(UsageError, match=r"target host\.delegate: 'gpu' is not legal .* expected one of cpu, xnnpack"):
        HostRunner().run(tiny_models["small"], Target("host", delegate="gpu"), SHORT_PLAN)


def test_damaged_model_is_one_clear_line(tmp_path, tiny_models):
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_models["small"].read_bytes()[:200])
    with pytest.raises(UsageError) as caught:
        measure(path, HOST, SHORT)
    assert str(caught.value).startswith(f"{path}: LiteRT cannot load this model: ")
    assert "\n" not in str(caught.value)
    assert no_children()


def test_real_malformed_model_is_one_clear_line(shared_model):
    path = shared_model("malformed_person_detect.tflite").resolve()
    with pytest.raises(UsageError) as caught:
        measure(path, HOST, SHORT)
    message = str(caught.value)
    assert message.startswith(f"{path}: LiteRT cannot load this model: quantized_dimension must be in range")
    assert "\n" not in message and len(message) < 300 + len(str(path))
    assert no_children()


@pytest.mark.parametrize(
    "name",
    ["kws_ref_model_float32.tflite", "mobilenet_v1_0.25_224_quant.tflite", "pretrainedResnet_quant.tflite"],
)
def test_real_models(shared_model, name):
    session = HostRunner().run(shared_model(name), HOST, SHORT_PLAN)
    assert len(session.durations_ns) == SHORT_PLAN.runs
    assert int(session.conditions["delegate_partitions"]) >= 1


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_crash_names_the_signal(tiny_models, name):
    runner = HostRunner(python(f"import os, signal; os.kill(os.getpid(), signal.{name})"))
    with pytest.raises(
        MeasurementError, match=f"small.tflite: the process that measured it on host was killed by {name}"
    ):
        measure(tiny_models["small"], HOST, SHORT, runner)


def test_a_hanging_worker_is_stopped_with_its_children(tiny_models):
    # The worker starts a child of its own that would outlive it.
    runner = HostRunner(python("import subprocess; subprocess.run(['sleep', '1000'])"), grace_seconds=1.0)
    plan = replace(SHORT_PLAN, max_seconds=0.01)
    with pytest.raises(MeasurementError, match=r"no answer within 1\.02 s; stopped"):
        runner.run(tiny_models["small"], HOST, plan)
    assert no_children()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('gibberish')", r"gave no answer; exit code 0: \(no message\)"),
        ("raise SystemExit('no such library')", "gave no answer; exit code 1: no such library"),
        ("import a_module_that_is_absent", "gave no answer; exit code 1: ModuleNotFoundError"),
    ],
)
def test_a_worker_without_an_answer_is_quoted(tiny_models, code, message):
    with pytest.raises(MeasurementError, match=message):
        HostRunner(python(code)).run(tiny_models["small"], HOST, SHORT_PLAN)


def test_a_worker_that_cannot_start_is_named(tiny_models):
    with pytest.raises(MeasurementError, match=r"small\.tflite: host measurement: nothing: cannot be started"):
        HostRunner(("/absent/nothing",)).run(tiny_models["small"], HOST, SHORT_PLAN)


def test_a_failing_invocation_is_no_traceback(tiny_models):
    code = (
        "from android_bench import host_worker as w\n"
        "def fail(*args): raise RuntimeError('Node number 3 failed\\nto invoke.')\n"
        "w.time_runs = fail; w.respond(w.session)"
    )
    with pytest.raises(MeasurementError) as caught:
        HostRunner(python(code)).run(tiny_models["small"], HOST, SHORT_PLAN)
    assert one_line(caught.value).endswith("failed at step 'invoke': Node number 3 failed to invoke.")


def test_no_worker_survives_a_killed_parent(tiny_models):
    code = (
        "from pathlib import Path; from android_bench.runners.host import HostRunner; "
        "from android_bench.session import SessionPlan; from core.values import Target; "
        f"HostRunner().run(Path({str(tiny_models['large'])!r}), Target('host'), SessionPlan(0, 1, 60.0))"
    )
    parent = subprocess.Popen(python(code))
    try:
        worker = _wait_for_worker(psutil.Process(parent.pid))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    # The kernel kills it at once; left alone it would run for a minute.
    gone, alive = psutil.wait_procs([worker], timeout=20)
    for process in alive:
        process.kill()
    assert gone == [worker]


def _wait_for_worker(parent: psutil.Process) -> psutil.Process:
    """The worker, once it has loaded LiteRT and therefore asked to die with its parent soon after."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in parent.children():
            if any("litert" in mapped.path for mapped in child.memory_maps()):
                return child
        time.sleep(0.05)
    raise AssertionError("the worker did not start within a minute")


def test_a_worker_whose_parent_is_gone_already_does_nothing():
    # Process 1 is not its parent: as if the parent had died before the worker could ask to die with it.
    done = subprocess.run(WORKER_COMMAND, input='{"parent_pid": 1}', capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")


def test_measurements_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    entered = threading.Event()

    def other() -> None:
        with HostRunner().exclusive(HOST):
            entered.set()

    with HostRunner().exclusive(HOST):
        (lock,) = tmp_path.glob("litesmith-bench-*.lock")
        with open(lock) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        thread = threading.Thread(target=other)
        thread.start()
        # If the lock did nothing this would see the event at once; a slow machine can only make it pass.
        assert not entered.wait(0.3)
    thread.join(timeout=60)
    assert entered.is_set()


def test_a_busy_core_is_a_concern():
    burner = subprocess.Popen(python(f"import os; os.sched_setaffinity(0, {set(HOST.cpu_mask)})\nwhile True: pass"))
    try:
        _wait_until_burning(psutil.Process(burner.pid))
        state = HostRunner().state(HOST)
    finally:
        burner.kill()
        burner.wait()
    assert [concern.kind for concern in state.concerns] == ["noisy"]
    assert f"core {HOST.cpu_mask[0]} was" in state.concerns[0].reason


def _wait_until_burning(process: psutil.Process) -> None:
    deadline = time.monotonic() + 60
    while process.cpu_times().user < 0.1 and time.monotonic() < deadline:
        time.sleep(0.02)
