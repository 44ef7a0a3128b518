"""Classes of channels as units that may go, in groups from which some can be taken one after another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.structured.channels import Channels
from compress.structured.labels import Labels

Floats = npt.NDArray[np.float64]
Unit = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are in the same layers, the least important first.

    Attributes:
      units: classes that go together.
      importance: of each unit.
      layers: how many layers those are, without the gates of squeeze-excite.
      width: how many channels a unit is in the narrowest of those layers: with `width` times the units left it is what
        the multiple is about.
    """

    units: tuple[Unit, ...]
    importance: tuple[float, ...]
    layers: int
    width: int

    def steps(self, multiple: int) -> tuple[int, ...]:
        """How many units may be gone, ascending from 0, so that layers keep a multiple of that many channels.

        Where units are too wide for any, a multiple of its largest divisor that there is; in no case fewer channels.
        """
        total = len(self.units)
        enough = [gone for gone in range(1, total) if (total - gone) * self.width >= multiple]
        for divisor in range(multiple, 0, -1):
            if multiple % divisor == 0:
                steps = [gone for gone in enough if (total - gone) * self.width % divisor == 0]
                if steps:
                    return (0, *steps)
        return (0,)


def groups_of(channels: Channels, importance: Floats, equal_widths: Iterable[Sequence[Labels]]) -> tuple[Group, ...]:
    """All channels that may go. A class whose importance is not a number stays.

    `equal_widths` are tensors (several vectors of classes) that must keep equal numbers of channels: their classes are
    paired by rank, the least important of one with the least important of the others.
    """
    where: dict[int, Counter[str]] = {}
    for name in channels.producers:
        for item in channels.layers[name].output.tolist():
            where.setdefault(item, Counter())[name] += 1
    free = [i for i in sorted(where) if not channels.frozen[i] and not math.isnan(importance[i])]
    units = _paired([(i,) for i in free], importance, equal_widths)
    by_layers: dict[tuple[tuple[str, int], ...], list[Unit]] = {}
    for unit in units:
        counts = sum((where[i] for i in unit), Counter[str]())
        by_layers.setdefault(tuple(sorted(counts.items())), []).append(unit)
    groups = []
    for layers, members in by_layers.items():
        ranked = sorted(members, key=lambda unit: (_sum(unit, importance), unit))
        scores = tuple(_sum(unit, importance) for unit in ranked)
        number = sum(name not in channels.gates for name, _ in layers)
        groups.append(Group(tuple(ranked), scores, number, math.gcd(*(count for _, count in layers))))
    return tuple(groups)


def _sum(unit: Unit, importance: Floats) -> float:
    return float(sum(importance[i] for i in unit))


def _paired(units: list[Unit], importance: Floats, equal_widths: Iterable[Sequence[Labels]]) -> list[Unit]:
    """Units whose removal keeps every set of widths equal. What has no counterpart stays."""
    for vectors in equal_widths:
        counts = [Counter(vector.tolist()) for vector in vectors]
        balanced: list[Unit] = []
        partial: dict[int, dict[frozenset[int], list[Unit]]] = {}  # by how often, by vectors
        for unit in sorted(units, key=lambda unit: (_sum(unit, importance), unit)):
            found = [sum(count[i] for i in unit) for count in counts]
            holders = frozenset(place for place, times in enumerate(found) if times)
            if len(set(found)) == 1:
                balanced.append(unit)
            elif len({found[place] for place in holders}) == 1:
                partial.setdefault(max(found), {}).setdefault(holders, []).append(unit)
        for by_vectors in partial.values():
            if sorted(place for places in by_vectors for place in places) == list(range(len(vectors))):
                rows = zip(*by_vectors.values(), strict=False)
                balanced += [tuple(sorted(i for unit in row for i in unit)) for row in rows]
        units = balanced
    return units
