"""One Android device (7 or newer) over adb: commands, files, and the way back after a dropped connection.

A command's exit code counts only if the line after its output says the same: an adb that lost the device may report 0.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import adbutils

from android_bench.adb import server
from android_bench.session import MeasurementError
from core.errors import one_line
from core.process import ProcessError

SHELL_SECONDS = 30.0
PUSH_SECONDS = 300.0  # 1 GB over a slow USB 2 hub
RECONNECT_SECONDS = 20.0

_END = "litesmith-exit-code:"
_LAST_LINE = re.compile(rf"\n?{_END}(\d+)\s*\Z")
_FAILURES = (adbutils.AdbError, OSError, EOFError, ValueError)


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What a command on the device left."""

    stdout: str
    stderr: str
    exit_code: int


class Connection:
    """The way to the device `serial`. `model` goes into messages once it is known.

    Every method raises MeasurementError in one line that names device and step; `transient` says that the connection
    failed, so that another try is worth it: it begins with waiting for the device.
    """

    def __init__(self, adb: adbutils.AdbClient, serial: str, model: str = "") -> None:
        self._adb, self.serial, self.model = adb, serial, model
        self._way = adb.device(serial)
        self._is_broken = False

    @property
    def label(self) -> str:
        """The device as messages name it: "Pixel 3 (serial number)"."""
        return f"{self.model} ({self.serial})" if self.model else f"device {self.serial}"

    def error(self, step: str, reason: str, *, transient: bool = False) -> MeasurementError:
        """The error that a step failed. A transient one has the next step look for the device again."""
        self._is_broken = self._is_broken or transient
        return MeasurementError(f"{self.label}: {step}: {reason}", transient=transient)

    def shell(self, script: str, step: str, timeout_s: float | None = None) -> ShellResult:
        """Runs a script in the device's sh. `timeout_s` (SHELL_SECONDS) is how long it may be silent."""
        timeout_s = timeout_s or SHELL_SECONDS
        # The parentheses keep an `exit` of the script from skipping the last line.
        command = f"(\n{script}\n); code=$?; echo; echo {_END}$code"
        try:
            done = self._device(step).shell2(command, timeout=timeout_s, v2=True)
        except (adbutils.AdbTimeout, TimeoutError) as error:
            reason = f"no answer within {timeout_s:g} s"
            raise self.error(step, reason, transient=not self._is_usable()) from error
        except _FAILURES as error:
            raise self.error(step, f"the connection broke ({one_line(error)})", transient=True) from error
        stdout = (done.stdout or done.output).replace("\r\n", "\n")
        end = _LAST_LINE.search(stdout)
        if end is None:
            raise self.error(step, "the connection broke (the output has no end)", transient=True)
        return ShellResult(stdout[: end.start()], done.stderr, int(end[1]))

    def check_shell(self, script: str, step: str, timeout_s: float | None = None) -> str:
        """The stdout of a script that must end with exit code 0."""
        done = self.shell(script, step, timeout_s)
        if done.exit_code != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "(no output)").splitlines()
            raise self.error(step, f"exit code {done.exit_code}: {lines[-1][:200]}")
        return done.stdout

    def push(self, local: Path, remote: str, step: str) -> None:
        """Copies a file to the device."""
        self._copy(("push", str(local), remote), step)

    def pull(self, remote: str, local: Path, step: str) -> None:
        """Copies a file from the device."""
        self._copy(("pull", remote, str(local)), step)

    def install(self, apk: Path, step: str) -> None:
        """Installs an app with the permissions it asks for."""
        self._copy(("install", "-r", "-g", str(apk)), step)

    def hold(self, script: str, first_line: str, step: str) -> adbutils.AdbConnection:
        """Starts a script that runs until the connection returned is closed, and waits for its first line."""
        stream = None
        try:
            stream = self._device(step).shell(script, stream=True)
            stream.conn.settimeout(SHELL_SECONDS)
            answer = stream.read(len(first_line) + 1).decode(errors="replace").strip()
        except _FAILURES as error:
            _close(stream)
            raise self.error(step, f"the connection broke ({one_line(error)})", transient=True) from error
        except BaseException:
            _close(stream)
            raise
        if answer != first_line:
            rest = _rest(stream)
            raise self.error(step, f"{answer}{rest}".strip()[:200] or "the connection broke", transient=not answer)
        return stream

    def _device(self, step: str) -> adbutils.AdbDevice:
        self._mend(step)
        return self._way

    def _mend(self, step: str) -> None:
        """After a failure of the connection: waits until the device can be used again; one on the network is called."""
        if not self._is_broken:
            return
        until = time.monotonic() + RECONNECT_SECONDS
        while not self._is_usable():
            left = until - time.monotonic()
            if left <= 0:
                raise self.error(step, f"the device is not back after {RECONNECT_SECONDS:g} s", transient=True)
            server.call(self._adb, self.serial, min(left, 5.0))
            time.sleep(0.2)
        self._is_broken = False

    def _is_usable(self) -> bool:
        try:
            return server.state_of(self._adb, self.serial) == "device"
        except MeasurementError:  # adb's server does not answer
            return False

    def _copy(self, args: tuple[str, ...], step: str) -> None:
        self._mend(step)
        try:
            done = server.run_adb("-s", self.serial, *args, timeout_s=PUSH_SECONDS, check=False)
        except ProcessError as error:
            raise self.error(step, one_line(error), transient=not self._is_usable()) from error
        if done.returncode != 0:
            reason = (
                _complaint(f"{done.stdout}\n{done.stderr}")
                .rpartition("': ")[2]
                .removeprefix("adb: ")
                .removeprefix("error: ")
            )
            transient = "No space" not in reason and (not self._is_usable() or _means_lost(reason))
            raise self.error(step, reason[:200], transient=transient)


def _complaint(output: str) -> str:
    """What went wrong in adb's words, without the files' names; its line of statistics may come after that."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["(no output)"]
    line = next((line for line in lines if "error:" in line or "failed" in line), lines[-1])
    return line.rpartition("': ")[2].removeprefix("adb: ").removeprefix("error: ")


def _means_lost(reason: str) -> bool:
    """Whether adb's words say that the connection was lost (the device may be back already)."""
    return re.search(r"connect|closed|offline|not found|EOF|reset|no response|protocol fault", reason) is not None


def _close(stream: adbutils.AdbConnection | None) -> None:
    if stream is not None:
        stream.close()


def _rest(stream: adbutils.AdbConnection) -> str:
    try:
        return str(stream.read_until_close())
    except _FAILURES:
        return ""
    finally:
        stream.close()
