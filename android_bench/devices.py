"""What is attached by adb: every device with its facts, or why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

import adbutils

from android_bench.adb import server
from android_bench.adb.choose import looked_at
from android_bench.adb.device import CoreGroup, DeviceFacts
from android_bench.adb.server import Attached
from android_bench.session import MeasurementError
from core.errors import one_line


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device for the command `devices`. `problem` says why it cannot be used, "" if it can; then the rest is empty.

    `groups` are the cores that are switched on, slowest first. None and "" are what the device does not tell.
    """

    serial: str
    problem: str = ""
    model: str = ""
    soc: str = ""
    android: str = ""
    abi: str = ""
    groups: tuple[CoreGroup, ...] = ()
    battery_percent: int | None = None
    is_charging: bool | None = None
    thermal: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether it can be measured on."""
        return not self.problem


def list_devices() -> tuple[DeviceInfo, ...]:
    """All devices that adb lists, by serial number; one that fails does not hide the others.

    Raises MeasurementError if adb's server cannot be started.
    """
    adb = server.client()
    return tuple(_info(adb, device) for device in server.attached(adb))


def _info(adb: adbutils.AdbClient, device: Attached) -> DeviceInfo:
    if device.problem:
        return DeviceInfo(device.serial, device.problem)
    try:
        _, facts = looked_at(adb, device.serial)
    except MeasurementError as error:
        return DeviceInfo(device.serial, one_line(error))
    return _from_facts(device.serial, facts)


def _from_facts(serial: str, facts: DeviceFacts) -> DeviceInfo:
    return DeviceInfo(
        serial=serial,
        model=facts.model,
        soc=facts.soc,
        android=facts.android,
        abi=facts.abi,
        groups=facts.groups,
        battery_percent=facts.battery_percent,
        is_charging=facts.is_charging,
        thermal=facts.thermal_text,
    )
