"""Running other programs: what they leave, and that a time-out leaves nobody behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from core.errors import LitesmithError
from core.process import Completed, ProcessError, end_in_words, run


def python(code: str, *args: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not yet waited for (state Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    for _ in range(1000):
        if not is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_output_and_exit_code():
    done = run(python("import sys; print('out é'); print('err', file=sys.stderr)"), timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out é\n", "err\n")
    assert isinstance(done, Completed)
    assert done.args[0] == sys.executable


def test_stdin_is_given_or_empty():
    echo = python("import sys; print(repr(sys.stdin.read()))")
    assert run(echo, timeout_s=60, stdin="a\nb").stdout == "'a\\nb'\n"
    assert run(echo, timeout_s=60).stdout == "''\n"


def test_env_is_added_to_the_present_one(monkeypatch):
    monkeypatch.setenv("LITESMITH_OLD", "old")
    code = "import os; print(os.environ['LITESMITH_OLD'], os.environ['LITESMITH_NEW'])"
    assert run(python(code), timeout_s=60, env={"LITESMITH_NEW": "new"}).stdout == "old new\n"
    assert "LITESMITH_NEW" not in os.environ


def test_bytes_that_are_no_text_are_replaced():
    done = run(python("import sys; sys.stdout.buffer.write(b'a\\xffb')"), timeout_s=60)
    assert done.stdout == "a\ufffdb"


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("import sys; print('why\\n', file=sys.stderr); sys.exit(3)", "exit code 3: why"),
        ("import sys; print('out'); print('first\\nlast \\n \\n', file=sys.stderr); sys.exit(3)", "exit code 3: last"),
        ("import sys; print('only here'); sys.exit(3)", "exit code 3: only here"),
        ("import sys; sys.exit(3)", "exit code 3: (no output)"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9: (no output)"),
        ("import sys; sys.exit('x' * 1000)", "exit code 1: " + "x" * 300),
    ],
)
def test_a_bad_exit_code_comes_with_the_last_line(code, last):
    with pytest.raises(ProcessError) as caught:
        run(python(code), timeout_s=60)
    assert str(caught.value) == f"{Path(sys.executable).name}: {last}"
    assert isinstance(caught.value, LitesmithError)
    assert run(python(code), timeout_s=60, check=False).returncode != 0


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    with pytest.raises(ProcessError, match=r"^absent: cannot be started \(No such file or directory\): /no/absent$"):
        run(["/no/absent"], timeout_s=60)
    script = tmp_path / "script"
    script.write_text("no program")
    with pytest.raises(ProcessError, match=r"^script: cannot be started \(Permission denied\)"):
        run([str(script)], timeout_s=60)


GRANDCHILD = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[1]).write_text(str(child.pid))
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "pass"])
def test_a_time_out_ends_grandchildren_too(tmp_path, end):
    """Also where the program itself has ended ("pass") and a child of its holds the output open."""
    pid_file = tmp_path / "pid"
    with pytest.raises(ProcessError, match="no answer within 2 s; stopped"):
        run(python(GRANDCHILD.format(end=end), pid_file), timeout_s=2)
    # On a machine too busy to reach the fork in 2 s there is no grandchild to look for.
    assert not pid_file.exists() or wait_until_gone(int(pid_file.read_text()))


def test_a_daemon_that_keeps_the_output_open_does_not_hang_us(tmp_path):
    """adb's server leaves its parent's process group and may inherit the pipes."""
    pid_file = tmp_path / "pid"
    code = GRANDCHILD.format(end="pass").replace('600)"]', '600)"], start_new_session=True')
    assert "start_new_session" in code
    try:
        with pytest.raises(ProcessError, match="no answer within 2 s; stopped"):
            run(python(code, pid_file), timeout_s=2)
    finally:
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_an_interrupt_ends_the_program_too(tmp_path, monkeypatch):
    pid_file = tmp_path / "pid"

    def interrupt(signum: int, frame: object) -> None:
        if not pid_file.exists() or not pid_file.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(python(GRANDCHILD.format(end="time.sleep(600)"), pid_file), timeout_s=300)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert wait_until_gone(int(pid_file.read_text()))


def test_the_end_of_a_process_in_words():
    assert [end_in_words(code) for code in (0, 3, -9, -11)] == [
        "exit code 0",
        "exit code 3",
        "killed by SIGKILL (perhaps out of memory)",
        "killed by SIGSEGV",
    ]
    assert end_in_words(-40) == "killed by signal 40"


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_process_that_dies_with_its_parent(tmp_path, is_stopped):
    """Even if the parent has no chance to say goodbye and the process is stopped."""
    pid_file = tmp_path / "pid"
    child = """
    import os, signal, sys, time
    from pathlib import Path
    from core.process import die_with_parent
    die_with_parent(int(sys.argv[2]))
    Path(sys.argv[1] + ".tmp").write_text(str(os.getpid()))
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])
    if eval(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)
    """
    parent = """
    import os, subprocess, sys
    code, pid_file, is_stopped = sys.argv[1:]
    subprocess.run([sys.executable, "-c", code, pid_file, str(os.getpid()), is_stopped], start_new_session=True)
    """
    root = str(Path(__file__).parents[2])
    command = python(parent, textwrap.dedent(child), pid_file, is_stopped)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root})
    try:
        while not pid_file.exists():
            assert process.poll() is None
            time.sleep(0.01)
        pid = int(pid_file.read_text())
        while is_stopped and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert wait_until_gone(pid)


def test_a_process_whose_parent_has_died_ends_at_once():
    code = "from core.process import die_with_parent; die_with_parent(1); print('alive')"
    done = run(python(code), timeout_s=60, env={"PYTHONPATH": str(Path(__file__).parents[2])}, check=False)
    assert (done.returncode, done.stdout) == (1, "")
