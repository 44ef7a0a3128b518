"""The device's side of `adb shell`: the command runs in the host's sh, in a process group of its own.

As adbd does: when the computer closes the stream, or the connection breaks, the command gets SIGHUP and the end of its
input, and its output goes nowhere. Nothing else is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Mapping

from tests.android_bench.standin.wire import Stream, StreamClosed

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


def serve(
    stream: Stream, command: str, env: Mapping[str, str], *, is_v2: bool, cut_after: int | None, folder: str
) -> None:
    """Runs a command with `env` as its whole environment. After `cut_after` bytes of stdout the rest is swallowed and
    the exit code is 0."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if is_v2 else subprocess.STDOUT,
        start_new_session=True,
    )
    threading.Thread(target=_feed, args=(stream, process, is_v2), daemon=True).start()
    pumps = [threading.Thread(target=_pump, args=(stream, process.stdout, _STDOUT, is_v2, cut_after), daemon=True)]
    if is_v2:
        pumps.append(threading.Thread(target=_pump, args=(stream, process.stderr, _STDERR, is_v2, None), daemon=True))
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    code = process.wait()
    code = 128 - code if code < 0 else code
    if is_v2:
        with contextlib.suppress(StreamClosed):
            stream.send(_packet(_EXIT, bytes([0 if cut_after is not None else code])))
    stream.close()


def _packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


def _pump(stream: Stream, pipe, kind: int, is_v2: bool, cut_after: int | None) -> None:
    """Passes output on; a computer that is gone does not stop the reading here, as adbd has closed its end."""
    sent = 0
    with pipe:
        while data := os.read(pipe.fileno(), 16 * 1024):
            if cut_after is not None:
                data = data[: max(0, cut_after - sent)]
            sent += len(data)
            try:
                if data:
                    stream.send(_packet(kind, data) if is_v2 else data)
            except StreamClosed:
                return  # closes the pipe: the next write of the command is refused


def _feed(stream: Stream, process: subprocess.Popen[bytes], is_v2: bool) -> None:
    """Passes input on, and tells the command of the stream's end."""
    assert process.stdin is not None
    try:
        while True:
            if not is_v2:
                _write(process, stream.read())
                continue
            kind, length = struct.unpack("<BI", stream.read(5))
            data = stream.read(length)
            if kind == _STDIN:
                _write(process, data)
            elif kind == _CLOSE_STDIN:
                _close(process)
    except StreamClosed:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGHUP)
        _close(process)


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(data)
        process.stdin.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
