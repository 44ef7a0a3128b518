"""Every fault of a phone or of the way to it ends in a retry that succeeds or in one line that names device and step.

Nothing of ours is left on the phone. The adb program is the real one, the phones are stand-ins.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from android_bench.adb import connection as connection_module
from android_bench.protocol import measure
from android_bench.runners.android import make
from android_bench.session import MeasurementError
from android_bench.settings import BenchConfig
from core.errors import LitesmithError
from tests.android_bench.standin import phones, replay
from tests.android_bench.standin.desk import PLAN, TARGET, attached, connections
from tests.android_bench.standin.replay import answer, calls
from tests.android_bench.tool_logs import recorded
from tests.tree import ROOT

pytestmark = pytest.mark.usefixtures("adb")
CONFIG = BenchConfig(targets=("host",), processes=1, warmup_runs=2, runs=10, min_seconds=0.0)


def measured(phone, model, target=TARGET):
    return measure(model, target, CONFIG, connections=connections(phone), sleep=lambda _: None)


def failure(phone, model) -> str:
    """The one line that a measurement ends with; the phone must be clean."""
    with pytest.raises(LitesmithError) as caught:
        measured(phone, model)
    assert "\n" not in str(caught.value)
    assert phone.is_clean()
    return str(caught.value)


@pytest.mark.parametrize("fault", ["drop_at", pytest.param("drop_after", marks=pytest.mark.slow)])
def test_a_connection_that_drops_at_any_step(phone, model, fault):
    assert measured(phone, model).verdict == "ok"
    steps = len(phone.opened)
    assert sum(service.startswith("sync:") for service in phone.opened) == 2
    for step in range(steps):
        setattr(phone.faults, fault, len(phone.opened) + step)
        result = measured(phone, model)
        # The last steps clean up: they may be lost, and the phone cleans itself.
        assert result.latency.median_us == 405, phone.opened[-steps:]
        assert phone.is_clean(), (step, phone.files(), phone.processes())
        setattr(phone.faults, fault, None)


def test_a_kept_tool_is_pushed_again_after_a_drop(phone, model):
    runner = make(TARGET, connections(phone))
    with runner:
        for step in range(7):
            phone.faults.drop_after = len(phone.opened) + step
            result = measure(model, TARGET, CONFIG, runner=runner, sleep=lambda _: None)
            assert result.latency.median_us == 405
    assert phone.is_clean()


def test_a_phone_that_is_gone_for_good(phone, model, monkeypatch):
    monkeypatch.setattr(connection_module, "RECONNECT_SECONDS", 0.3)
    assert measured(phone, model).verdict == "ok"
    lines = set()
    for step in (0, len(phone.opened) // 2):
        phone.faults.gone_for, phone.faults.drop_at = 600.0, len(phone.opened) + step
        line = failure(phone, model)
        assert re.match(rf"(Pixel 3 \({phone.serial}\)|device {phone.serial}): [a-z ]+: ", line), line
        lines.add(line)
        phone.come_back()
        measured_again(phone, model)
    assert len(lines) == 2


def measured_again(phone, model):
    """Once the phone is back, it is measured as if nothing had been."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(MeasurementError):
            return measured(phone, model)
    raise AssertionError("the phone is not usable again")


def test_a_tool_that_hangs_is_stopped(phone, model):
    answer(phone, replay.HANGING)
    runner = make(TARGET, connections(phone))
    runner._grace_seconds = 0.3
    with runner.exclusive(TARGET), pytest.raises(MeasurementError) as caught:
        runner.run(model, TARGET, PLAN)
    assert str(caught.value) == f"Pixel 3 ({phone.serial}): measuring: no answer within 2.3 s"
    assert not caught.value.transient
    assert phone.is_clean()


def test_a_phone_that_falls_silent(phone, model, monkeypatch):
    assert measured(phone, model).verdict == "ok"
    monkeypatch.setattr(connection_module, "SHELL_SECONDS", 0.5)
    phone.faults.mute = "sha256sum"
    assert failure(phone, model) == f"Pixel 3 ({phone.serial}): pushing the tool: no answer within 0.5 s"


@pytest.mark.parametrize("cut_after", [0, 300])
def test_an_exit_code_without_the_last_line_does_not_count(phone, model, cut_after):
    phone.faults.cut, phone.faults.cut_after = "--graph=", cut_after
    line = failure(phone, model)
    lost = f"Pixel 3 ({phone.serial}): measuring: the connection broke (the output has no end) (3 attempts)"
    assert line == lost


