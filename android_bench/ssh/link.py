"""One connection to a board, kept open while it is measured on: the system's OpenSSH client with a control socket."""

from __future__ import annotations

import contextlib
import selectors
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from android_bench.session import MeasurementError
from android_bench.ssh import scripts
from android_bench.ssh.failures import explain
from core import process
from core.errors import UsageError
from core.process import Completed, ProcessError
from core.values import file_sha256

CONNECT_SECONDS = 15
# The server is asked every 10 s; three unanswered questions end the connection.
ALIVE_SECONDS, ALIVE_COUNT = 10, 3
# Signing in, after the connection is there: a slow board's login shell, or a name service that answers late.
SIGN_IN_SECONDS = 45.0
# For what the guard does at the end, and for a command that only looks.
END_SECONDS, LOOK_SECONDS = 20.0, 60.0
SLOWEST_BYTES_PER_SECOND = 50_000
SPARE_BYTES = 16 << 20  # room a session needs besides the files that are sent


@dataclass(slots=True)
class Link:
    """An open connection with a folder of its own on the board (see `open_link`)."""

    name: str
    host: str
    token: str
    folder: str
    free_bytes: int | None
    locked: bool
    client: tuple[str, ...]
    guard: subprocess.Popen[str]
    sent: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How messages begin."""
        return f"target {self.name} ({self.host})"

    @property
    def is_open(self) -> bool:
        """Whether the client still runs; a drop that nobody has noticed yet shows at the next command only."""
        return self.guard.poll() is None

    def run(self, step: str, script: str, timeout_s: float = LOOK_SECONDS) -> Completed:
        """Runs a script in the board's sh, whose working folder is the link's; any exit code is an answer.

        Raises MeasurementError, which is transient, if the connection drops, and one that is not if there is no answer
        within `timeout_s`; nothing of the script goes on running there.
        """
        text = scripts.with_exit_code(f"cd {self.folder} || exit 1\n{script}")
        try:
            done = self._sh(scripts.WORK, text, timeout_s)
        except ProcessError as error:
            self._end_work()
            raise MeasurementError(f"{self.where}: {step}: no answer within {timeout_s:g} s; stopped") from error
        stdout, found, code = done.stdout.rpartition(f"\n{scripts.EXIT} ")
        if not found:
            raise self.dropped(step, done.stderr)
        return Completed(done.args, int(code), stdout, done.stderr)

    def send(self, path: Path, executable: bool = False) -> str:
        """Copies a file into the link's folder, once by its hash, and returns its path there.

        Raises MeasurementError if it cannot be written or arrives damaged.
        """
        digest = file_sha256(path)
        if digest in self.sent:
            return self.sent[digest]
        there, size = f"{self.folder}/{digest[:16]}{path.suffix}", path.stat().st_size
        self._require_space(path, size)
        timeout_s = LOOK_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        try:
            done = process.run(
                ("scp", "-q", "-B", *self.client, str(path), f"{_scp_host(self.host)}:{there}"),
                timeout_s=timeout_s,
                check=False,
            )
        except ProcessError as error:
            raise MeasurementError(f"{self.where}: sending {path.name}: {error}", transient=True) from error
        if done.returncode != 0:
            self._failed_to_send(path, done)
        self._check_arrived(path, there, digest, executable)
        self.sent[digest] = there
        return there

    def dropped(self, step: str, stderr: str = "") -> MeasurementError:
        """The error of a command whose answer was cut off."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.guard.wait(timeout=2)  # the client notices a moment after its commands
        what = "the shell there ended without an answer" if self.is_open else "the connection dropped"
        detail = " ".join(stderr.split())[-160:]
        return MeasurementError(f"{self.where}: {step}: {what}" + (f" [{detail}]" if detail else ""), transient=True)

    def _sh(self, part: str, text: str, timeout_s: float) -> Completed:
        command = ("ssh", "-T", *self.client, self.host, "env", f"{scripts.MARK}={self.token}.{part}", "sh")
        return process.run(command, timeout_s=timeout_s, stdin=text, check=False)

    def _end_work(self) -> None:
        with contextlib.suppress(ProcessError):
            self._sh(scripts.GUARD, scripts.end_work(self.token), END_SECONDS)

    def _require_space(self, path: Path, size: int) -> None:
        """Takes the size off what was free at the start; the board may not tell it."""
        if self.free_bytes is None:
            return
        if self.free_bytes < size + SPARE_BYTES:
            free, needed = self.free_bytes / (1 << 20), (size + SPARE_BYTES) / (1 << 20)
            raise MeasurementError(
                f"{self.where}: sending {path.name}: out of space: {free:.0f} MiB free for {self.folder}, "
                f"{needed:.0f} MiB needed"
            )
        self.free_bytes -= size

    def _failed_to_send(self, path: Path, done: Completed) -> None:
        if not self.is_open:
            raise self.dropped(f"sending {path.name}", done.stderr)
        detail = " ".join(done.stderr.split())[-200:] or f"scp's exit code {done.returncode}"
        raise MeasurementError(f"{self.where}: sending {path.name}: {detail}")

    def _check_arrived(self, path: Path, there: str, digest: str, executable: bool) -> None:
        mode = "chmod 700" if executable else "chmod 600"
        done = self.run(f"sending {path.name}", f"{mode} {there} && sha256sum {there}")
        if done.stdout.split()[:1] != [digest]:
            raise MeasurementError(f"{self.where}: sending {path.name}: it arrived damaged", transient=True)


