"""Which attached device a target means."""

from __future__ import annotations

from collections.abc import Sequence

import adbutils

from android_bench.adb import server
from android_bench.adb.connection import Connection
from android_bench.adb.device import FACTS_SCRIPT, DeviceFacts, parse_facts
from android_bench.adb.server import Attached
from android_bench.connections import Connections
from android_bench.retry import retried
from android_bench.session import MeasurementError
from core.errors import UsageError
from core.progress import SilentReporter
from core.values import Target

_CALL_SECONDS = 10.0
_RETRIES = 1  # of a first look at a device


def choose(adb: adbutils.AdbClient, target: Target, connections: Connections) -> tuple[Connection, DeviceFacts]:
    """The device of a target with what it says of itself.

    That is the one with the serial number of `connections`, which is called if it is an address on the network; without
    a serial number the only device that can be used; of several the only one whose model is `target.device`.

    Raises MeasurementError if it is not attached or cannot be used (with what is attached, and why not), UsageError if
    several would do or its model is another one.
    """
    serial = connections.serials.get(target.name) or connections.serials.get("", "")
    if serial:
        connection, facts = looked_at(adb, _by_serial(adb, target, serial))
    else:
        connection, facts = _only_one(adb, target)
    if target.device and facts.model != target.device:
        found = f"calls itself {facts.model!r}, the target's device is {target.device!r}"
        raise UsageError(f"target {target.name}: device {connection.serial} {found}")
    return connection, facts


def looked_at(adb: adbutils.AdbClient, serial: str) -> tuple[Connection, DeviceFacts]:
    """A device that can be used, with what it says of itself. Raises MeasurementError if the connection fails twice."""
    connection = Connection(adb, serial)
    # The connection itself waits for a device that is gone: no pause is needed besides.
    facts = retried(lambda: look(connection), _RETRIES, SilentReporter(), lambda _: None)
    connection.model = facts.model
    return connection, facts


def look(connection: Connection) -> DeviceFacts:
    """What a device says of itself now. Raises MeasurementError."""
    return parse_facts(connection.check_shell(FACTS_SCRIPT, "looking at its state"))


def _by_serial(adb: adbutils.AdbClient, target: Target, serial: str) -> str:
    """The same serial number, if that device can be used."""
    if server.state_of(adb, serial) != "device":
        server.call(adb, serial, _CALL_SECONDS)
    devices = server.attached(adb)
    device = next((each for each in devices if each.serial == serial), None)
    if device is None:
        raise MeasurementError(f"target {target.name}: device {serial} is not attached; {_in_words(devices)}")
    if device.problem:
        raise MeasurementError(f"target {target.name}: device {serial}: {device.problem}")
    return serial


def _only_one(adb: adbutils.AdbClient, target: Target) -> tuple[Connection, DeviceFacts]:
    devices = server.attached(adb)
    usable = [device.serial for device in devices if not device.problem]
    if not usable:
        raise MeasurementError(f"target {target.name}: no Android device that can be used; {_in_words(devices)}")
    if len(usable) == 1:
        return looked_at(adb, usable[0])
    candidates = [looked_at(adb, serial) for serial in usable]
    fitting = [pair for pair in candidates if target.device and pair[1].model == target.device]
    if len(fitting) != 1:
        names = ", ".join(connection.label for connection, _ in fitting or candidates)
        raise UsageError(f"target {target.name}: {len(usable)} devices are attached; name one by its serial: {names}")
    return fitting[0]


def _in_words(devices: Sequence[Attached]) -> str:
    if not devices:
        return "nothing is attached"
    return "attached: " + "; ".join(f"{device.serial} {device.problem or 'ready'}" for device in devices)
