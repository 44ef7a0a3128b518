"""Runs that are killed while they publish. A program of its own, so that it forks without TensorFlow's threads.

`python -m tests.pipeline.killed_runs MOST WORKDIR BASE OUT FLAG...` makes the command `run FLAG...`, of which nothing
but publishing is left to do, in copies of the folder WORKDIR with copies of the store BASE: OUT/whole undisturbed,
OUT/N by a process that ends itself with SIGKILL just before the N-th change to the file system since it began to
publish, for about MOST numbers N that are spread over all. OUT/N/left is the store as it was left then; after that the
run is made again. Prints the exit code of the undisturbed run, and N:CODE:CODE of those killed and made again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from compress.importing import check  # noqa: F401  # what the children would else import, each for itself
from deploy import gates  # noqa: F401
from pipeline import main as command
from pipeline import publish, report_files  # noqa: F401
from tests.deploy.store.killed_publishers import Counter


def run(folder: Path, flags: list[str], kill_at: int | None) -> tuple[int, int]:
    """The command in a process of its own: its signal or exit code, and the changes that it made as it published."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _child(folder, flags, kill_at, writing)
    os.close(writing)
    text = os.read(reading, 20).decode()
    os.close(reading)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), int(text or 0)


def _child(folder: Path, flags: list[str], kill_at: int | None, writing: int) -> None:
    counter, publish_run = Counter(kill_at), publish.publish_run

    def counted(*arguments: Any) -> int:
        counter.watch("folder")
        code = publish_run(*arguments)
        os.write(writing, str(counter.count).encode())
        return code

    publish.publish_run = counted
    tempfile.tempdir = str(folder)  # which holds what a killed process left
    places = [f"--workdir={folder / 'run'}", f"--config.release.store={folder / 'store'}"]
    sys.argv = ["main.py", "run", *flags, *places]
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    try:
        command.run_main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(1)


def main() -> None:
    """Once undisturbed, then with kills."""
    most, (workdir, base, out), flags = int(sys.argv[1]), map(Path, sys.argv[2:5]), sys.argv[5:]

    def copied(name: str) -> Path:
        shutil.copytree(workdir, out / name / "run", symlinks=True)
        shutil.copytree(base, out / name / "store")
        return out / name

    code, changes = run(copied("whole"), flags, None)
    print(code)
    for number in range(0, changes, max(1, changes // most)):
        folder = copied(str(number))
        killed, _ = run(folder, flags, number)
        shutil.copytree(folder / "store", folder / "left")
        again, _ = run(folder, flags, None)
        print(f"{number}:{killed}:{again}")


if __name__ == "__main__":
    main()
