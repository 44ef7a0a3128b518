"""The Android runner with the real adb program, against stand-in phones."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from android_bench.protocol import measure
from android_bench.runners.android import make
from android_bench.session import FELL_BACK, Concern, MeasurementError
from android_bench.settings import BenchConfig
from core.errors import UsageError
from tests.android_bench.standin import phones, replay
from tests.android_bench.standin.desk import PLAN, TARGET, attached, connections
from tests.android_bench.standin.device import Faults
from tests.android_bench.standin.replay import answer, calls, masks
from tests.android_bench.test_tool_profile import profile_message

pytestmark = pytest.mark.usefixtures("adb")
CONFIG = BenchConfig(targets=("host",), processes=3, warmup_runs=2, runs=10, min_seconds=0.0)


def session(phone, model, target=TARGET, plan=PLAN, **flags):
    runner = make(target, connections(phone, **flags))
    with runner.exclusive(target):
        return runner.run(model, target, plan)


def copies(phone) -> list[str]:
    """The names of the files that were pushed."""
    return [name.rpartition("/")[2] for name in phone.files() if "/" in name and not name.endswith("/held")]


def test_a_session_has_the_tool_s_figures(phone, model):
    got = session(phone, model)
    assert got.summary is not None
    assert (got.summary.runs, got.summary.median_us, got.summary.min_us, got.summary.p95_us) == (50, 405, 399, 416)
    assert got.peak_memory_bytes == 4 * 2**20
    assert got.concerns == ()
    assert got.conditions["cores_allowed"] == "7"


def test_nothing_is_left_on_the_device(phone, model):
    session(phone, model)
    assert phone.files() == []
    assert phone.is_clean()


def test_the_tool_s_flags_and_the_mask_of_the_phone_s_own_layout(phone, model):
    session(phone, model, replace(TARGET, num_threads=2))
    assert masks(phone) == ["c0"]  # cores 6 and 7 of the fast four
    (flags,) = calls(phone)
    assert "--num_threads=2" in flags
    assert "--num_runs=10" in flags
    assert "--require_full_delegation" not in flags


@pytest.mark.parametrize(("cores", "mask"), [("big", "80"), ("middle", "20"), ("little", "8")])
def test_three_kinds_of_cores(tmp_path, model, cores, mask):
    with attached(tmp_path / "six", phones.PIXEL_6) as phone:
        session(phone, model, replace(TARGET, cores=cores))
        assert masks(phone) == [mask]


def test_a_target_may_name_its_cores_or_none(phone, model):
    session(phone, model, replace(TARGET, cores="", cpu_mask=(1, 5)))
    assert masks(phone) == ["22"]
    got = session(phone, model, replace(TARGET, cores=""))
    assert masks(phone) == ["22"]
    assert got.conditions["cores_allowed"] == "all"


def test_cores_that_are_not_there_are_a_usage_error(phone):
    with pytest.raises(UsageError, match="middle cores"):
        make(replace(TARGET, cores="middle"), connections(phone))
    with pytest.raises(UsageError, match=r"cpu_mask has cores \[8\]"):
        make(replace(TARGET, cores="", cpu_mask=(8,)), connections(phone))


def test_tool_and_model_are_pushed_once(phone, model):
    runner = make(TARGET, connections(phone))
    with runner.exclusive(TARGET):
        for _ in range(3):
            runner.run(model, TARGET, PLAN)
        assert len(copies(phone)) == 2
    assert len(calls(phone)) == 3
    assert sum(service.startswith("sync:") for service in phone.opened) == 2


def test_the_tool_stays_while_the_runner_is_kept(phone, model):
    runner = make(TARGET, connections(phone))
    with runner:
        for _ in range(2):
            with runner.exclusive(TARGET):
                runner.run(model, TARGET, PLAN)
            assert copies(phone) == [hashlib.sha256(replay.TOOL.read_bytes()).hexdigest()[:16]]
    assert phone.is_clean()


def test_a_profile_comes_as_protobuf(phone, model):
    (phone.root / "tool/profile.pb").write_bytes(profile_message().SerializeToString())
    got = session(phone, model, plan=replace(PLAN, profile=True))
    assert [(op.name, op.avg_us, op.share) for op in got.ops] == [("op:0", 10.0, 0.25), ("op:1", 30.0, 0.75)]
    assert phone.is_clean()


def test_the_state_of_the_phone(phone):
    phones.set_screen(phone.root, is_on=True)
    state = make(TARGET, connections(phone)).state(TARGET)
    assert state.concerns == ()
    assert state.wait_for == ""
    expected = {
        "device": "Pixel 3",
        "soc": "sdm845",
        "android": "12",
        "abi": "arm64-v8a",
        "cores_online": "0-3 at 1.77 GHz; 4-7 at 2.80 GHz",
        "governor": "schedutil",
        "battery": "87 %",
        "charging": "yes",
        "thermal_status": "0 (none)",
        "screen_on": "yes",
        "free_space": "53.7 GB",
        "load_average": "1.52 1.60 1.71",
    }
    assert expected.items() <= state.conditions.items()


def test_a_hot_phone_is_waited_for(phone):
    phones.set_thermal(phone.root, 2)
    assert make(TARGET, connections(phone)).state(TARGET).wait_for == "thermal status 2 (moderate)"


def test_an_empty_battery_is_a_concern(phone):
    phones.set_battery(phone.root, level=12, status=3)
    (phone.root / "state/low_power").write_text("1\n")
    concerns = make(TARGET, connections(phone)).state(TARGET).concerns
    assert [concern.kind for concern in concerns] == ["noisy", "noisy"]
    assert "battery at 12 %" in concerns[0].reason


def test_a_measurement_by_the_protocol(phone, model):
    result = measure(model, TARGET, CONFIG, connections=connections(phone))
    assert result.verdict == "ok"
    assert result.latency.median_us == 405
    assert result.latency.processes == 3
    assert result.tool.startswith("benchmark_model sha256 ")
    assert result.conditions["device"] == "Pixel 3"
    assert phone.is_clean()


def test_a_phone_that_warms_up_is_throttled(phone, model):
    # The tool heats the phone: its third run ends with thermal status 3.
    answer(phone, replay.GOOD)
    service, hot = phone.root / "state/dumpsys/thermalservice", phone.root / "hot"
    phones.set_thermal(phone.root, 3)
    service.rename(hot)
    phones.set_thermal(phone.root, 0)
    heat = f"grep -c . {phone.root}/tool/calls | grep -q 3 && cp {hot} {service}"
    tool = phone.root / "heating_tool"
    tool.write_text(replay.TOOL.read_text().replace("run=", f"{heat}\nrun=", 1))
    result = measure(model, TARGET, CONFIG, connections=connections(phone, tool=tool))
    assert result.verdict == "throttled: thermal status 3 (severe) after the sessions"


def test_a_fall_back_is_never_the_delegate_s_figure(phone, model):
    answer(phone, replay.FELL_BACK)
    got = session(phone, model, replace(TARGET, delegate="nnapi"))
    reason = "NNAPI acceleration is unsupported on this platform."
    assert got.concerns == (Concern(FELL_BACK, reason),)
    assert "--require_full_delegation=true" in calls(phone)[0]


def test_a_refused_delegate_is_an_error_that_says_so(phone, model):
    answer(phone, replay.REFUSED)
    with pytest.raises(MeasurementError, match=r"^Pixel 3 \(127.*: measuring: .*net.tflite: the delegate does not run"):
        session(phone, model, replace(TARGET, delegate="nnapi"))
    assert phone.is_clean()


def test_a_refused_model_is_a_usage_error(phone, model):
    answer(phone, replay.NOT_A_MODEL)
    with pytest.raises(UsageError, match="not a model"):
        session(phone, model)
    assert phone.is_clean()


def test_the_only_usable_phone_is_taken(phone, tmp_path, model):
    with attached(tmp_path / "locked", faults=Faults(door="unauthorized")) as locked:
        runner = make(TARGET, connections())
        with runner.exclusive(TARGET):
            runner.run(model, TARGET, PLAN)
        assert len(calls(phone)) == 1
        with pytest.raises(MeasurementError, match=rf"device {locked.serial}: unauthorized: allow USB debugging"):
            make(TARGET, connections(locked))


def test_of_two_phones_the_model_decides(phone, tmp_path, model):
    with attached(tmp_path / "six", phones.PIXEL_6) as six:
        with pytest.raises(UsageError, match=r"2 devices are attached; name one by its serial: Pixel"):
            make(TARGET, connections())
        target = replace(TARGET, device="Pixel 6")
        runner = make(target, connections())
        with runner.exclusive(target):
            runner.run(model, target, PLAN)
        assert len(calls(six)) == 1
        with pytest.raises(UsageError, match=r"calls itself 'Pixel 3', the target's device is 'Pixel 6'"):
            make(target, connections(phone))


def test_a_serial_on_the_network_is_called(adb, phone, model):
    adb.disconnect(phone.serial)
    assert session(phone, model).summary is not None


def test_what_is_not_attached(phone):
    missing = replace(connections(phone), serials={TARGET.name: "0A1B2C"})
    with pytest.raises(MeasurementError, match=rf"device 0A1B2C is not attached; attached: {phone.serial} ready"):
        make(TARGET, missing)


def test_a_missing_tool_and_another_abi_are_usage_errors(phone):
    flags = connections(phone)
    with pytest.raises(UsageError, match="expected --benchmark_model=arm64-v8a=FILE"):
        make(TARGET, replace(flags, benchmark_model={}))
    with pytest.raises(UsageError, match=r"--benchmark_model: 'nowhere': no such file"):
        make(TARGET, replace(flags, benchmark_model={"arm64-v8a": "nowhere"}))
    with pytest.raises(UsageError, match="has ABI 'arm64-v8a', expected 'x86_64'"):
        make(replace(TARGET, abi="x86_64"), flags)


APP = replace(TARGET, tool="benchmark_apk", cores="")


@pytest.fixture
def app(phone, tmp_path):
    (phone.root / "tool/app_log").write_text(replay.APP_LOG)
    apk = tmp_path / "benchmark.apk"
    apk.write_bytes(b"PK")
    return str(apk)


def test_the_app_is_installed_measured_and_taken_off(phone, app, model):
    runner = make(APP, connections(phone, apk=app))
    with runner.exclusive(APP):
        got = runner.run(model, APP, PLAN)
        assert (phone.root / "state/app").exists()
    assert got.summary is not None
    assert (got.summary.median_us, got.summary.center, got.concerns) == (14575.2, "mean", ())
    assert runner.tool.startswith("benchmark_apk sha256 ")
    assert "-n org.tensorflow.lite.tools.benchmark/.BenchmarkModelActivity --es args" in calls(phone)[0]
    assert phone.is_clean()
    assert not (phone.root / "state/app").exists()


def test_an_installed_app_stays(phone, app, model):
    (phone.root / "state/app").touch()
    assert session(phone, model, APP).summary is not None
    assert (phone.root / "state/app").exists()
    assert phone.is_clean()


def test_an_app_that_is_missing_or_crashes(phone, app, model):
    with pytest.raises(MeasurementError, match=r"looking for the app: .*benchmark is not installed"):
        session(phone, model, APP)
    (phone.root / "tool/app_log").write_text(replay.CRASHED_APP_LOG)
    with pytest.raises(MeasurementError, match=r"measuring: .*Fatal signal 11"):
        session(phone, model, APP, apk=app)
    assert phone.is_clean()


def test_an_app_that_says_nothing(phone, app, model):
    (phone.root / "tool/app_log").write_text("")
    runner = make(APP, connections(phone, apk=app))
    runner._grace_seconds = 0.5
    with pytest.raises(MeasurementError, match="measuring: no answer within"), runner.exclusive(APP):
        runner.run(model, APP, replace(PLAN, max_seconds=0.1))
    assert phone.is_clean()


def test_an_app_cannot_be_pinned(phone, app):
    with pytest.raises(UsageError, match="benchmark_apk cannot be pinned"):
        make(replace(APP, cores="big"), connections(phone, apk=app))
