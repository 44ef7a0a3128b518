"""Random genotypes of a space, their mutation and their crossover, within limits of cost. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.checks import in_range
from core.errors import CandidateError, LitesmithError, UsageError, bad_value, one_of
from search.arch import ArchSpec
from search.cost import Cost, cost
from search.space import Genotype, SearchSpace

COMPUTED = tuple(field.name for field in dataclasses.fields(Cost))
LATENCY = "latency_us"
MAX_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric must be from `low` to `high`: one of search.cost.Cost's, or "latency_us"."""

    metric: str
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.metric not in (*COMPUTED, LATENCY):
            raise bad_value("limit: metric", self.metric, one_of((*COMPUTED, LATENCY)))
        if not 0 <= self.low <= self.high:
            raise bad_value(f"limit: {self.metric}", (self.low, self.high), "two numbers with 0 <= low <= high")

    def __str__(self) -> str:
        return f"{self.metric} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Sampler:
    """Draws genotypes whose networks can be built and keep the limits.

    Draws depend on the state of `rng` alone. Every method looks at no more than `max_tries` genotypes; then it raises
    LitesmithError, which tells what range of each limited metric it has seen.

    Attributes:
      latency_us: the latency of a network, where there is a limit on it. It is called only for networks that keep all
        other limits, and may raise CandidateError.
    """

    space: SearchSpace
    rng: random.Random
    limits: Sequence[Limit] = ()
    latency_us: Callable[[ArchSpec], float] | None = None
    max_tries: int = MAX_TRIES

    def __post_init__(self) -> None:
        in_range("sampler: max_tries", self.max_tries, 1, 1_000_000_000)
        if self.latency_us is None and any(limit.metric == LATENCY for limit in self.limits):
            raise UsageError(f"sampler: a limit on {LATENCY} needs a function that gives it")

    def sample(self) -> Genotype:
        """A genotype, uniformly among those that keep the limits."""
        return self._first("sample", lambda: random_genotype(self.space, self.rng))

    def mutate(self, parent: Genotype, rate: float) -> Genotype:
        """A genotype of another network, in which each gene took another choice with probability `rate` (0 to 1).

        Where the draw changes no gene, one is changed; changes that the network does not show are drawn again.
        """
        in_range("sampler: rate", rate, 0, 1)
        before = self.space.decode(parent)
        return self._first("mutate", lambda: mutated(self.space, parent, rate, self.rng), before)

    def crossover(self, mother: Genotype, father: Genotype) -> Genotype:
        """A genotype that has each gene from one of its parents, with equal odds."""
        self.space.check(mother)
        self.space.check(father)
        return self._first("crossover", lambda: crossed(mother, father, self.rng))

    def _first(self, what: str, draw: Callable[[], Genotype], before: ArchSpec | None = None) -> Genotype:
        """The first draw whose network is not `before` and keeps the limits."""
        seen: dict[str, list[float]] = {}
        unlike = 0
        for _ in range(self.max_tries):
            genotype = draw()
            arch = self.space.decode(genotype)
            unlike += arch != before
            if arch != before and self._keeps_limits(arch, seen):
                return genotype
        raise LitesmithError(self._message(what, unlike, seen))

    def _keeps_limits(self, arch: ArchSpec, seen: dict[str, list[float]]) -> bool:
        """Whether a network can be built and keeps all limits; notes its limited metrics in `seen`."""
        try:
            computed = dataclasses.asdict(cost(arch))
            keeps = [_keeps(limit, computed[limit.metric], seen) for limit in self.limits if limit.metric in computed]
            limits = [limit for limit in self.limits if limit.metric == LATENCY]
            if limits and all(keeps) and self.latency_us is not None:
                latency_us = self.latency_us(arch)
                keeps = [_keeps(limit, latency_us, seen) for limit in limits]
            return all(keeps)
        except CandidateError:
            return False

    def _message(self, what: str, unlike: int, seen: dict[str, list[float]]) -> str:
        where = f"{what}: none of {self.max_tries} genotypes of space {self.space.name}"
        if not unlike:
            return f"{where} is another network"
        if not seen:
            return f"{where} can be built"
        ranges = ", ".join(f"{metric} from {min(values):g} to {max(values):g}" for metric, values in seen.items())
        return f"{where} has {' and '.join(str(limit) for limit in self.limits)}; seen: {ranges}"


def random_genotype(space: SearchSpace, rng: random.Random) -> Genotype:
    """Any genotype, each with the same probability."""
    return tuple(rng.randrange(len(gene.choices)) for gene in space.genes)


def mutated(space: SearchSpace, parent: Genotype, rate: float, rng: random.Random) -> Genotype:
    """`parent` with other choices at some genes, at least one. Raises UsageError if the space has one genotype only."""
    free = [index for index, gene in enumerate(space.genes) if len(gene.choices) > 1]
    if not free:
        raise UsageError(f"space {space.name}: there is nothing to mutate")
    places = [index for index in free if rng.random() < rate] or [rng.choice(free)]
    child = list(parent)
    for index in places:
        other = rng.randrange(len(space.genes[index].choices) - 1)
        child[index] = other + (other >= parent[index])
    return tuple(child)


def crossed(mother: Genotype, father: Genotype, rng: random.Random) -> Genotype:
    """Each gene of one parent or the other."""
    return tuple(rng.choice(pair) for pair in zip(mother, father, strict=True))


def _keeps(limit: Limit, value: float, seen: dict[str, list[float]]) -> bool:
    seen.setdefault(limit.metric, []).append(value)
    return limit.low <= value <= limit.high
