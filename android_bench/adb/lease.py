"""A folder on the device that is there only as long as somebody on this computer holds it.

A small shell on the device waits for the end of its input. That comes when the lease is closed, and as well when this
process is killed, adb's server ends or the cable is pulled: then the shell kills the tool and removes the folder. So
nothing of ours outlives us on the device.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import shlex
from pathlib import Path

from android_bench.adb.connection import Connection, ShellResult
from android_bench.adb.device import FOLDER
from android_bench.session import MeasurementError
from core.values import file_sha256

PREFIX = "litesmith-"
_READY = "ready"
_HELD = "held"  # a file in the folder that tells it from one that a late push has made
_LOST = 99  # exit code: the folder is not the lease's
SWEEP_SECONDS = 2  # after which the folder is looked for again: a push under way may have made it anew
_CLOSE_SECONDS = 10.0


class Lease:
    """A folder of our own on the device of `connection`, and at most one running tool in it.

    `at_end` is a command for the device's shell at the end of the lease, besides the removal.

    Every method raises MeasurementError as those of Connection do.
    """

    def __init__(self, connection: Connection, at_end: str = "true") -> None:
        self._connection = connection
        self.folder = f"{FOLDER}/{PREFIX}{secrets.token_hex(6)}"
        self._pushed: dict[str, str] = {}
        self._remove = f"{_removal(self.folder)}; {at_end}"
        self._guard = connection.hold(_guard_script(self.folder, self._remove), _READY, "making a folder")

    def path(self, name: str) -> str:
        """The path of a file in the folder."""
        return f"{self.folder}/{name}"

    def is_held(self) -> bool:
        """Whether the shell on the device still watches; it is gone after every drop of the connection."""
        # It writes nothing while it watches: something to read is the end of the stream.
        if self._guard.closed:
            return False
        poll = select.poll()
        poll.register(self._guard.conn, select.POLLIN)
        return not poll.poll(0)

    def put(self, local: Path, step: str) -> str:
        """The path on the device of a copy of `local`, executable and readable for all; content already there is not
        copied again."""
        digest = file_sha256(local)
        if digest not in self._pushed:
            remote = self.path(digest[:16])  # the file's own name may have characters that a shell reads
            self._connection.push(local, remote, step)
            # A push makes the folder anew if its lease has ended: then nobody else would remove it.
            lost = f"rm -rf {self.folder}; exit {_LOST}"
            found = self._in_folder(f"chmod 755 {remote} && sha256sum {remote}", lost, step, None)
            if found.stdout.split()[:1] != [digest]:
                raise self._connection.error(step, "the copy differs from the file (sha256)", transient=True)
            self._pushed[digest] = remote
        return self._pushed[digest]

    def clear(self, keep: Path | None) -> None:
        """Removes every copy but that of `keep`."""
        kept = file_sha256(keep) if keep else ""
        others = {digest: remote for digest, remote in self._pushed.items() if digest != kept}
        if others:
            self._connection.check_shell(f"rm -f {' '.join(others.values())}", "removing the models")
        self._pushed = {digest: remote for digest, remote in self._pushed.items() if digest == kept}

    def run(self, command: str, step: str, timeout_s: float) -> ShellResult:
        """Runs a command as the process that the end of the lease kills; `timeout_s`: how long it may be silent."""
        number = self.path("pid")
        inner = shlex.quote(f"echo $$ > {number} && exec {command}")
        return self._in_folder(f"sh -c {inner}\ncode=$?\nrm -f {number}\nexit $code", f"exit {_LOST}", step, timeout_s)

    def _in_folder(self, script: str, lost: str, step: str, timeout_s: float | None) -> ShellResult:
        """Runs a script in the folder, or `lost` if the lease has ended."""
        done = self._connection.shell(f"cd {self.folder} && [ -e {_HELD} ] || {{ {lost}; }}\n{script}", step, timeout_s)
        if done.exit_code == _LOST:
            raise self._connection.error(step, "the connection broke in between", transient=True)
        return done

    def close(self) -> None:
        """Ends the lease; on a device that does not answer, the shell there does what is left."""
        try:
            with contextlib.suppress(MeasurementError):
                self._connection.shell(self._remove, "cleaning up", _CLOSE_SECONDS)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Ends the lease without waiting for the removal: for a connection that failed."""
        with contextlib.suppress(OSError):
            self._guard.close()


def _removal(folder: str) -> str:
    # After the renaming nobody can start a tool unseen: a command writes its number into the folder first.
    gone = f"{folder}.gone"
    return f"mv {folder} {gone} 2>/dev/null; [ -f {gone}/pid ] && kill -9 $(cat {gone}/pid) 2>/dev/null; rm -rf {gone}"


def _guard_script(folder: str, remove: str) -> str:
    # What a restart of the device left is removed after two days.
    old = f"find {FOLDER} -maxdepth 1 -name '{PREFIX}*' -mtime +1 -exec rm -rf {{}} + 2>/dev/null"
    wait = f"mkdir {folder} && chmod 755 {folder} && : > {folder}/{_HELD} && echo {_READY} && cat > /dev/null"
    end = f"if [ -e {folder} ]; then {remove}; sleep {SWEEP_SECONDS}; rm -rf {folder}; fi"
    return f"trap '' HUP INT TERM; {old}; {wait}; {end}"