@contextlib.contextmanager
def open_link(name: str, host: str, ssh_config: str = "", previous: str = "") -> Iterator[Link]:
    """Connects target `name` to `host` and waits for its turn there; undoes everything on the board at the end.

    The user's ssh configuration counts, or the file `ssh_config` in its place; nothing is asked for (BatchMode). The
    lock on the board keeps out other computers too. `previous` is the token of a link of this program that dropped.
    Raises UsageError if the user has to change something (host, key, permission), else MeasurementError.
    """
    if not host or host.startswith("-") or any(sign.isspace() for sign in host):
        raise UsageError(f"--ssh: target {name}: {host!r} is not legal; expected [user@]host")
    token = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="litesmith-ssh-", ignore_cleanup_errors=True) as local:
        control, errors = Path(local) / "control", Path(local) / "stderr"
        with open(errors, "w") as stderr:
            guard = _start_guard(host, ssh_config, control, token, stderr)
        try:
            lock, free, folder = _begin(guard, errors, f"target {name} ({host})", scripts.guard(token, previous))
            free_bytes = int(free) * 1024 if free.isdecimal() else None
            yield Link(name, host, token, folder, free_bytes, lock == "flock", _client(ssh_config, control), guard)
        finally:
            _end(guard)


def _options(ssh_config: str) -> tuple[str, ...]:
    return (
        *(("-F", ssh_config) if ssh_config else ()),
        *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ControlPersist=no"),
        *("-o", f"ServerAliveInterval={ALIVE_SECONDS}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}"),
        *("-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"),
    )


def _client(ssh_config: str, control: Path) -> tuple[str, ...]:
    """Options of ssh and scp for a command over the open connection. A command that found it closed would open one of
    its own: the proxy that fails at once prevents that."""
    shared = ("-o", f"ControlPath={control}", "-o", "ControlMaster=no", "-o", "ProxyCommand=false")
    return (*_options(ssh_config), *shared)


def _start_guard(host: str, ssh_config: str, control: Path, token: str, stderr: IO[str]) -> subprocess.Popen[str]:
    """The client that holds the connection, in a session of its own: Ctrl-C must not end it before the clean-up.

    Not by core.process.run: it stays while other commands run. If this process is killed, its standard input ends.
    """
    shared = ("-o", f"ControlPath={control}", "-o", "ControlMaster=yes")
    command = (
        "ssh",
        "-T",
        *_options(ssh_config),
        *shared,
        host,
        "env",
        f"{scripts.MARK}={token}.{scripts.GUARD}",
        "sh",
    )
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"ssh cannot be started ({error.strerror}): it needs OpenSSH's client") from error


def _begin(guard: subprocess.Popen[str], errors: Path, where: str, script: str) -> list[str]:
    """What the guard says when it is ready: the kind of its lock, free KiB, and its folder."""
    assert guard.stdin is not None and guard.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(script)
        guard.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(guard.stdout, selectors.EVENT_READ)
        if not selector.select(CONNECT_SECONDS + SIGN_IN_SECONDS):
            guard.kill()
            raise MeasurementError(f"{where}: connecting: no answer in time", transient=True)
    for line in guard.stdout:  # login scripts may print lines of their own before
        if line.startswith(scripts.READY):
            return line[len(scripts.READY) :].strip().split(" ", 2)
    raise _no_guard(guard, errors, where)


def _no_guard(guard: subprocess.Popen[str], errors: Path, where: str) -> MeasurementError | UsageError:
    """Why the guard never was ready: ssh failed (exit code 255), or the board's shell did."""
    code, stderr = guard.wait(), errors.read_text(errors="replace")
    if code != 255:
        last = (stderr.strip().splitlines() or ["no message"])[-1]
        return MeasurementError(f"{where}: preparing: no folder for temporary files there [{last}]")
    failure = explain(stderr)
    message = f"{where}: connecting: {failure.reason}"
    return MeasurementError(message, transient=True) if failure.transient else UsageError(message)


def _end(guard: subprocess.Popen[str]) -> None:
    """Closes the guard's input, which has it undo everything, and waits until it has."""
    assert guard.stdin is not None and guard.stdout is not None
    with contextlib.suppress(OSError):
        guard.stdin.close()
    try:
        guard.wait(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
    guard.stdout.close()


def _scp_host(host: str) -> str:
    """scp splits at the first colon: an IPv6 address needs brackets."""
    user, at, name = host.rpartition("@")
    return f"{user}{at}[{name}]" if ":" in name and not name.startswith("[") else host
