"""A real sshd on a port and with keys of its own, as an edge board for the tests of the ssh runner."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SSHD = Path("/usr/sbin/sshd")
PRIVILEGE_FOLDER = Path("/run/sshd")  # sshd run by root wants it; Debian's service makes it

# The kernel ends the server with this process, even if that is killed.
_START = """
import os, sys
from core.process import die_with_parent
die_with_parent({parent})
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Sshd:
    """The running server. `bin` comes first in the PATH of its commands, `tmp` is their TMPDIR."""

    folder: Path
    port: int
    process: psutil.Process

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def config(self) -> str:
        """The configuration file of a client that may sign in; its Host is "board"."""
        return str(self.folder / "client_config")

    def client_config(self, name: str, **changes: str) -> str:
        """Another client's configuration, with some settings of `config` changed."""
        settings = {**_client_settings(self.folder, self.port), **changes}
        path = self.folder / name
        path.write_text("Host board\n" + "".join(f"  {key} {value}\n" for key, value in settings.items()))
        return str(path)

    def program(self, name: str, text: str) -> Path:
        """Puts a shell script into the PATH of the server's commands."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def commands(self) -> list[psutil.Process]:
        """What runs there for a client, sessions of the server included."""
        return self.process.children(recursive=True)

    def left_behind(self, seconds: float = 60.0) -> tuple[list[str], list[str]]:
        """Processes and files that are still there when they had `seconds` to go; empty at best."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = marked_processes(), sorted(path.name for path in self.tmp.iterdir())
            if found == ([], []):
                break
            time.sleep(0.05)
        return found


def marked_processes() -> list[str]:
    """Command lines of all processes that a link started on the board: they have its mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"LITESMITH_RUN=" in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


@contextlib.contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Starts the server for the user of the tests; skips where it is not installed."""
    if not SSHD.exists():
        pytest.skip("needs the Debian package openssh-server")
    if shutil.which("ssh") is None:
        pytest.skip("needs the Debian package openssh-client")
    for name in ("bin", "tmp"):
        (folder / name).mkdir()
    for key in ("host_key", "user_key", "stranger_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = _free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    (folder / "sshd_config").write_text(_server_settings(folder, port))
    with _privilege_folder(), open(folder / "sshd.log", "w") as log:
        command = [sys.executable, "-c", _START.format(parent=os.getpid())]
        arguments = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
        server = subprocess.Popen([*command, *arguments], stderr=log, cwd=ROOT)
        try:
            _wait_for(port, server, folder / "sshd.log")
            board = Sshd(folder, port, psutil.Process(server.pid))
            board.client_config("client_config")
            yield board
        finally:
            for process in psutil.Process(server.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            server.kill()
            server.wait()


def _client_settings(folder: Path, port: int) -> dict[str, str]:
    return {
        "HostName": "127.0.0.1",
        "Port": str(port),
        "User": getpass.getuser(),
        "IdentityFile": str(folder / "user_key"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }


def _server_settings(folder: Path, port: int) -> str:
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    settings = {
        "Port": str(port),
        "ListenAddress": "127.0.0.1",
        "HostKey": str(folder / "host_key"),
        "PidFile": "none",
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",
        # Not the user's own HOME: what the shell's start-up files there do is not what is tested.
        "SetEnv": f"HOME={folder} TMPDIR={folder / 'tmp'} PATH={path}",
    }
    return "".join(f"{key} {value}\n" for key, value in settings.items())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _privilege_folder() -> Iterator[None]:
    made = os.geteuid() == 0 and not PRIVILEGE_FOLDER.exists()
    if made:
        PRIVILEGE_FOLDER.mkdir(mode=0o755)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                PRIVILEGE_FOLDER.rmdir()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not start: {log.read_text()}")
