"""Which program measures on a board: the one the target names, or the first that is there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from android_bench.connections import Connections
from android_bench.ssh.board import Board
from android_bench.ssh.link import Link
from android_bench.ssh.tools import BenchmarkTool, BoardTool, LitertTool, Python, WorkerTool
from core.checks import in_choices
from core.errors import UsageError
from core.values import Target, file_sha256

TOOLS = ("interpreter", "compiled_model", "litert_benchmark", "benchmark_model")

# sshd gives commands a shorter PATH than a login shell has.
PATH = 'PATH="$PATH:/usr/local/bin:/usr/bin:/bin:$HOME/.local/bin"\n'
_PROBE = """
import json, platform
from importlib import metadata
found = {"machine": platform.machine(), "python": platform.python_version()}
for name in ("ai-edge-litert", "numpy"):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = ""
print(json.dumps(found))
"""
# The ELF specification's e_machine -> the machines (`uname -m`) whose Linux runs such programs natively, its own first.
_MACHINES: dict[int, tuple[str, ...]] = {
    3: ("i686", "i386", "x86_64"),
    40: ("armv7l", "armv6l", "armv8l", "aarch64"),
    62: ("x86_64",),
    183: ("aarch64",),
    243: ("riscv64",),
}


def find_tool(link: Link, target: Target, connections: Connections, board: Board) -> BoardTool:
    """The target's tool. For a target that names none: LiteRT's Interpreter where Python has it, or benchmark_model.

    Raises UsageError that says what is missing there and how to name or install it.
    """
    if target.tool:
        in_choices(f"tool of target {target.name}", target.tool, TOOLS)
    if target.tool == "benchmark_model":
        return _benchmark_model(link, target, connections, board)
    try:
        python = _python(link, target, connections)
    except UsageError:
        if not target.tool and _file(connections, board):
            return _benchmark_model(link, target, connections, board)
        raise
    return LitertTool(python) if target.tool == "litert_benchmark" else WorkerTool(target.tool or TOOLS[0], python)


def _python(link: Link, target: Target, connections: Connections) -> Python:
    command = connections.remote_python.get(target.name) or connections.remote_python.get("") or "python3"
    done = _found(link, "looking for Python", command, f"-c {shlex.quote(_PROBE)}")
    hint = f"name the one of its virtual environment by --remote_python={target.name}=PATH"
    if done is None:
        raise UsageError(f"{link.where}: no {command} there; {hint}, or use benchmark_model (--benchmark_model=FILE)")
    path, text = done
    try:
        found = json.loads(text.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise UsageError(f"{link.where}: {command} there does not run: {' '.join(text.split())[-200:]}") from error
    for name in ("ai-edge-litert", "numpy"):
        if not found[name]:
            raise UsageError(f"{link.where}: {command} there has no {name}; install it there with pip, or {hint}")
    return Python(path, found["machine"], found["python"], found["ai-edge-litert"])


def _file(connections: Connections, board: Board) -> str:
    """The user's benchmark_model for a board, "" for none."""
    return connections.benchmark_model.get(board.machine) or connections.benchmark_model.get("", "")


def _benchmark_model(link: Link, target: Target, connections: Connections, board: Board) -> BenchmarkTool:
    file = _file(connections, board)
    if not file:
        return _installed(link, target)
    path = Path(file)
    try:
        machines, digest = machines_of(path), file_sha256(path)
    except OSError as error:
        raise UsageError(f"--benchmark_model: {file}: cannot be read ({error.strerror})") from error
    if machines and board.machine not in machines:
        raise UsageError(
            f"--benchmark_model: {file} is a program for {machines[0]}, but {link.where} is a {board.machine}"
        )
    return BenchmarkTool(f"benchmark_model {digest[:12]}", machines[0] if machines else "", file=path)


def _installed(link: Link, target: Target) -> BenchmarkTool:
    found = _found(link, "looking for benchmark_model", "benchmark_model", "")
    if found is None:
        raise UsageError(
            f"{link.where}: no benchmark_model there; name the program of this computer to send, by "
            f"--benchmark_model=FILE"
        )
    path, digest = found
    return BenchmarkTool(f"benchmark_model {digest[:12]}", "", command=path)


def _found(link: Link, step: str, command: str, arguments: str) -> tuple[str, str] | None:
    """The path of a command there and what it prints, or with no arguments its SHA-256; None if it is not there."""
    run = f'"$path" {arguments} 2>&1' if arguments else 'sha256sum <"$path"'
    done = link.run(step, f'{PATH}path=$(command -v {shlex.quote(command)}) || exit 127\necho "$path"\n{run}')
    path, _, text = done.stdout.partition("\n")
    if done.returncode in (126, 127) or not path:
        return None
    return path, text


def machines_of(path: Path) -> tuple[str, ...]:
    """The machines (`uname -m`) that can run a program; empty for a script and for processors not known here."""
    with open(path, "rb") as file:
        head = file.read(20)
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), ()) if head[:4] == b"\x7fELF" else ()
