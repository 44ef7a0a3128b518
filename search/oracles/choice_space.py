"""Any hyperparameter space as a list of axes with finitely many values; a point is one choice index per axis.

No Keras Tuner here: strategies work on genotypes, and can be run and tested against tables without an Oracle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from core.errors import bad_value, one_of
from search.space import Genotype

Condition = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Axis:
    """One hyperparameter.

    Attributes:
      name: of the hyperparameter.
      values: its legal values, in their natural order if it has one.
      ordered: whether neighbours in `values` resemble each other.
      default: the index that a configuration without this hyperparameter stands for.
      conditions: it counts only where all of them hold for the values of the earlier axes.
    """

    name: str
    values: tuple[Any, ...]
    ordered: bool = False
    default: int = 0
    conditions: tuple[Condition, ...] = field(default=(), compare=False)

    def index(self, value: Any) -> int:
        """The choice index of a value; of the nearest one on a numeric axis, whose values may be but samples."""
        if value in self.values:
            return self.values.index(value)
        if self.ordered and isinstance(value, (int, float)):
            return min(range(len(self.values)), key=lambda index: abs(self.values[index] - value))
        raise bad_value(f"hyperparameter {self.name}", value, one_of(self.values))


@dataclass(frozen=True)
class ChoiceSpace:
    """The axes in order, parents before the axes that depend on them.

    A genotype is canonical if every inactive axis has index 0: then equal configurations are equal genotypes. All
    methods return canonical genotypes.
    """

    axes: tuple[Axis, ...]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The number of values of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """The number of combinations (an upper bound of the number of configurations, if axes are conditional)."""
        return math.prod(self.lengths)

    @cached_property
    def _flat(self) -> bool:
        names = {axis.name for axis in self.axes}
        return len(names) == len(self.axes) and not any(axis.conditions for axis in self.axes)

    def values(self, genotype: Genotype) -> dict[str, Any]:
        """The values of the active axes by name."""
        result: dict[str, Any] = {}
        for axis, index in zip(self.axes, genotype, strict=True):
            if axis.name not in result and all(holds(result) for holds in axis.conditions):
                result[axis.name] = axis.values[index]
        return result

    def active(self, genotype: Genotype) -> tuple[bool, ...]:
        """For each axis whether it counts in this genotype."""
        if self._flat:
            return (True,) * len(self.axes)
        values: dict[str, Any] = {}
        result = []
        for axis, index in zip(self.axes, genotype, strict=True):
            result.append(axis.name not in values and all(holds(values) for holds in axis.conditions))
            if result[-1]:
                values[axis.name] = axis.values[index]
        return tuple(result)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The genotype with 0 at each inactive axis. Raises UsageError for an index that does not exist."""
        if len(genotype) != len(self.axes):
            raise bad_value("genotype", genotype, f"{len(self.axes)} choice indices")
        for axis, index, length in zip(self.axes, genotype, self.lengths, strict=True):
            if not 0 <= index < length:
                raise bad_value(f"genotype: {axis.name}", index, f"an index from 0 to {length - 1}")
        if self._flat:
            return tuple(map(int, genotype))
        active = self.active(genotype)
        return tuple(int(index) if on else 0 for index, on in zip(genotype, active, strict=True))

    def genotype(self, values: Mapping[str, Any]) -> Genotype:
        """The genotype of a configuration; an axis without a value has its default. Raises UsageError."""
        taken: dict[str, Any] = {}
        indices = []
        for axis in self.axes:  # several may have one name, of which the active one has the value
            is_active = axis.name not in taken and all(holds(taken) for holds in axis.conditions)
            index = axis.index(values[axis.name]) if is_active and axis.name in values else axis.default
            if is_active:
                taken[axis.name] = axis.values[index]
            indices.append(index)
        return self.canonical(tuple(indices))

    def at(self, number: int) -> Genotype:
        """The genotype with this number, 0 <= number < size, in mixed-radix order (the last axis runs fastest)."""
        indices = []
        for length in reversed(self.lengths):
            number, index = divmod(number, length)
            indices.append(index)
        return self.canonical(tuple(reversed(indices)))

    def random(self, random: np.random.Generator) -> Genotype:
        """A genotype with each active axis drawn uniformly."""
        draws = random.random(len(self.axes)).tolist()
        genotype = tuple(int(draw * length) for draw, length in zip(draws, self.lengths, strict=True))
        return genotype if self._flat else self.canonical(genotype)

    def free(self, genotype: Genotype) -> tuple[int, ...]:
        """The axes that can be changed: active and with at least two values."""
        return tuple(i for i, on in enumerate(self.active(genotype)) if on and self.lengths[i] > 1)

    def mutate(self, genotype: Genotype, random: np.random.Generator) -> Genotype:
        """The genotype with another value at one random free axis; axes that become active are drawn anew."""
        free = self.free(genotype)
        if not free:
            return genotype
        axis = free[int(random.integers(len(free)))]
        shift = 1 + int(random.integers(self.lengths[axis] - 1))
        return self._changed(genotype, axis, (genotype[axis] + shift) % self.lengths[axis], self.random(random))

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """Every genotype that differs in the value of one free axis; axes that become active get their default."""
        defaults = tuple(axis.default for axis in self.axes)
        return [
            self._changed(genotype, axis, index, defaults)
            for axis in self.free(genotype)
            for index in range(self.lengths[axis])
            if index != genotype[axis]
        ]

    def _changed(self, genotype: Genotype, axis: int, index: int, fill: Genotype) -> Genotype:
        changed = (*genotype[:axis], index, *genotype[axis + 1 :])
        if self._flat:
            return changed
        values: dict[str, Any] = {}
        result = []
        for position, was_active in enumerate(self.active(genotype)):
            item = self.axes[position]
            is_active = item.name not in values and all(holds(values) for holds in item.conditions)
            choice = (changed if was_active else fill)[position] if is_active else 0
            if is_active:
                values[item.name] = item.values[choice]
            result.append(choice)
        return tuple(result)