def test_a_phone_without_space(phone, model):
    phone.faults.room = 100_000
    expected = f"Pixel 3 ({phone.serial}): pushing the model: remote write failed: No space left on device"
    assert failure(phone, model) == expected


def test_a_tool_that_is_killed_once(phone, model):
    answer(phone, replay.KILLED, replay.GOOD)
    assert measured(phone, model).verdict == "ok"
    assert len(calls(phone)) == 2
    assert phone.is_clean()


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replay.KILLED, "SIGKILL"),
        (replay.CRASHED, "SIGSEGV"),
        (replay.CUT, "no inference timings"),
    ],
)
def test_a_tool_that_always_fails(phone, model, run, words):
    answer(phone, run)
    line = failure(phone, model)
    assert line.startswith(f"Pixel 3 ({phone.serial}): measuring: ")
    assert words in line


def test_a_tool_for_another_processor(phone, model, tmp_path):
    tool = tmp_path / "arm_tool"
    tool.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(100))
    runner = make(TARGET, connections(phone, tool=tool))
    with runner.exclusive(TARGET), pytest.raises(MeasurementError, match=r"measuring: .*the tool cannot be started"):
        runner.run(model, TARGET, PLAN)
    assert phone.is_clean()


def test_adb_s_server_may_be_restarted(adb, phone, model):
    assert measured(phone, model).verdict == "ok"
    answer(phone, replay.HANGING, replay.GOOD)
    done = len(calls(phone))

    def restart():
        while len(calls(phone)) == done:
            time.sleep(0.02)
        adb.server_kill()

    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(restart)
        assert measured(phone, model).verdict == "ok"
        restarted.result()
    assert phone.is_clean()


def test_one_phone_s_fault_leaves_the_other_s_result(phone, tmp_path, model):
    with attached(tmp_path / "six", phones.PIXEL_6) as six, ThreadPoolExecutor(2) as pool:
        answer(six, replay.CRASHED)
        good, bad = pool.submit(measured, phone, model), pool.submit(measured, six, model)
        assert good.result().latency.median_us == 405
        with pytest.raises(MeasurementError, match=r"Pixel 6 \(.*\): measuring"):
            bad.result()
        assert phone.is_clean()
        assert six.is_clean()


def test_one_run_at_a_time_on_a_phone(phone):
    first, second = make(TARGET, connections(phone)), make(TARGET, connections(phone))
    entered = threading.Event()

    def enter():
        with second.exclusive(TARGET):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with first.exclusive(TARGET):
            waiting = pool.submit(enter)
            assert not entered.wait(0.3)
        waiting.result()
    assert entered.is_set()
    assert phone.is_clean()


_CLIENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
import sys
from pathlib import Path
from android_bench.connections import Connections
from android_bench.protocol import measure
from android_bench.settings import BenchConfig
from tests.android_bench.standin.desk import TARGET
from tests.android_bench.standin.replay import TOOL
print("ready", flush=True)
flags = Connections(serials={"": sys.argv[1]}, benchmark_model={"": str(TOOL)})
measure(Path(sys.argv[2]), TARGET, BenchConfig(targets=("host",)), connections=flags)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_stopped_leaves_nothing(phone, model, number):
    answer(phone, replay.HANGING)
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, phone.serial, str(model)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not calls(phone):
            assert client.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        assert not phone.is_clean(0.0)
        client.send_signal(number)
        client.wait(30)
    finally:
        client.kill()
        client.wait()
    assert phone.is_clean()


# The emulated device had neither GPU nor NNAPI nor Hexagon.
@pytest.mark.parametrize(
    ("name", "delegate", "outcome"),
    [
        ("30_xnnpack-f32", "xnnpack", "ok"),
        ("31_cpu-noxnn-f32", "cpu", "ok"),
        ("38_gpu", "gpu", "SIGABRT"),
        ("40_nnapi", "nnapi", "fell back to CPU"),
        ("41_nnapi-require", "nnapi", "the delegate does not run the whole model"),
        ("42_hexagon", "hexagon", "fell back to CPU"),
        ("48_flex", "xnnpack", "the tool lacks an operator"),
    ],
)
def test_recorded_runs(phone, model, name, delegate, outcome):
    stdout, stderr, code = recorded(name)
    answer(phone, replay.Run(stdout, stderr, str(code)))
    target = type(TARGET)("phone", kind="android", num_threads=1, delegate=delegate)
    try:
        verdict = measured(phone, model, target).verdict
    except LitesmithError as error:
        verdict = str(error)
    assert outcome in verdict
    assert phone.is_clean()
