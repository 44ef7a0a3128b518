"""The real adb program with a server of its own for the tests, and what lies on the desk: a model and a target."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import adbutils
import pytest

from android_bench.adb import lease, server
from android_bench.connections import Connections
from android_bench.session import MeasurementError, SessionPlan
from core.values import Target
from tests.android_bench.standin.device import Faults, StandinDevice
from tests.android_bench.standin.phones import PIXEL_3, Phone
from tests.android_bench.standin.replay import GOOD, TOOL, answer

PLAN = SessionPlan(warmup_runs=2, runs=10, min_seconds=0.2, max_seconds=1.0)
TARGET = Target("phone", kind="android", num_threads=1, delegate="xnnpack", cores="big")


@contextlib.contextmanager
def adb_server(folder: Path) -> Iterator[adbutils.AdbClient]:
    """A server that sees no real device, with its key, log and our locks in `folder`; ended in any case."""
    changes = {
        "ANDROID_ADB_SERVER_PORT": str(_free_port()),
        "ADB_USB": "0",
        "ADB_EMU": "0",
        "ADB_MDNS_AUTO_CONNECT": "0",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(lease, "SWEEP_SECONDS", 0.2)  # loopback is quicker than a cable: tests wait for it often
        try:
            client = server.client()
        except MeasurementError as error:
            pytest.skip(f"the adb program cannot start here: {error}")
        try:
            yield client
        finally:
            client.server_kill()


@contextlib.contextmanager
def attached(
    folder: Path, phone: Phone = PIXEL_3, faults: Faults | None = None, features: str = "shell_v2,cmd"
) -> Iterator[StandinDevice]:
    """A phone that the server knows, whose tool answers well."""
    with StandinDevice(phone, folder, features, faults or Faults()) as device:
        answer(device, GOOD)
        client = adbutils.AdbClient()
        with contextlib.suppress(adbutils.AdbTimeout):
            client.connect(device.serial, timeout=1.0 if faults and faults.door else 10.0)
        try:
            yield device
        finally:
            client.disconnect(device.serial)


def connections(*devices: StandinDevice, tool: Path = TOOL, apk: str = "") -> Connections:
    """The run-time flags: the tool for every ABI, and one device for every target if it is alone."""
    serials = {"": devices[0].serial} if len(devices) == 1 else {}
    return Connections(serials=serials, benchmark_model={"": str(tool)}, apk=apk)


def model_file(folder: Path) -> Path:
    """A file that passes for a .tflite; the stand-in tools do not look inside."""
    path = folder / "net.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + os.urandom(200_000))
    return path


def _free_port() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        if not 5500 <= port <= 5600:
            return port
