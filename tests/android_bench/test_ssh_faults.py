"""What goes wrong on the way to a board and on it: one clear line with target, host and step, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from android_bench.connections import Connections
from android_bench.runners.ssh import SshRunner
from android_bench.session import MeasurementError, SessionPlan
from android_bench.ssh import link
from core.errors import UsageError
from core.values import Target
from tests.android_bench.sshd import ROOT, Sshd, marked_processes

PLAN = SessionPlan(warmup_runs=1, runs=3, min_seconds=0.0, max_seconds=0.1)
BOARD = Target("pi", kind="ssh", num_threads=1)


@pytest.fixture(autouse=True)
def nothing_is_left(board: Sshd) -> Iterator[None]:
    yield
    (board.folder / "fault").unlink(missing_ok=True)
    assert board.left_behind() == ([], [])


@pytest.fixture
def python(board: Sshd) -> str:
    """A Python there that runs the shell command in the file "fault", if it is there, in place of the worker."""
    fault = board.folder / "fault"
    text = f'if [ "$1" != -c ] && [ -e {fault} ]; then . {fault}; fi\nexec {sys.executable} "$@"'
    return str(board.program("python-of-board", text))


def runner(board: Sshd, python: str = sys.executable, grace_seconds: float = 60.0, config: str = "") -> SshRunner:
    connections = Connections(hosts={"pi": "board"}, ssh_config=config or board.config, remote_python={"pi": python})
    return SshRunner(BOARD, "board", connections, grace_seconds)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert ("\n" not in text and text.startswith("target pi (")) or ".tflite" in text
    return text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Port": "1"}, "connecting: connection refused: no ssh server on that port ["),
        ({"HostName": "no-such-host.invalid"}, "connecting: unknown host ["),
        ({"IdentityFile": "{folder}/stranger_key"}, "connecting: permission denied: no key that it accepts"),
        ({"UserKnownHostsFile": "/dev/null"}, "connecting: its host key is not in known_hosts"),
        ({"UserKnownHostsFile": "{folder}/other_hosts"}, "connecting: its host key is not the one in known_hosts"),
        ({"NoSuchOption": "yes"}, "connecting: the ssh configuration has an error ["),
    ],
)
def test_no_connection(board: Sshd, changes: dict[str, str], message: str) -> None:
    key = (board.folder / "stranger_key.pub").read_text()
    (board.folder / "other_hosts").write_text(f"[127.0.0.1]:{board.port} {key}")
    settings = {name: value.format(folder=board.folder) for name, value in changes.items()}
    measured = runner(board, config=board.client_config("other_config", **settings))
    with pytest.raises(UsageError) as caught, measured.exclusive(BOARD):
        pass
    assert one_line(caught).startswith(f"target pi (board): {message}")


def test_no_configuration_file(board: Sshd) -> None:
    measured = runner(board, config="/absent/ssh_config")
    with pytest.raises(UsageError, match="connecting: the ssh configuration file cannot be read"):
        _ = measured.tool


def test_no_python_there(board: Sshd) -> None:
    with pytest.raises(UsageError) as caught:
        runner(board, python="no-such-python").state(BOARD)
    assert "no no-such-python there; name the one of its virtual environment by --remote_python=pi=PATH" in one_line(
        caught
    )


def test_a_python_without_litert(board: Sshd) -> None:
    bare = board.program("bare-python", f'exec {sys.executable} -S "$@"')
    with pytest.raises(UsageError, match="bare-python there has no ai-edge-litert; install it there with pip, or"):
        runner(board, python=str(bare)).state(BOARD)


def test_a_python_that_does_not_run(board: Sshd) -> None:
    broken = board.program("broken-python", "echo 'cannot load libpython' >&2; exit 1")
    with pytest.raises(UsageError, match="broken-python there does not run: cannot load libpython"):
        runner(board, python=str(broken)).state(BOARD)


def test_no_benchmark_model_there(board: Sshd) -> None:
    target = replace(BOARD, tool="benchmark_model")
    measured = SshRunner(target, "board", Connections(ssh_config=board.config))
    with pytest.raises(UsageError, match=r"no benchmark_model there; .* --benchmark_model=FILE"):
        measured.state(target)


def test_a_benchmark_model_for_another_processor(board: Sshd, tmp_path: Path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF" + bytes(14) + (243).to_bytes(2, "little"))
    target = replace(BOARD, tool="benchmark_model")
    for file, message in ((program, "is a program for riscv64, but target pi"), (tmp_path / "no", "cannot be read")):
        measured = SshRunner(target, "board", Connections(ssh_config=board.config, benchmark_model={"": str(file)}))
        with pytest.raises(UsageError, match=message):
            measured.state(target)


def test_a_model_that_is_refused_there(board: Sshd, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(tiny_models["small"].read_bytes()[:200])
    with pytest.raises(UsageError) as caught:
        runner(board).run(cut, BOARD, PLAN)
    assert one_line(caught).startswith(f"{cut}: LiteRT cannot load this model on target pi (board): ")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("kill -KILL $$", "the process that measured it on target pi (board) was killed by SIGKILL"),
        ("kill -SEGV $$", "the process that measured it on target pi (board) was killed by SIGSEGV"),
        ("echo no such library >&2; exit 1", "on target pi (board) gave no answer; exit code 1: no such library"),
        ("exit 0", "on target pi (board) gave no answer; exit code 0: (no message)"),
    ],
)
def test_a_tool_that_dies(board: Sshd, python: str, tiny_models: dict[str, Path], fault: str, message: str) -> None:
    (board.folder / "fault").write_text(fault)
    with pytest.raises(MeasurementError) as caught:
        runner(board, python).run(tiny_models["small"], BOARD, PLAN)
    assert message in one_line(caught) and not caught.value.transient


def test_a_tool_that_hangs_is_stopped_with_its_children(board: Sshd, python: str, tiny_models: dict[str, Path]) -> None:
    """Even one in a session of its own; and the block goes on."""
    (board.folder / "fault").write_text("setsid sleep 1000 & sleep 1000")
    measured = runner(board, python, grace_seconds=1.0)
    with measured.exclusive(BOARD):
        with pytest.raises(MeasurementError) as caught:
            measured.run(tiny_models["small"], BOARD, PLAN)
        assert one_line(caught) == "target pi (board): measuring: no answer within 1.2 s; stopped"
        assert not [command for command in marked_processes() if "sleep" in command]
        (board.folder / "fault").unlink()
        measured._grace_seconds = 60.0
        assert len(measured.run(tiny_models["small"], BOARD, PLAN).durations_ns) == PLAN.runs


def _when_it_hangs(board: Sshd, action: Callable[[], None]) -> threading.Thread:
    """Does something on the side as soon as the tool sleeps there."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any("sleep 1000" in command for command in marked_processes()):
                action()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_dropped_connection_is_opened_again(board: Sshd, python: str, tiny_models: dict[str, Path]) -> None:
    (board.folder / "fault").write_text("sleep 1000")

    def drop() -> None:
        (board.folder / "fault").unlink()
        for process in board.process.children():  # the server's part of the connection, not the server
            process.kill()

    measured = runner(board, python)
    with measured.exclusive(BOARD):
        thread = _when_it_hangs(board, drop)
        with pytest.raises(MeasurementError) as caught:
            measured.run(tiny_models["small"], BOARD, PLAN)
        thread.join()
        assert one_line(caught).startswith("target pi (board): measuring: the connection dropped")
        assert caught.value.transient
        assert len(measured.run(tiny_models["small"], BOARD, PLAN).durations_ns) == PLAN.runs


