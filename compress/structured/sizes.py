"""How large the parts of a network are while channels go: the cost that structured pruning lowers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compress.structured.channels import Channels
from compress.structured.labels import Labels


@dataclass(frozen=True, eq=False)
class Term:
    """A part of a network's cost: `factor` times the channels left along each axis.

    Attributes:
      layer: with which it goes; "" with none.
      factor: a whole number, so that what goes and comes back leaves no rounding errors.
      axes: the classes along each axis.
    """

    layer: str
    factor: int
    axes: tuple[Labels, ...]


def terms_of(channels: Channels, metric: str) -> Iterator[Term]:
    """The "macs" or "params" of a network, a term for each variable."""
    for layer in channels.layers.values():
        for variable in layer.variables:
            pairs = list(zip(variable.shape, variable.axes, strict=True))
            fixed = math.prod(side for side, axis in pairs if axis is None)
            factor = fixed * (variable.positions if metric == "macs" else 1)
            yield Term(layer.name, factor, tuple(axis for _, axis in pairs if axis is not None))


class Sizes:
    """The cost of a network, as classes of channels and layers go."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self._counts: list[int] = []  # channels left along each different axis
        self._places: dict[int, Counter[int]] = {}  # class -> axis -> how often
        self._factors: list[int] = []  # of each term
        self._axes: list[tuple[int, ...]] = []  # of each term
        self._layers: list[str] = []  # of each term
        self._of_axis: dict[int, list[int]] = {}  # axis -> terms
        self._gone: set[str] = set()
        known: dict[bytes, int] = {}
        for term in terms:
            if term.factor:
                self._add(term, tuple(self._axis(axis, known) for axis in term.axes))

    def cost(self) -> int:
        """What is left now."""
        return sum(self._size(term, {}) for term in range(len(self._factors)))

    def saving(self, classes: Iterable[int]) -> int:
        """What going of classes saves now."""
        counts = self._changed(classes)
        affected = {term for axis in counts for term in self._of_axis[axis]}
        return sum(self._size(term, {}) - self._size(term, counts) for term in affected)

    def remove(self, classes: Iterable[int]) -> None:
        """Takes classes out."""
        for axis, count in self._changed(classes).items():
            self._counts[axis] = count

    def restore(self, classes: Iterable[int]) -> None:
        """Puts classes back."""
        for axis, times in self._times(classes).items():
            self._counts[axis] += times

    def saving_of_layers(self, names: Iterable[str]) -> int:
        """What going of whole layers saves now."""
        chosen = set(names)
        return sum(self._size(term, {}) for term, layer in enumerate(self._layers) if layer in chosen)

    def remove_layers(self, names: Iterable[str]) -> None:
        """Takes whole layers out."""
        self._gone |= set(names)

    def _axis(self, classes: Labels, known: dict[bytes, int]) -> int:
        index = known.setdefault(classes.tobytes(), len(known))
        if index == len(self._counts):
            self._counts.append(len(classes))
            for item in classes.tolist():
                self._places.setdefault(item, Counter())[index] += 1
        return index

    def _add(self, term: Term, axes: tuple[int, ...]) -> None:
        for axis in axes:
            self._of_axis.setdefault(axis, []).append(len(self._axes))
        self._axes.append(axes)
        self._factors.append(term.factor)
        self._layers.append(term.layer)

    def _times(self, classes: Iterable[int]) -> Counter[int]:
        return sum((self._places.get(item, Counter()) for item in classes), Counter[int]())

    def _changed(self, classes: Iterable[int]) -> dict[int, int]:
        return {axis: self._counts[axis] - times for axis, times in self._times(classes).items()}

    def _size(self, term: int, counts: dict[int, int]) -> int:
        if self._layers[term] in self._gone:
            return 0
        sides = (counts.get(axis, self._counts[axis]) for axis in self._axes[term])
        return self._factors[term] * math.prod(sides)
