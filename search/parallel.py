"""Local worker processes that evaluate several candidates at once (search.evaluate.Workers).

Workers are fresh processes (a fork would copy TensorFlow's locks without its threads), each with its share of the
cores. While one of them measures alone, the others are stopped with SIGSTOP, wherever they are, and this process waits:
nothing of the search runs beside the measurement. No worker outlives this process, whatever ends it.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from core.errors import LitesmithError
from core.process import end_in_words
from core.progress import Reporter, SilentReporter
from search.evaluate import Attempt, Candidate, EvaluatorFactory
from search.parallel_worker import ALONE, DONE, RAISE, READY

ATTEMPTS = 3  # evaluations of a candidate whose worker dies each time, before it counts as failed
START_ATTEMPTS = 3  # workers in a row that die before they are ready, before the search ends
DYING_SECONDS = 5.0  # between the end of a worker's connection and its own
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclass
class _Task:
    key: str
    candidate: Candidate
    epochs: int
    began: float
    deaths: int = 0


class WorkerPool:
    """Up to `num_workers` processes, started when they are needed. A context manager: its end kills them.

    Args:
      factory: makes each worker's evaluator; it is pickled, and its module imported by the worker.
      directory: for the workers' output (worker-N.log), kept for whoever looks for the reason of a death.
      reporter: is told of workers that died.

    A candidate whose worker dies (killed by the kernel for want of memory, crashed in native code) is evaluated again,
    by another one, and fails when that has happened `ATTEMPTS` times.
    """

    def __init__(
        self, factory: EvaluatorFactory, num_workers: int, directory: Path, reporter: Reporter | None = None
    ) -> None:
        self.num_workers = num_workers
        self._factory, self._directory, self._reporter = factory, directory, reporter or SilentReporter()
        self._workers: list[_Worker] = []
        self._numbers = itertools.count()
        self._failed_starts = 0

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kills all workers and what they started; waits until they are gone."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def submit(self, key: str, candidate: Candidate, epochs: int) -> None:
        """Gives the candidate to an idle worker, or to a new one."""
        self._assign(_Task(key, candidate, epochs, time.perf_counter()))

    def wait(self) -> tuple[str, Attempt]:
        """The key and result of the evaluation that ends next.

        Raises what search.evaluate.attempt raises, and LitesmithError if workers cannot be started.
        """
        while True:
            busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
            for connection in multiprocessing.connection.wait(list(busy)):
                result = self._hear(busy[connection])  # type: ignore[index]  # a Connection, as given
                if result is not None:
                    return result

    def _assign(self, task: _Task) -> None:
        idle = (worker for worker in self._workers if worker.task is None)
        worker = next(idle, None) or self._start()
        worker.task = task
        with contextlib.suppress(OSError):  # a worker that has died is found by `wait`
            worker.connection.send((task.candidate, task.epochs))

    def _start(self) -> _Worker:
        worker = _Worker(self._directory / f"worker-{next(self._numbers)}.log", self.num_workers)
        self._workers.append(worker)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(self._factory)
        return worker

    def _hear(self, worker: _Worker) -> tuple[str, Attempt] | None:
        """Takes one message of a worker; the result if it is one."""
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if kind == RAISE:
            raise value
        if kind == ALONE:
            self._leave_alone(worker)
        if kind == READY:
            worker.is_ready, self._failed_starts = True, 0
        if kind != DONE:
            return None
        task, worker.task = worker.task, None
        assert task is not None  # a worker answers what it was given
        return task.key, value

    def _leave_alone(self, worker: _Worker) -> None:
        """Stops the others until the worker says that it has measured, or is dead."""
        others = [other for other in self._workers if other is not worker]
        try:
            for other in others:
                other.stop()
            for other in others:
                other.wait_until_stopped()
            worker.connection.send(None)
            worker.connection.recv()
        except (EOFError, OSError):
            pass  # it has died, which `wait` finds
        finally:
            for other in others:
                other.resume()

    def _bury(self, worker: _Worker) -> tuple[str, Attempt] | None:
        """Sees to the task of a worker that has died; its result if it was the last attempt."""
        self._workers.remove(worker)
        reason = worker.bury()
        task = worker.task
        assert task is not None  # only busy workers are heard
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts == START_ATTEMPTS:
                raise LitesmithError(f"search: worker processes die before they are ready: {reason}; see {worker.log}")
        else:
            task.deaths += 1
            if task.deaths == ATTEMPTS:
                seconds = {"total": time.perf_counter() - task.began}
                return task.key, Attempt(None, f"{ATTEMPTS} worker processes died of it, the last: {reason}", seconds)
        self._reporter.line(f"  a worker process died: {reason}; its trial is tried again")
        self._assign(task)
        return None


class _Worker:
    """One process and our end of the connection to it.

    It is the leader of a session of its own: Ctrl-C on the terminal reaches this process alone, which kills it.
    """

    def __init__(self, log: Path, num_workers: int) -> None:
        self.log, self.is_ready = log, False
        self.task: _Task | None = None
        self.connection, theirs = multiprocessing.Pipe()
        try:
            with open(log, "wb") as output:
                self._process = subprocess.Popen(
                    (sys.executable, "-P", "-m", "search.parallel_worker", str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(num_workers),
                    start_new_session=True,
                )
        finally:
            theirs.close()  # so that we read the end of the connection when the worker dies

    def stop(self) -> None:
        """Has the kernel stop all its threads."""
        self._signal(signal.SIGSTOP)

    def wait_until_stopped(self) -> None:
        """Blocks until that is so, or the process has died; it stays to be waited for."""
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Lets it go on after `stop`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kills it and what it started in its process group, stopped or not."""
        self._signal(signal.SIGKILL)
        self.connection.close()
        self._process.wait()

    def bury(self) -> str:
        """After the end of the connection: how it ended, in words."""
        patience = time.monotonic() + DYING_SECONDS
        while not self._is_dead() and time.monotonic() < patience:
            time.sleep(0.005)
        self.kill()
        code = self._process.returncode
        return f"{end_in_words(code)}{self._last_line() if code > 0 else ''}"

    def _is_dead(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _last_line(self) -> str:
        lines = self.log.read_bytes().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last[:200]}" if last else ""

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def threads_per_worker(num_workers: int) -> int:
    """An equal share of the cores that this process may use, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // num_workers)


def _environment(num_workers: int) -> dict[str, str]:
    """This process' environment with the worker's share of threads, and our module path."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(threads_per_worker(num_workers)))
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, **threads, "PYTHONPATH": path}
