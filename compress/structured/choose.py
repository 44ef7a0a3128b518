"""Which channels and blocks go: greedily what costs the network least for what it saves, until the target is reached.

What a group of channels loses is measured by the share of its importance that is left: weight * (1 / share - 1). For
the first channels that is their importance; it grows without bound as a group runs out, so that none is emptied for the
sake of its price alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from compress.structured.sizes import Sizes
from compress.structured.units import Group


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group of channels, and what losing all but a share of its importance weighs."""

    group: Group
    weight: float


@dataclass(frozen=True, slots=True)
class BlockCandidate:
    """A block that may go whole: its place among the network's blocks, its layers, and the damage that does."""

    index: int
    layers: tuple[str, ...]
    damage: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What goes: classes of channels, and places of blocks; `cost` is what is left."""

    classes: frozenset[int]
    blocks: tuple[int, ...]
    cost: int


@dataclass
class _Progress:
    """How far one group has gone."""

    candidate: Candidate
    steps: tuple[int, ...]
    damages: tuple[float, ...]  # after each step
    step: int = 0

    def classes(self, step: int) -> list[int]:
        """What goes in the step before `step`."""
        units = self.candidate.group.units[self.steps[step - 1] : self.steps[step]]
        return [item for unit in units for item in unit]


@dataclass
class _Search:
    sizes: Sizes
    cost: int
    target: int
    groups: list[_Progress]
    blocks: list[BlockCandidate]
    gone: list[int] = field(default_factory=list)

    def advance(self) -> bool:
        """Takes the best step; False if there is none."""
        best: tuple[float, int, _Progress | BlockCandidate] | None = None
        steps: list[_Progress | BlockCandidate] = [*self.groups, *self.blocks]
        for item in steps:
            damage, saving = self._price(item)
            if saving > 0 and (best is None or damage / saving < best[0]):
                best = damage / saving, saving, item
        if best is None:
            return False
        _, saving, item = best
        self.cost -= saving
        if isinstance(item, BlockCandidate):
            self.sizes.remove_layers(item.layers)
            self.blocks.remove(item)
            self.gone.append(item.index)
        else:
            item.step += 1
            self.sizes.remove(item.classes(item.step))
        return True

    def give_back(self) -> bool:
        """Undoes the most harmful step that the target does not need; False if it needs all."""
        best: tuple[float, int, _Progress] | None = None
        for group in self.groups:
            if group.step:
                gain = group.damages[group.step] - group.damages[group.step - 1]
                classes = group.classes(group.step)
                self.sizes.restore(classes)
                more = self.sizes.saving(classes)
                self.sizes.remove(classes)
                if self.cost + more <= self.target and (best is None or gain > best[0]):
                    best = gain, more, group
        if best is None:
            return False
        _, more, group = best
        self.sizes.restore(group.classes(group.step))
        group.step -= 1
        self.cost += more
        return True

    def _price(self, item: _Progress | BlockCandidate) -> tuple[float, int]:
        """(damage, saving) of the next step of a group, or of a block."""
        if isinstance(item, BlockCandidate):
            return item.damage, self.sizes.saving_of_layers(item.layers)
        if item.step + 1 == len(item.steps):
            return 0.0, 0
        damage = item.damages[item.step + 1] - item.damages[item.step]
        return damage, self.sizes.saving(item.classes(item.step + 1))


def choose(
    candidates: Sequence[Candidate],
    blocks: Sequence[BlockCandidate],
    sizes: Sizes,
    *,
    cost: int,
    target: int,
    multiple: int,
) -> Choice | None:
    """What to remove of a network that costs `cost`, so that at most `target` is left.

    None if all that may go is not enough. `sizes` is left as the network then is.
    """
    groups = [_progress(candidate, multiple) for candidate in candidates]
    search = _Search(sizes, cost, target, groups, list(blocks))
    while search.cost > target:
        if not search.advance():
            return None
    while search.give_back():
        pass
    classes = {item for group in groups for step in range(1, group.step + 1) for item in group.classes(step)}
    return Choice(frozenset(classes), tuple(sorted(search.gone)), search.cost)


def _progress(candidate: Candidate, multiple: int) -> _Progress:
    steps = candidate.group.steps(multiple)
    total = math.fsum(candidate.group.importance)
    left = (math.fsum(candidate.group.importance[gone:]) for gone in steps)
    damages = tuple(candidate.weight * (total / rest - 1.0) if rest > 0 else 0.0 for rest in left)
    return _Progress(candidate, steps, damages)
