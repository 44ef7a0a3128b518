"""adb's server on this computer: which devices are attached, and whether they can be used.

Everything goes through adbutils, which brings the adb program. ANDROID_ADB_SERVER_PORT says which server, as always.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import adbutils

from android_bench.session import MeasurementError
from core import process
from core.process import Completed, ProcessError

START_SECONDS = 30.0

_PROBLEMS = {
    "unauthorized": "unauthorized: allow USB debugging for this computer on the device's screen",
    "offline": "offline: the device does not answer; plug it in again or restart it",
    "authorizing": "not ready: it has not answered this computer's key yet",
    "connecting": "not ready: the connection is being made",
    "no": "no permission: this user may not open the USB device (udev rules)",  # "no permissions (...)" in full
}


@dataclass(frozen=True, slots=True)
class Attached:
    """A device that adb lists. `problem` says why it cannot be used, "" if it can."""

    serial: str
    state: str
    problem: str


def client() -> adbutils.AdbClient:
    """The client of a running server, which is started if need be. Raises MeasurementError if it cannot be."""
    try:
        run_adb("start-server", timeout_s=START_SECONDS)
        return adbutils.AdbClient()
    except (ProcessError, adbutils.AdbError, OSError) as error:
        raise MeasurementError(f"adb: its server cannot be started: {error}") from error


def run_adb(*args: str, timeout_s: float, check: bool = True) -> Completed:
    """Runs the adb program. Raises ProcessError as core.process.run does."""
    command: Sequence[str] = (adbutils.adb_path(), *args)
    return process.run(command, timeout_s=timeout_s, check=check)


def attached(adb: adbutils.AdbClient) -> tuple[Attached, ...]:
    """All devices that the server knows, by serial number. Raises MeasurementError if it does not answer."""
    try:
        found = adb.list()
    except (adbutils.AdbError, OSError) as error:
        raise MeasurementError(f"adb: its server does not list the devices: {error}") from error
    return tuple(sorted((Attached(each.serial, each.state, _problem(each.state)) for each in found), key=_serial))


def state_of(adb: adbutils.AdbClient, serial: str) -> str:
    """A device's state in adb's words ("device" if it can be used), "" if it is not attached."""
    return next((each.state for each in attached(adb) if each.serial == serial), "")


def call(adb: adbutils.AdbClient, serial: str, timeout_s: float) -> None:
    """Connects to a device on the network anew; nothing to do for others. Whether it worked, its state tells."""
    if re.fullmatch(r"\S+:\d+", serial) is None:
        return
    with contextlib.suppress(adbutils.AdbError, OSError):
        adb.disconnect(serial)
        adb.connect(serial, timeout=timeout_s)


def _problem(state: str) -> str:
    return "" if state == "device" else _PROBLEMS.get(state, f"in state {state!r}: Android is not running on it")


def _serial(device: Attached) -> str:
    return device.serial