def test_a_connection_that_is_dead_without_a_word(board: Sshd, python: str, tiny_models: dict[str, Path]) -> None:
    """The board's side still believes in it, and holds the lock: the next connection of the same runner ends it."""
    measured = runner(board, python)
    with measured.exclusive(BOARD):
        dead = measured._link
        assert dead is not None
        children = board.process.children()
        stopped = [found for child in children for found in (child, *child.children()) if "sshd" in found.name()]
        for process in stopped:
            process.suspend()
        try:
            dead.guard.kill()
            dead.guard.wait()
            assert len(measured.run(tiny_models["small"], BOARD, PLAN).durations_ns) == PLAN.runs
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()


def test_nothing_survives_a_killed_program(board: Sshd, python: str, tiny_models: dict[str, Path]) -> None:
    (board.folder / "fault").write_text("sleep 1000")
    code = (
        "import sys\nfrom pathlib import Path\nfrom android_bench.connections import Connections\n"
        "from android_bench.runners.ssh import SshRunner\nfrom android_bench.session import SessionPlan\n"
        "from core.values import Target\n"
        "config, python, model = sys.argv[1:]\nboard = Target('pi', kind='ssh')\n"
        "measured = SshRunner(board, 'board', Connections(ssh_config=config, remote_python={'': python}))\n"
        "with measured.exclusive(board):\n    measured.run(Path(model), board, SessionPlan(1, 3, 0.0))\n"
    )
    command = [sys.executable, "-c", code, board.config, python, str(tiny_models["small"])]
    with tempfile.TemporaryDirectory() as folder:  # a killed program leaves its own; a socket's path has to be short
        program = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": folder})
        _when_it_hangs(board, lambda: os.kill(program.pid, signal.SIGKILL)).join()
        program.wait(timeout=60)
    assert board.left_behind() == ([], [])
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if board.config in (process.info["cmdline"] or ())
    ]


def test_no_space_there(board: Sshd, monkeypatch: pytest.MonkeyPatch, tiny_models: dict[str, Path]) -> None:
    monkeypatch.setattr(link, "SPARE_BYTES", 1 << 60)
    with pytest.raises(MeasurementError) as caught:
        runner(board).run(tiny_models["small"], BOARD, PLAN)
    assert "target pi (board): sending host_worker.py: out of space: " in one_line(caught)


def test_a_file_that_arrives_damaged(board: Sshd, tiny_models: dict[str, Path]) -> None:
    program = board.program("sha256sum", "echo 0000  $1")
    try:
        with pytest.raises(MeasurementError, match=r"sending host_worker\.py: it arrived damaged") as caught:
            runner(board).run(tiny_models["small"], BOARD, PLAN)
    finally:
        program.unlink()
    assert caught.value.transient
