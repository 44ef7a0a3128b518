"""How large a network's variables are while channels go: the cost that structured pruning lowers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from compress.structured.channels import Channels
from compress.structured.labels import Labels


class Sizes:
    """The cost ("macs" or "params") of a network's variables, as classes of channels and layers go."""

    def __init__(self, channels: Channels, metric: str) -> None:
        self._counts: list[int] = []  # channels left along each different axis
        self._places: dict[int, Counter[int]] = {}  # class -> axis -> how often
        self._factors: list[int] = []  # of each variable: what does not change
        self._axes: list[tuple[int, ...]] = []  # of each variable
        self._layers: list[str] = []  # of each variable
        self._of_axis: dict[int, list[int]] = {}  # axis -> variables
        self._gone: set[str] = set()
        known: dict[bytes, int] = {}
        for layer in channels.layers.values():
            for variable in layer.variables:
                factor = variable.positions if metric == "macs" else 1
                if factor:
                    pairs = list(zip(variable.shape, variable.axes, strict=True))
                    fixed = math.prod(side for side, axis in pairs if axis is None)
                    axes = tuple(self._axis(axis, known) for _, axis in pairs if axis is not None)
                    self._add(layer.name, factor * fixed, axes)

    def saving(self, classes: Iterable[int]) -> int:
        """What going of classes saves now."""
        counts = self._changed(classes)
        affected = {variable for axis in counts for variable in self._of_axis[axis]}
        return sum(self._size(v, {}) - self._size(v, counts) for v in affected)

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
        return sum(self._size(v, {}) for v, layer in enumerate(self._layers) if layer in chosen)

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

    def _add(self, layer: str, factor: int, axes: tuple[int, ...]) -> None:
        for axis in axes:
            self._of_axis.setdefault(axis, []).append(len(self._axes))
        self._axes.append(axes)
        self._factors.append(factor)
        self._layers.append(layer)

    def _times(self, classes: Iterable[int]) -> Counter[int]:
        return sum((self._places.get(item, Counter()) for item in classes), Counter[int]())

    def _changed(self, classes: Iterable[int]) -> dict[int, int]:
        return {axis: self._counts[axis] - times for axis, times in self._times(classes).items()}

    def _size(self, variable: int, counts: dict[int, int]) -> int:
        if self._layers[variable] in self._gone:
            return 0
        sides = (counts.get(axis, self._counts[axis]) for axis in self._axes[variable])
        return self._factors[variable] * math.prod(sides)
