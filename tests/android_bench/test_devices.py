"""The list of attached devices, with the real adb program and stand-in phones."""

from __future__ import annotations

import pytest

from android_bench import devices
from android_bench.adb import server
from android_bench.adb.device import CoreGroup
from android_bench.devices import DeviceInfo, list_devices
from android_bench.session import MeasurementError
from tests.android_bench.standin import phones
from tests.android_bench.standin.desk import attached
from tests.android_bench.standin.device import Faults

pytestmark = pytest.mark.usefixtures("adb")


def test_nothing_attached():
    assert list_devices() == ()


def test_a_phone_in_full(tmp_path):
    with attached(tmp_path / "six", phones.PIXEL_6) as phone:
        expected = DeviceInfo(
            serial=phone.serial,
            model="Pixel 6",
            soc="Google GS101",
            android="14",
            abi="arm64-v8a",
            groups=(
                CoreGroup((0, 1, 2, 3), 1803000, 250),
                CoreGroup((4, 5), 2253000, 620),
                CoreGroup((6, 7), 2802000, 1024),
            ),
            battery_percent=87,
            is_charging=True,
            thermal="0 (none)",
        )
        assert list_devices() == (expected,)
        assert expected.is_usable


def test_a_phone_without_shell_v2(tmp_path):
    with attached(tmp_path / "old", features="cmd") as phone:
        (info,) = list_devices()
        assert (info.serial, info.problem, info.model) == (phone.serial, "", "Pixel 3")


def test_those_that_cannot_be_used_say_why(tmp_path):
    with (
        attached(tmp_path / "three") as good,
        attached(tmp_path / "locked", faults=Faults(door="unauthorized")) as locked,
        attached(tmp_path / "dead", faults=Faults(door="offline")) as dead,
    ):
        found = {info.serial: info for info in list_devices()}
        assert found[good.serial].is_usable
        assert found[locked.serial].problem.startswith("unauthorized: allow USB debugging")
        assert found[dead.serial].problem.startswith("offline: the device does not answer")


def test_a_phone_that_fails_does_not_hide_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("android_bench.adb.connection.SHELL_SECONDS", 1.0)
    with attached(tmp_path / "three") as good, attached(tmp_path / "mute", faults=Faults(mute="getprop")) as mute:
        found = {info.serial: info for info in list_devices()}
        assert found[good.serial].is_usable
        assert found[mute.serial].problem == f"device {mute.serial}: looking at its state: no answer within 1 s"


class _Listing:
    """An adb that lists what cannot be made without USB hardware."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self._rows = rows

    def list(self):
        return [type("Row", (), {"serial": serial, "state": state}) for serial, state in self._rows]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("no", "no permission: this user may not open the USB device (udev rules)"),
        ("recovery", "in state 'recovery': Android is not running on it"),
        ("authorizing", "not ready: it has not answered this computer's key yet"),
    ],
)
def test_states_of_usb_devices(monkeypatch, state, problem):
    monkeypatch.setattr(server, "client", lambda: _Listing(("0A1B2C", state)))
    assert devices.list_devices() == (DeviceInfo("0A1B2C", problem),)


def test_an_adb_that_cannot_start_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    with pytest.raises(MeasurementError, match=r"^adb: its server cannot be started: false: exit code 1"):
        list_devices()
