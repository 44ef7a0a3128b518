"""Many models on many targets: devices in parallel, on each one run at a time, every result kept as it comes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from android_bench.connections import Connections
from android_bench.protocol import check_model_file, measure_all, runner_for
from android_bench.results import BenchEntry, ResultFile, entry_of
from android_bench.session import MeasurementError, Runner, Session, SessionPlan, TargetState
from android_bench.settings import BenchConfig
from core.errors import LitesmithError, UsageError, one_line
from core.progress import Reporter, SilentReporter
from core.values import Measurement, Target, file_sha256

# Models that are measured in turns, and whose results come together: more would compare more models under the same
# conditions, fewer lose less when the power fails.
BATCH = 8


def labelled(paths: Sequence[Path]) -> dict[str, Path]:
    """Names of models for tables: the files' names without ending, or the whole paths of those that share one."""
    stems = [path.stem for path in paths]
    return {str(path) if stems.count(path.stem) > 1 else path.stem: path for path in paths}


def measure_targets(
    models: Mapping[str, Path],
    targets: Sequence[Target],
    config: BenchConfig,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    results: Path | None = None,
    make_runner: Callable[[Target, Connections], Runner] = runner_for,
) -> tuple[BenchEntry, ...]:
    """Measures every model on every target; one entry for each pair, targets in their order, models in theirs.

    Each device has a thread. What fails on one (or is lost with it) becomes a failed entry; the others go on. With
    `results`, entries are appended to that file as they come, and what it has measured already is not measured again.
    After Ctrl-C the sessions under way end, their devices are left clean, and the file has all that was finished.

    Raises UsageError, before anything runs, for a file that is no model, two targets of one name, or another's result
    file.
    """
    if len({target.name for target in targets}) != len(targets):
        raise UsageError(f"targets: {', '.join(target.name for target in targets)}: expected different names")
    work = [_Model(name, check_model_file(path), file_sha256(path)) for name, path in models.items()]
    campaign = _Campaign(work, config, connections or Connections(), reporter or SilentReporter(), make_runner)
    kept = ResultFile(results, config) if results else None
    if kept:
        campaign.take_known(targets, kept)
    campaign.run(targets, kept)
    return tuple(campaign.found[target.name, model.name] for target in targets for model in work)


def devices(targets: Sequence[Target], connections: Connections) -> dict[str, list[Target]]:
    """Targets by the device that they share: this computer, a serial number or model of phone, a host name."""
    groups: dict[str, list[Target]] = {}
    for target in targets:
        address = ""
        if target.kind == "android":
            serials = connections.serials
            address = serials.get(target.name) or serials.get("") or target.device
        elif target.kind == "ssh":
            address = connections.hosts.get(target.name) or connections.hosts.get("") or target.name
        groups.setdefault(f"{target.kind} {address}".strip(), []).append(target)
    return groups


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    path: Path
    sha256: str


class _Stopped(Exception):
    """The campaign was interrupted; this thread ends."""


