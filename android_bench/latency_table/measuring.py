"""Takes the sessions of a table: in rounds, in batches, in random order, until they agree."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from android_bench.latency_table.assemble import disagrees
from android_bench.latency_table.log import WorkFolder
from android_bench.latency_table.meters import File, meter_for
from android_bench.latency_table.units import Unit
from android_bench.readiness import Readiness
from android_bench.retry import retried
from android_bench.session import Runner
from android_bench.settings import BenchConfig
from core.progress import Reporter, Task
from core.spec_io import hashed_seed
from core.values import Target

T = TypeVar("T")


@dataclass(frozen=True)
class Measuring:
    """How the units of a work folder are measured; their files are there."""

    runner: Runner
    target: Target
    config: BenchConfig
    work: WorkFolder
    reporter: Reporter
    seed: int
    sleep: Callable[[float], None] = time.sleep

    def run(self, units: Sequence[Unit]) -> None:
        """Takes what is missing: `config.processes` sessions of each unit, and up to as many again where they disagree.

        Raises MeasurementError and UsageError naming the block.
        """
        rounds = self._missing_rounds(units)
        if not rounds and not self._disagreeing(units):
            return
        readiness = Readiness(self.runner, self.target, self.config, self.reporter, self.sleep, time.monotonic)
        with contextlib.ExitStack() as stack:
            self._retried(lambda: stack.enter_context(self.runner.exclusive(self.target)))
            readiness.before()
            with self.reporter.task("measure", sum(map(len, rounds))) as task:
                for chosen in rounds:
                    self._round(chosen, readiness, task)
            while again := self._disagreeing(units):
                with self.reporter.task("measure again what disagrees", len(again)) as task:
                    self._round(again, readiness, task)
            readiness.after()
        self.work.add_state(readiness.conditions, [f"{found.kind}: {found.reason}" for found in readiness.concerns])

    def _missing_rounds(self, units: Sequence[Unit]) -> list[list[Unit]]:
        done = self.work.progress().sessions
        rounds = range(self.config.processes)
        missing = [[unit for unit in units if len(done.get(unit.name, ())) <= number] for number in rounds]
        return [chosen for chosen in missing if chosen]

    def _disagreeing(self, units: Sequence[Unit]) -> list[Unit]:
        done = self.work.progress().sessions
        most = 2 * self.config.processes
        counted = ((unit, done.get(unit.name, [])) for unit in units)
        return [unit for unit, sessions in counted if 0 < len(sessions) < most and disagrees(unit, sessions)]

    def _round(self, units: Sequence[Unit], readiness: Readiness, task: Task) -> None:
        """One session of each unit, in random order."""
        number = sum(map(len, self.work.progress().sessions.values()))  # another order for each round
        seed = hashed_seed(f"{self.seed} {number}")
        meter = meter_for(self.runner, self.target, self.config)
        for batch in _batches(units, meter.batch_size, random.Random(seed)):
            readiness.between()
            files = [File(path, unit.text) for unit in batch for path in unit.files(self.work.models)]
            timings = iter(self._retried(partial(meter.time, files, seed)))
            self.work.add_batch({unit.name: [next(timings) for _ in unit.copies] for unit in batch})
            task.advance(len(batch), note=batch[-1].note)

    def _retried(self, action: Callable[[], T]) -> T:
        return retried(action, self.config.retries, self.reporter, self.sleep)


def _batches(units: Sequence[Unit], files: int, shuffler: random.Random) -> list[list[Unit]]:
    """Units in random order: blocks, as many as make up at least so many files, or one network.

    A network is alone in its process, as it is in an app: among others it would find its weights in no cache.
    """
    blocks = [unit for unit in units if not unit.is_network]
    shuffler.shuffle(blocks)
    batches: list[list[Unit]] = []
    count = files
    for unit in blocks:
        if count >= files:
            batches.append([])
            count = 0
        batches[-1].append(unit)
        count += len(unit.copies)
    batches += [[unit] for unit in units if unit.is_network]
    shuffler.shuffle(batches)
    return batches
