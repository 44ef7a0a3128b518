"""The messages of the adb protocol (AOSP: packages/modules/adb/protocol.txt) as the device sends and receives them."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from dataclasses import dataclass

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
VERSION = 0x01000001  # from this one on nobody checks the sum of the bytes
MAX_DATA = 64 * 1024
_HEADER = struct.Struct("<6I")  # command, two arguments, length, sum of the bytes, command with all bits turned


@dataclass(frozen=True)
class Message:
    command: int
    first: int
    second: int
    data: bytes = b""


class Wire:
    """A connection to adb's server: whole messages in and out."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = _HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._socket.sendall(header + data)

    def receive(self) -> Message | None:
        """The next message; None at the end of the connection."""
        try:
            header = self._exactly(_HEADER.size)
            if header is None:
                return None
            command, first, second, length, _, magic = _HEADER.unpack(header)
            assert magic == command ^ 0xFFFFFFFF, "the connection is out of step"
            data = self._exactly(length)
        except OSError:
            return None
        return None if data is None else Message(command, first, second, data)

    def _exactly(self, count: int) -> bytes | None:
        parts = []
        while count:
            part = self._socket.recv(count)
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class StreamClosed(Exception):
    """The other side closed the stream, or the connection is gone."""


class Stream:
    """One service that the computer opened. After each message to the other side its OKAY is awaited."""

    def __init__(self, wire: Wire, local: int, remote: int) -> None:
        self._wire, self._local, self._remote = wire, local, remote
        self._may_send = threading.Semaphore(1)
        self._received: queue.Queue[bytes | None] = queue.Queue()
        self._buffer = b""
        self._closed = threading.Event()

    def accept(self) -> None:
        self._wire.send(OKAY, self._local, self._remote)

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            self._may_send.acquire()
            if self._closed.is_set():
                raise StreamClosed
            try:
                self._wire.send(WRTE, self._local, self._remote, data[start : start + MAX_DATA])
            except OSError as error:
                raise StreamClosed from error

    def read(self, count: int | None = None) -> bytes:
        """Exactly `count` bytes, or the next piece of any length. Raises StreamClosed at the end."""
        while len(self._buffer) < (count or 1):
            piece = self._received.get()
            if piece is None:
                self._received.put(None)
                raise StreamClosed
            self._buffer += piece
        count = len(self._buffer) if count is None else count
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def close(self) -> None:
        if not self._closed.is_set():
            self.on_close()
            with contextlib.suppress(OSError):
                self._wire.send(CLSE, self._local, self._remote)

    def on_okay(self) -> None:
        self._may_send.release()

    def on_data(self, data: bytes) -> None:
        self._received.put(data)
        with contextlib.suppress(OSError):
            self._wire.send(OKAY, self._local, self._remote)

    def on_close(self) -> None:
        self._closed.set()
        self._received.put(None)
        self._may_send.release()
