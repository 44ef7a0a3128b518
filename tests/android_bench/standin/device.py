"""A stand-in for an Android device: the device's side of adb over TCP, with a folder as its file system.

Commands are run by the host's sh with the programs of the folder programs/ before all others; paths of Android in a
command are mapped into the folder, and back in what files say. `Faults` makes it misbehave.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.android_bench.standin import shell, sync
from tests.android_bench.standin.phones import Phone, write_phone
from tests.android_bench.standin.wire import (
    AUTH,
    CLSE,
    CNXN,
    MAX_DATA,
    OKAY,
    OPEN,
    VERSION,
    WRTE,
    Stream,
    StreamClosed,
    Wire,
)

_PROGRAMS = Path(__file__).parent / "programs"
_ANDROID_PATH = re.compile(r"(?<![\w/.])/(?=data/local/tmp|sys/devices|proc/loadavg)")
_SIGNATURE, _PUBLIC_KEY = 2, 3
_TOKEN = 1


@dataclass
class Faults:
    """What goes wrong. Services are those that the computer opens, such as "shell,v2:df ..." and "sync:"."""

    door: str = ""  # "unauthorized": no key is accepted; "offline": connections are never answered
    drop_at: int | None = None  # the connection breaks when this service is opened, counted from 0
    drop_after: int | None = None  # the connection breaks 50 ms after this service was opened
    gone_for: float = 0.0  # seconds for which nobody answers after a break
    cut: str = ""  # services whose command holds this lose their output after `cut_after` bytes and exit with 0
    cut_after: int = 0
    mute: str = ""  # services whose command holds this are accepted, and nothing comes
    room: int | None = None  # bytes of a file that still fit


@dataclass
class StandinDevice:
    """A device that listens on `port` of the loopback interface while it is entered."""

    phone: Phone
    root: Path
    features: str = "shell_v2,cmd"
    faults: Faults = field(default_factory=Faults)
    opened: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._wires: list[Wire] = []
        self._gone_until = 0.0
        self._is_open = True
        write_phone(self.phone, self.root)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> StandinDevice:
        self._listener = _listener()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._listener.shutdown(socket.SHUT_RDWR)  # close() alone leaves a waiting accept() in place
        self._listener.close()
        self.drop()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def drop(self) -> None:
        """Breaks every connection, as a pulled cable does."""
        self._gone_until = time.monotonic() + self.faults.gone_for
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    def come_back(self) -> None:
        """Ends being gone, and the faults of the connection."""
        self.faults.drop_at, self.faults.gone_for, self._gone_until = None, 0.0, 0.0

    def processes(self) -> list[psutil.Process]:
        """What runs on the device: every process that a command started and that is still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STANDIN_MARK") == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def files(self) -> list[str]:
        """What is in /data/local/tmp, folders included."""
        top = self.root / "data/local/tmp"
        return sorted(str(path.relative_to(top)) for path in top.rglob("*"))

    def is_clean(self, patience_s: float = 5.0) -> bool:
        """Whether neither a process nor a file is left, at the latest after `patience_s` seconds."""
        until = time.monotonic() + patience_s
        while self.processes() or self.files():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def path_of(self, device_path: str) -> Path:
        return self.root / device_path.lstrip("/")

    def room(self) -> int | None:
        return self.faults.room

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_open or time.monotonic() < self._gone_until:
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(connection)
            self._wires.append(wire)
            threading.Thread(target=self._converse, args=(wire,), daemon=True).start()

    def _converse(self, wire: Wire) -> None:
        """One connection, from its first message to its end."""
        streams: dict[int, Stream] = {}
        while message := wire.receive():
            if message.command in (CNXN, AUTH):
                self._greet(wire, message.command, message.first)
            elif message.command == OPEN:
                local = len(streams) + 1
                streams[local] = Stream(wire, local, message.first)
                self._open(wire, streams[local], message.data.rstrip(b"\0").decode())
            elif message.second in streams:
                stream = streams[message.second]
                if message.command == OKAY:
                    stream.on_okay()
                elif message.command == WRTE:
                    stream.on_data(message.data)
                elif message.command == CLSE:
                    stream.on_close()
        for stream in streams.values():
            stream.on_close()

    def _greet(self, wire: Wire, command: int, kind: int) -> None:
        if self.faults.door == "offline":
            return
        if self.faults.door == "unauthorized":
            if command == CNXN or kind == _SIGNATURE:  # a public key waits for its user's word, for ever
                wire.send(AUTH, _TOKEN, 0, secrets.token_bytes(20))
            return
        identity = f"ro.product.name={self.phone.name};ro.product.model={self.phone.model}"
        wire.send(CNXN, VERSION, MAX_DATA, f"device::{identity};features={self.features}".encode())

    def _open(self, wire: Wire, stream: Stream, service: str) -> None:
        number = len(self.opened)
        self.opened.append(service)
        if number == self.faults.drop_at:
            self.drop()
            return
        if number == self.faults.drop_after:
            threading.Timer(0.05, self.drop).start()
        handler = self._handler(stream, service)
        if handler is None:
            stream.close()
            return
        stream.accept()
        threading.Thread(target=_until_closed, args=(handler,), daemon=True).start()

    def _handler(self, stream: Stream, service: str) -> Callable[[], None] | None:
        kind, _, command = service.partition(":")
        if self.faults.mute and self.faults.mute in command:
            return lambda: None
        if kind == "sync":
            return lambda: sync.serve(stream, self)
        if kind.split(",")[0] not in ("shell", "exec"):
            return None
        cut_after = self.faults.cut_after if self.faults.cut and self.faults.cut in command else None
        return lambda: shell.serve(
            stream,
            _ANDROID_PATH.sub(f"{self.root}/", command),
            self._environment(),
            is_v2="v2" in kind,
            cut_after=cut_after,
            folder=str(self.root),
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{_PROGRAMS}:/usr/bin:/bin",
            "STANDIN_ROOT": str(self.root),
            "STANDIN_MARK": self._mark,
        }


def _until_closed(handler: Callable[[], None]) -> None:
    try:
        handler()
    except StreamClosed:
        return


def _listener() -> socket.socket:
    """A listening socket away from ports 5555 to 5585, which adb's server searches for emulators by itself."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        if not 5500 <= listener.getsockname()[1] <= 5600:
            return listener
        listener.close()