class _Campaign:
    """The state of one `measure_targets`. Threads put entries on a queue; the main thread keeps them."""

    def __init__(
        self,
        models: list[_Model],
        config: BenchConfig,
        connections: Connections,
        reporter: Reporter,
        make_runner: Callable[[Target, Connections], Runner],
    ) -> None:
        self._models, self._config, self._connections = models, config, connections
        self._reporter, self._make_runner = reporter, make_runner
        self._queue: queue.Queue[BenchEntry | BaseException | None] = queue.Queue()
        self._stop = threading.Event()
        self.found: dict[tuple[str, str], BenchEntry] = {}

    def take_known(self, targets: Sequence[Target], results: ResultFile) -> None:
        """Takes over what a file has measured."""
        for target in targets:
            for model in self._models:
                entry = results.measured(model.sha256, target)
                if entry is not None:
                    self.found[target.name, model.name] = entry

    def run(self, targets: Sequence[Target], results: ResultFile | None) -> None:
        """Measures the rest. Raises what went wrong in a thread other than a measurement."""
        groups = devices(targets, self._connections)
        threads = [threading.Thread(target=self._thread, args=(group,), name=name) for name, group in groups.items()]
        total = len(targets) * len(self._models) - len(self.found)
        with self._reporter.task("benchmark", total) as task:
            for thread in threads:
                thread.start()
            try:
                for entry in self._arriving(len(threads)):
                    self._keep(entry, results)
                    task.advance(note=f"{entry.target.name} {entry.model}: {entry.verdict}")
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join()
                for entry in self._left_over():
                    self._keep(entry, results)

    def _keep(self, entry: BenchEntry, results: ResultFile | None) -> None:
        self.found[entry.target.name, entry.model] = entry
        if results:
            results.append(entry)

    def _arriving(self, running: int) -> Iterator[BenchEntry]:
        while running:
            item = self._queue.get()
            if isinstance(item, BenchEntry):
                yield item
            elif item is None:
                running -= 1
            else:
                raise item

    def _left_over(self) -> Iterator[BenchEntry]:
        while not self._queue.empty():
            item = self._queue.get()
            if isinstance(item, BenchEntry):
                yield item

    def _thread(self, targets: list[Target]) -> None:
        """All targets of one device, one after the other."""
        try:
            lost: LitesmithError | None = None
            for target in targets:
                lost = self._target(target, lost)
            self._queue.put(None)
        except _Stopped:
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def _target(self, target: Target, lost: LitesmithError | None) -> LitesmithError | None:
        """Measures what is missing in batches; returns the error of a lost connection, with which all else fails."""
        missing = [model for model in self._models if (target.name, model.name) not in self.found]
        try:
            with contextlib.ExitStack() as stack:
                runner = self._runner(target, stack) if missing and not lost else None
                while missing and runner and not lost:
                    batch, missing = missing[:BATCH], missing[BATCH:]
                    lost = self._put(batch, target, self._measured(batch, target, runner))
        except LitesmithError as error:  # of making the runner, or of tidying up when all is measured
            self._reporter.line(f"{target.name}: {one_line(error)}")
            self._put(missing, target, [error] * len(missing))
            return lost
        if lost:
            self._put(missing, target, [lost] * len(missing))
        return lost

    def _measured(self, batch: list[_Model], target: Target, runner: Runner) -> list[Measurement | LitesmithError]:
        paths = [model.path for model in batch]
        return measure_all(paths, target, self._config, runner, reporter=self._reporter, sleep=self._pause)

    def _runner(self, target: Target, stack: contextlib.ExitStack) -> Runner:
        """The target's runner for all batches. One that is a context manager keeps its tool on the device meanwhile."""
        runner = self._make_runner(target, self._connections)
        if isinstance(runner, AbstractContextManager):
            stack.enter_context(runner)
        return _Stoppable(runner, self._stop)

    def _put(
        self, models: list[_Model], target: Target, results: Sequence[Measurement | LitesmithError]
    ) -> LitesmithError | None:
        """Hands over one result per model; returns the error of a lost connection, if one says so."""
        lost = None
        for model, result in zip(models, results, strict=True):
            self._queue.put(entry_of(model.name, model.sha256, target, result))
            if isinstance(result, MeasurementError) and result.is_lost:
                lost = result
        return lost

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped


class _Stoppable:
    """A runner that begins nothing more once `stop` is set."""

    def __init__(self, runner: Runner, stop: threading.Event) -> None:
        self._runner, self._stop = runner, stop

    @property
    def tool(self) -> str:
        return self._runner.tool

    def exclusive(self, target: Target) -> AbstractContextManager[None]:
        return self._runner.exclusive(target)

    def state(self, target: Target) -> TargetState:
        self._check()
        return self._runner.state(target)

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        self._check()
        return self._runner.run(model_path, target, plan)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped
