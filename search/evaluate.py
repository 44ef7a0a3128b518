"""The Evaluator protocol: how the search loop learns what a candidate is worth. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from search.arch import ArchSpec
from search.space import Genotype


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to evaluate. `seed` depends on the search's seed and the network alone, so that a network promoted to
    more epochs goes on as it began."""

    arch: ArchSpec
    arch_id: str
    genotype: Genotype
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found: metrics (accuracies 0..1, latency_us, macs, params, size_bytes) and the seconds of each phase."""

    metrics: dict[str, float]
    seconds: dict[str, float]


class Evaluator(Protocol):
    """Anything that turns a candidate into metrics: training, a table of known results, a supernet.

    An evaluator may have an attribute `seconds`, the phases of its latest evaluation: the log of a failed trial tells
    how far it came.
    """

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Evaluates a candidate trained for `epochs` in all.

        Raises CandidateError if it cannot be built, diverges or cannot be converted.
        """
