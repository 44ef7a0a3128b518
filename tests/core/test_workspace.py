"""Files are whole or absent: with errors, kills, a full disk, torn and damaged records."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LitesmithError, UsageError
from core.workspace import (
    AppendLog,
    atomic_write_bytes,
    atomic_write_json,
    committed_directory,
    is_disk_full,
    locked,
    read_json,
    remove_temporaries,
)

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def python(code: str, *args: object) -> subprocess.Popen[str]:
    """A child process that runs `code`, with the project importable and a pipe to hear from it."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class TestAtomicWrite:
    def test_writes_and_replaces(self, tmp_path):
        path = tmp_path / "file"
        for data in (b"old", b"", b"\x00\xff" * 1000):
            atomic_write_bytes(path, data)
            assert path.read_bytes() == data
        assert names(tmp_path) == {"file"}

    def test_json_round_trip_refuses_nan_and_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "x.json"
        atomic_write_json(path, {"b": (1, 2), "a": "é"})
        assert read_json(path) == {"a": "é", "b": [1, 2]}
        with pytest.raises(ValueError, match="JSON"):
            atomic_write_json(path, {"x": float("nan")})
        assert read_json(path)["b"] == [1, 2]
        assert names(tmp_path) == {"x.json"}

    @pytest.mark.parametrize("content", [b'{"a": ', b"", b'{"a": "\xff\xfe"}'])
    def test_damaged_json_is_named(self, tmp_path, content):
        path = tmp_path / "x.json"
        path.write_bytes(content)
        with pytest.raises(LitesmithError, match=r"x\.json: damaged JSON") as caught:
            read_json(path)
        assert "\n" not in str(caught.value)

    def test_a_kill_at_the_rename_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        child = python(
            """
            import os, signal, sys
            from pathlib import Path
            from core import workspace
            os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
            workspace.atomic_write_bytes(Path(sys.argv[1]), b"new")
            """,
            path,
        )
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old"
        remove_temporaries(tmp_path)
        assert names(tmp_path) == {"file"}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 64 KiB mounted at `folder`; skips the test where mounting is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class TestFullDisk:
    def test_old_file_stays_and_no_temporary(self, tmp_path):
        with small_disk(tmp_path):
            path = tmp_path / "file"
            atomic_write_bytes(path, b"old")
            with pytest.raises(OSError) as caught:
                atomic_write_bytes(path, bytes(200_000))
            assert is_disk_full(caught.value)
            assert path.read_bytes() == b"old"
            assert names(tmp_path) == {"file"}

    def test_directory_is_not_committed(self, tmp_path):
        with small_disk(tmp_path):
            with pytest.raises(OSError) as caught, committed_directory(tmp_path / "stage") as folder:
                (folder / "a").write_bytes(b"x")
                (folder / "b").write_bytes(bytes(200_000))
            assert is_disk_full(caught.value)
            assert names(tmp_path) == set()

    def test_log_goes_on_once_there_is_space(self, tmp_path):
        with small_disk(tmp_path):
            log = AppendLog(tmp_path / "log")
            log.append({"n": 0})
            filler = tmp_path / "filler"
            with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            with pytest.raises(OSError) as caught:
                log.append({"n": 1, "text": "x" * 20_000})
            assert is_disk_full(caught.value)
            filler.unlink()
            assert log.read() == [{"n": 0}]
            log.append({"n": 2})
            assert log.read() == [{"n": 0}, {"n": 2}]

    def test_a_file_size_limit_leaves_the_old_file_too(self, tmp_path):
        """The same contract where no small disk can be mounted: the kernel refuses to write beyond a limit."""
        path = tmp_path / "file"
        path.write_bytes(b"old")
        child = python(
            """
            import resource, signal, sys
            from pathlib import Path
            from core.workspace import atomic_write_bytes
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            try:
                atomic_write_bytes(Path(sys.argv[1]), bytes(200_000))
            except OSError as error:
                print(error.errno)
            """,
            path,
        )
        assert child.communicate()[0].strip() == str(errno.EFBIG)
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == {"file"}

    def test_only_space_and_quota_count_as_full(self):
        assert is_disk_full(OSError(errno.ENOSPC, ""))
        assert is_disk_full(OSError(errno.EDQUOT, ""))
        assert not is_disk_full(PermissionError(errno.EACCES, ""))
        assert not is_disk_full(ValueError())


