"""The best networks for one target out of a trained supernet: an evolutionary search in which nothing is evaluated.

Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.4): the accuracy comes from a predictor and the latency from
a table, so a search for one more device takes seconds. No TensorFlow here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.checks import in_range
from core.errors import CandidateError, LitesmithError, bad_value
from search.arch import ArchSpec
from search.sampling import LATENCY, Limit, Sampler
from search.space import Genotype, SearchSpace

POPULATION, GENERATIONS = 100, 30
PARENTS = 0.25  # of the population
MUTATED = 0.5  # of the children; the others are crossed
MUTATION_RATE = 0.1  # of each gene
# Draws for one member before the search does without it; how often it does so before it draws no more; steps towards a
# network within a tight limit.
TRIES, FAILURES, DESCENT = 50, 3, 2000

LatencyOf = Callable[[ArchSpec], float]


class Predictor(Protocol):
    """What tells accuracies (search.supernet.accuracy_predictor)."""

    def predict(self, genotypes: Sequence[Genotype]) -> NDArray[np.float64]:
        """Predicted accuracies (0..1) [n]."""


@dataclass(frozen=True, slots=True)
class Specialized:
    """A network within the limit."""

    genotype: Genotype
    arch: ArchSpec
    predicted_accuracy: float
    latency_us: float


def specialize(
    space: SearchSpace,
    predictor: Predictor,
    latency_us: LatencyOf,
    max_latency_us: float,
    *,
    seed: int,
    first: Sequence[Genotype] = (),
    population: int = POPULATION,
    generations: int = GENERATIONS,
) -> tuple[Specialized, ...]:
    """All networks within the limit that the search met, the best predicted first, each once.

    Args:
      latency_us: of a network, in microseconds; it is asked once for each network, and may raise CandidateError.
      first: genotypes that the search knows of already; those beyond the limit are left out.

    Raises UsageError if no network within the limit was found; the message tells the fastest that was.
    """
    in_range("specialize: population", population, 4, 1_000_000)
    in_range("specialize: generations", generations, 0, 1_000_000)
    search = _Search(space, predictor, latency_us, max_latency_us, random.Random(seed))
    members = search.start(population, first)
    for _ in range(generations):
        children = search.children(members[: max(2, round(PARENTS * population))], population)
        if not children:
            break
        members = sorted([*members, *children], key=_rank)[:population]
    return tuple(sorted(search.met.values(), key=_rank))


def _rank(found: Specialized) -> tuple[float, float, Genotype]:
    """Best accuracy first; of equal ones the faster."""
    return -found.predicted_accuracy, found.latency_us, found.genotype


class _Search:
    """What one search has met: networks by identity, and the latencies of all that it was asked about."""

    def __init__(
        self, space: SearchSpace, predictor: Predictor, latency_us: LatencyOf, limit_us: float, rng: random.Random
    ) -> None:
        self.met: dict[str, Specialized] = {}
        self._space, self._predictor, self._rng, self._limit_us = space, predictor, rng, limit_us
        self._ask, self._latencies = latency_us, dict[ArchSpec, float | None]()
        self._within = Sampler(space, rng, (Limit(LATENCY, 0, limit_us),), self._latency_us, TRIES)

    def start(self, count: int, first: Sequence[Genotype]) -> list[Specialized]:
        """The first population; around the fastest networks found where drawing finds none within the limit."""
        known = [genotype for genotype in first if self._is_within(genotype)]
        members = self._new(known)
        members += self._drawn(count - len(members), self._within.sample)
        if not members:
            members = self._new([self._descend()])
        near = [member.genotype for member in members]
        members += self._drawn(count - len(members), lambda: self._within.mutate(self._rng.choice(near), MUTATION_RATE))
        return sorted(members, key=_rank)

    def children(self, parents: Sequence[Specialized], count: int) -> list[Specialized]:
        """Up to `count` networks that were not met before."""

        def child() -> Genotype:
            mother, father = (self._rng.choice(parents).genotype for _ in range(2))
            if self._rng.random() < MUTATED:
                return self._within.mutate(mother, MUTATION_RATE)
            return self._within.crossover(mother, father)

        return self._drawn(count, child)

    def _drawn(self, count: int, draw: Callable[[], Genotype]) -> list[Specialized]:
        """New networks out of as many draws, fewer where hardly any draw is within the limit."""
        drawn: list[Genotype] = []
        failures = 0
        while len(drawn) < count and failures < FAILURES:
            try:
                drawn.append(draw())
            except LitesmithError:
                failures += 1
        return self._new(drawn)

    def _new(self, genotypes: Sequence[Genotype]) -> list[Specialized]:
        """Those that were not met before, with their predicted accuracies."""
        fresh = {self._space.identity(genotype): genotype for genotype in genotypes}
        fresh = {identity: genotype for identity, genotype in fresh.items() if identity not in self.met}
        if not fresh:
            return []
        accuracies = self._predictor.predict(list(fresh.values()))
        for (identity, genotype), accuracy in zip(fresh.items(), accuracies, strict=True):
            arch = self._space.decode(genotype)
            self.met[identity] = Specialized(genotype, arch, float(accuracy), self._latency_us(arch))
        return [self.met[identity] for identity in fresh]

    def _is_within(self, genotype: Genotype) -> bool:
        try:
            return self._latency_us(self._space.decode(genotype)) <= self._limit_us
        except CandidateError:
            return False

    def _latency_us(self, arch: ArchSpec) -> float:
        """The latency, asked for once. Raises CandidateError again where it did."""
        if arch not in self._latencies:
            try:
                self._latencies[arch] = self._ask(arch)
            except CandidateError:
                self._latencies[arch] = None
        found = self._latencies[arch]
        if found is None:
            raise CandidateError("the network has no latency")
        return found

    def _descend(self) -> Genotype:
        """A network within the limit, by mutations that make the fastest one faster. Raises UsageError."""
        anything = Sampler(self._space, self._rng, (Limit(LATENCY),), self._latency_us, TRIES)
        best = anything.sample()
        least_us = self._latency_us(self._space.decode(best))
        for _ in range(DESCENT):
            if least_us <= self._limit_us:
                return best
            other = anything.mutate(best, MUTATION_RATE)
            latency_us = self._latency_us(self._space.decode(other))
            if latency_us < least_us:
                best, least_us = other, latency_us
        legal = f"at least {least_us:.1f}, the latency of the fastest network found in space {self._space.name}"
        raise bad_value("max_latency_us", self._limit_us, legal)
