"""The device's side of file transfer (AOSP: packages/modules/adb/SYNC.TXT), version 1."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Protocol

from tests.android_bench.standin.wire import Stream

_MAX_CHUNK = 64 * 1024


class Storage(Protocol):
    """What the service asks the device."""

    def path_of(self, device_path: str) -> Path: ...

    def room(self) -> int | None:
        """Bytes that still fit; None: no limit."""


def serve(stream: Stream, storage: Storage) -> None:
    """Answers requests until QUIT or the end of the stream."""
    while True:
        word, length = struct.unpack("<4sI", stream.read(8))
        if word == b"QUIT":
            stream.close()
            return
        argument = stream.read(length).decode()
        {b"STAT": _stat, b"LIST": _list, b"SEND": _send, b"RECV": _receive}[word](stream, storage, argument)


def _fields(path: Path) -> bytes:
    try:
        found = path.lstat()
    except OSError:
        return struct.pack("<III", 0, 0, 0)
    return struct.pack("<III", found.st_mode, found.st_size, int(found.st_mtime))


def _stat(stream: Stream, storage: Storage, argument: str) -> None:
    stream.send(b"STAT" + _fields(storage.path_of(argument)))


def _list(stream: Stream, storage: Storage, argument: str) -> None:
    for path in sorted(storage.path_of(argument).iterdir()):
        stream.send(b"DENT" + _fields(path) + struct.pack("<I", len(path.name)) + path.name.encode())
    stream.send(b"DONE" + bytes(16))


def _send(stream: Stream, storage: Storage, argument: str) -> None:
    name, _, mode = argument.rpartition(",")
    path, room, failure = storage.path_of(name), storage.room(), ""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while True:
            word, length = struct.unpack("<4sI", stream.read(8))
            if word == b"DONE":  # `length` is the time of the file's last change
                break
            data = stream.read(length)
            if room is not None and file.tell() + len(data) > room:
                failure = "write failed: No space left on device"
            elif not failure:
                file.write(data)
    if failure:
        path.unlink()
        _fail(stream, failure)
        return
    path.chmod(stat.S_IMODE(int(mode)))
    stream.send(b"OKAY" + struct.pack("<I", 0))


def _receive(stream: Stream, storage: Storage, argument: str) -> None:
    try:
        data = storage.path_of(argument).read_bytes()
    except OSError as error:
        _fail(stream, f"open failed: {os.strerror(error.errno)}")
        return
    for start in range(0, len(data), _MAX_CHUNK):
        chunk = data[start : start + _MAX_CHUNK]
        stream.send(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
    stream.send(b"DONE" + struct.pack("<I", 0))


def _fail(stream: Stream, message: str) -> None:
    stream.send(b"FAIL" + struct.pack("<I", len(message)) + message.encode())
