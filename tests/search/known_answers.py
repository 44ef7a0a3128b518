"""A search whose answers are computed, for worker processes: what goes wrong in which evaluation is scripted.

Workers import this module by its name, so it holds what they unpickle. No TensorFlow and no Keras Tuner here.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import CandidateError, UsageError
from core.progress import Reporter, SilentReporter
from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.evaluate import Alone, Candidate, Evaluation
from search.loop import search_with
from search.parallel import WorkerPool
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace
from search.trials import Trial

SPACE = SearchSpace(
    "known",
    ArchSpec(
        OneOf((8, 16, 24, 32)),
        (StageSpec((BlockSpec(kernel_size=OneOf((3, 5)), out_channels=16),), 1),),
        32,
        resolution=16,
        num_classes=2,
    ),
)
A, B, C, D, E, F = (0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1)


def name(genotype: Genotype) -> str:
    """The id of a genotype's network, by which a script calls it."""
    return content_id(SPACE.decode(genotype))


@dataclass(frozen=True)
class Suggestion:
    oracle_id: str
    genotype: Genotype
    epochs: int = 1


@dataclass
class Listed:
    """A strategy that suggests a list, and keeps what it was told."""

    genotypes: tuple[Genotype, ...]
    asked: int = 0
    told: list[tuple[str, float]] = field(default_factory=list)

    def suggest(self) -> Suggestion | None:
        self.asked += 1
        number = self.asked - 1
        return Suggestion(f"{number:02d}", self.genotypes[number]) if number < len(self.genotypes) else None

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
        self.told.append((oracle_id, score))


@dataclass(frozen=True)
class KnownAnswers:
    """An EvaluatorFactory; its evaluators leave a file NETWORK-ATTEMPT-PID in `notes` for each evaluation.

    Attributes:
      sleep_s: seconds that an evaluation takes, by network; others take none.
      ends: how the first evaluations of a network end: words of `_end`, one for each.
      measured: the networks that are measured alone, for as long as they sleep; the others note the time all the while.
      start: how the making of an evaluator ends.
    """

    notes: Path
    sleep_s: dict[str, float] = field(default_factory=dict)
    ends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    measured: tuple[str, ...] = ()
    start: str = ""

    def __call__(self, alone: Alone) -> KnownEvaluator:
        _end(self.start)
        return KnownEvaluator(self, alone)

    def evaluations(self, genotype: Genotype) -> list[Path]:
        """The notes of a network, one for each evaluation."""
        return sorted(self.notes.glob(f"{name(genotype)}-*"))

    def pids(self) -> set[int]:
        """The workers that have evaluated something."""
        return {int(path.name.split("-")[2]) for path in self.notes.iterdir()}


@dataclass(frozen=True)
class KnownEvaluator:
    script: KnownAnswers
    alone: Alone

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        network, script = candidate.arch_id, self.script
        attempt = len(list(script.notes.glob(f"{network}-*")))
        note = script.notes / f"{network}-{attempt}-{os.getpid()}"
        note.touch()
        _end(script.ends.get(network, ())[attempt : attempt + 1])
        sleep_s = script.sleep_s.get(network, 0.0)
        if network in script.measured:
            with self.alone():
                began = time.monotonic_ns()
                time.sleep(sleep_s)
                note.write_text(f"{began} {time.monotonic_ns()}")
        elif script.measured:
            _tick(note, sleep_s)
        else:
            time.sleep(sleep_s)
        return Evaluation(answer(candidate), {"train": 0.0})


def answer(candidate: Candidate) -> dict[str, float]:
    """The metrics of a network."""
    accuracy = int(candidate.arch_id[:6], 16) / 2**24
    return {"val_accuracy": accuracy, "macs": 1000.0 * candidate.arch.stem_channels, "params": 10.0}


def search(
    factory: KnownAnswers,
    genotypes: tuple[Genotype, ...],
    log: Path,
    num_workers: int = 2,
    reporter: Reporter | None = None,
) -> list[Trial]:
    """A search over a list in worker processes."""
    config = SearchConfig(objective="accuracy", cost="macs", max_trials=len(genotypes), epochs=1)
    reporter = reporter or SilentReporter()
    with WorkerPool(factory, num_workers, log.parent, reporter) as workers:
        return search_with(workers, config, SPACE, Listed(genotypes), log, seed=1, reporter=reporter)


def _tick(note: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    with open(note, "w") as file:
        while time.monotonic() < end:
            file.write(f"{time.monotonic_ns()}\n")
            file.flush()
            time.sleep(0.001)


def _end(how: str | tuple[str, ...]) -> None:
    word = how if isinstance(how, str) else (*how, "")[0]
    if word.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, word))
        time.sleep(60)
    if word == "exit 3":
        print("no more of it", flush=True)
        os._exit(3)
    errors: dict[str, Exception] = {
        "candidate": CandidateError("diverged"),
        "error": ZeroDivisionError("by zero"),
        "usage": UsageError("x: 1 is not legal"),
        "disk": OSError(28, "No space left on device", "/full"),
    }
    if word:
        raise errors[word]