class TestCommittedDirectory:
    def test_appears_at_the_end_with_everything(self, tmp_path):
        final = tmp_path / "deep" / "stage"
        with committed_directory(final) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "a").write_text("1")
            assert not final.exists()
        assert (final / "sub" / "a").read_text() == "1"
        assert names(final.parent) == {"stage"}

    @pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)])
    @pytest.mark.parametrize("existed", [True, False])
    def test_an_exception_leaves_what_was(self, tmp_path, error, existed):
        final = tmp_path / "stage"
        if existed:
            final.mkdir()
            (final / "old").write_text("old")
        with pytest.raises(type(error)), committed_directory(final) as folder:
            (folder / "new").write_text("new")
            raise error
        assert names(tmp_path) == ({"stage"} if existed else set())
        assert not existed or names(final) == {"old"}

    def test_replaces_an_older_one_whole(self, tmp_path):
        final = tmp_path / "stage"
        for name in ("first", "second"):
            with committed_directory(final) as folder:
                (folder / name).write_text(name)
        assert names(final) == {"second"}
        assert names(tmp_path) == {"stage"}

    def test_a_failing_last_rename_brings_the_old_one_back(self, tmp_path, monkeypatch):
        final = tmp_path / "stage"
        final.mkdir()
        (final / "old").write_text("old")
        rename = os.replace

        def replace(source: Path, target: Path) -> None:
            if target == final and source.name == ".tmp-stage":
                raise OSError(errno.EIO, "broken disk")
            rename(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(OSError, match="broken disk"), committed_directory(final) as folder:
            (folder / "new").write_text("new")
        assert names(final) == {"old"}
        assert names(tmp_path) == {"stage"}

    def test_a_killed_writer_leaves_nothing_that_the_next_one_keeps(self, tmp_path):
        final = tmp_path / "stage"
        child = python(
            """
            import os, signal, sys
            from pathlib import Path
            from core.workspace import committed_directory
            with committed_directory(Path(sys.argv[1])) as folder:
                (folder / "torn").write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
            """,
            final,
        )
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert not final.exists()
        assert names(tmp_path) == {".tmp-stage"}
        with committed_directory(final) as folder:
            (folder / "whole").write_text("x")
        assert names(final) == {"whole"}
        assert names(tmp_path) == {"stage"}

    def test_remove_temporaries_takes_nothing_else(self, tmp_path):
        for folder in (".tmp-a", "b/.tmp-old-c"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "x").write_text("x")
        (tmp_path / "b" / ".tmp-file").write_text("x")
        (tmp_path / "b" / "keep.tmp-").write_text("x")
        remove_temporaries(tmp_path)
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["b", "b/keep.tmp-"]


RECORDS = [{"n": 1, "text": "a\nb\u2028c"}, {"n": 2, "text": "é"}, {"n": 3, "deep": {"x": [1, None]}}]


def written(path: Path) -> AppendLog:
    log = AppendLog(path)
    for record in RECORDS:
        log.append(record)
    return log


class TestAppendLog:
    def test_reads_what_was_appended(self, tmp_path):
        log = AppendLog(tmp_path / "folder" / "log")
        assert log.read() == []
        assert written(tmp_path / "folder" / "log").read() == RECORDS
        assert log.path.read_bytes().count(b"\n") == len(RECORDS)

    @given(st.data())
    def test_a_torn_last_line_is_cut_off(self, tmp_path_factory, data):
        """Cut the file at any byte, as a kill may: what was whole stays, and appending goes on after it."""
        log = written(tmp_path_factory.mktemp("log") / "log")
        content = log.path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        log.path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert log.read() == RECORDS[:whole]
        log.append({"n": 9})
        assert log.read() == [*RECORDS[:whole], {"n": 9}]
        assert log.path.read_bytes().startswith(b"".join(content.splitlines(keepends=True)[:whole]))

    def test_garbage_after_the_last_whole_line_is_cut_off(self, tmp_path):
        """A crash may leave bytes that are no text, such as the zeros of a block that was never written."""
        log = written(tmp_path / "log")
        with open(log.path, "ab") as file:
            file.write(b'{"n": "\xc3' + bytes(5000))
        assert log.read() == RECORDS
        log.append({"n": 4})
        assert log.read() == [*RECORDS, {"n": 4}]

    @pytest.mark.parametrize("damage", [b'{"n": 2', b"", b'{"n": "\xff"}', b"\x00\x00", b"[1]"])
    def test_a_damaged_line_is_named(self, tmp_path, damage):
        log = written(tmp_path / "log")
        lines = log.path.read_bytes().splitlines()
        log.path.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
        with pytest.raises(LitesmithError, match=r"log:2: damaged record") as caught:
            log.read()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_record_that_cannot_be_written_leaves_the_log_alone(self, tmp_path, value):
        log = written(tmp_path / "log")
        before = log.path.read_bytes()
        with pytest.raises(ValueError, match="JSON"):
            log.append({"x": value})
        assert log.path.read_bytes() == before


HOLD_LOCK = """
import sys, time
from pathlib import Path
from core.workspace import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


class TestLock:
    def test_is_free_again_after_the_block(self, tmp_path):
        for _ in range(2):
            with locked(tmp_path):
                pass
        with pytest.raises(RuntimeError), locked(tmp_path):
            raise RuntimeError
        with locked(tmp_path):
            pass

    def test_is_refused_while_another_process_lives_and_freed_by_its_kill(self, tmp_path):
        holder = python(HOLD_LOCK, tmp_path)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            with (
                pytest.raises(UsageError, match=r"is in use by another litesmith process"),
                locked(tmp_path),
            ):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.communicate()
        with locked(tmp_path):
            pass

    def test_a_program_started_under_the_lock_does_not_keep_it(self, tmp_path):
        """Else an adb server or a benchmark that outlives the command would keep the workspace locked."""
        with locked(tmp_path):
            child = subprocess.Popen(["sleep", "600"], close_fds=False)
        try:
            with locked(tmp_path):
                pass
        finally:
            child.kill()
            child.wait()

    def test_a_missing_or_unwritable_folder_is_not_called_locked(self, tmp_path):
        with pytest.raises(FileNotFoundError), locked(tmp_path / "absent"):
            pass


def test_a_record_survives_a_kill_right_after_append(tmp_path):
    child = python(
        """
        import os, signal, sys
        from pathlib import Path
        from core.workspace import AppendLog
        log = AppendLog(Path(sys.argv[1]))
        for n in range(3):
            log.append({"n": n})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "log",
    )
    child.communicate()
    assert AppendLog(tmp_path / "log").read() == [{"n": n} for n in range(3)]


def bytes_read_so_far() -> int:
    """What this process has asked of read(2), by the kernel's count."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def test_appending_does_not_read_the_whole_log(tmp_path):
    """Or a search of n trials would read n^2 records."""
    log = AppendLog(tmp_path / "log")
    log.append({"text": "x" * 10_000_000})
    before = bytes_read_so_far()
    log.append({"n": 1})
    # A hundredth of the log: room for the buffer of a file and for this measurement's own reading.
    assert bytes_read_so_far() - before < 100_000
    assert log.read()[1] == {"n": 1}
