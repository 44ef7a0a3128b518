"""The Evaluator protocol: how the search loop learns what a candidate is worth. No TensorFlow here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from core.errors import UsageError, one_line
from search.arch import ArchSpec
from search.cost import cost
from search.space import Genotype


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to evaluate, after compression by `recipe` if that is not "".

    `arch_id` is the identity of both (search.space). `seed` depends on the search's seed and the network alone, so that
    a network promoted to more epochs goes on as it began.
    """

    arch: ArchSpec
    arch_id: str
    genotype: Genotype
    seed: int
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found: metrics (accuracies 0..1, latency_us, macs, params, size_bytes) and the seconds of each phase."""

    metrics: dict[str, float]
    seconds: dict[str, float]


def computed_metrics(arch: ArchSpec) -> dict[str, float]:
    """The metrics that a network has by its spec alone: macs, params, peak_memory_bytes. Raises CandidateError."""
    found = cost(arch)
    values = {"macs": found.macs, "params": found.params, "peak_memory_bytes": found.peak_memory_bytes}
    return {name: float(value) for name, value in values.items()}


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Adds what the block takes to the seconds of a phase, also if it fails."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - began


class Evaluator(Protocol):
    """Anything that turns a candidate into metrics: training, a table of known results, a supernet.

    An evaluator may have an attribute `seconds`, the phases of its latest evaluation: the log of a failed trial tells
    how far it came.
    """

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Evaluates a candidate trained for `epochs` in all.

        Raises CandidateError if it cannot be built, diverges or cannot be converted.
        """


Alone = Callable[[], AbstractContextManager[None]]
"""Makes a context in which no other worker of the search computes; blocks until it is so."""


class EvaluatorFactory(Protocol):
    """Makes the evaluator of a worker process. It is pickled: a value of a module that the worker can import."""

    def __call__(self, alone: Alone) -> Evaluator:
        """The evaluator; it measures what must not be disturbed within `alone()`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of an evaluation: what was found, or (None) the reason why nothing was; and the seconds by phase."""

    evaluation: Evaluation | None
    reason: str
    seconds: dict[str, float]


class Workers(Protocol):
    """Evaluates up to `num_workers` candidates at once."""

    @property
    def num_workers(self) -> int:
        """How many evaluations may be under way."""

    def submit(self, key: str, candidate: Candidate, epochs: int) -> None:
        """Begins an evaluation; `key` is what `wait` calls it."""

    def wait(self) -> tuple[str, Attempt]:
        """The key and the result of an evaluation that ends next. Raises what `attempt` raises."""


class InProcess:
    """The Workers that evaluate one candidate at a time in this process."""

    num_workers = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._submitted: list[tuple[str, Candidate, int]] = []

    def submit(self, key: str, candidate: Candidate, epochs: int) -> None:
        """Keeps the candidate for `wait`."""
        self._submitted.append((key, candidate, epochs))

    def wait(self) -> tuple[str, Attempt]:
        """Evaluates what was submitted first."""
        key, candidate, epochs = self._submitted.pop(0)
        return key, attempt(self._evaluator, candidate, epochs)


def attempt(evaluator: Evaluator, candidate: Candidate, epochs: int) -> Attempt:
    """Evaluates a candidate; anything that TensorFlow raises for one network must not end the search.

    Raises UsageError and OSError: bad input and a full disk are not the candidate's fault.
    """
    started = time.perf_counter()
    try:
        evaluation = evaluator.evaluate(candidate, epochs)
    except (UsageError, OSError):
        raise
    except Exception as error:
        seconds = getattr(evaluator, "seconds", None) or {"total": time.perf_counter() - started}
        return Attempt(None, one_line(error), dict(seconds))
    return Attempt(evaluation, "", evaluation.seconds)
