"""Channels that depend on each other, as labels: what has one label stays or goes together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


class LabelSets:
    """A union-find over channels. A vector of labels names the channels of a tensor or of an axis of a variable."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._frozen: list[bool] = []

    def fresh(self, count: int) -> Labels:
        """Labels for `count` new, independent channels."""
        start = len(self._parents)
        self._parents += range(start, start + count)
        self._frozen += [False] * count
        return np.arange(start, start + count)

    def frozen(self, count: int) -> Labels:
        """Labels for channels that must all stay."""
        labels = self.fresh(count)
        self.freeze(labels)
        return labels

    def freeze(self, labels: Labels) -> None:
        """These must stay, and so must whatever is or will be tied to them."""
        for label in np.unique(labels):
            self._frozen[self._root(int(label))] = True

    def tie(self, first: Labels, *others: Labels) -> None:
        """Channels at the same place of these vectors, all of one length, go together."""
        for other in others:
            for one, two in zip(first.tolist(), other.tolist(), strict=True):
                low, high = sorted((self._root(one), self._root(two)))
                self._parents[high] = low
                self._frozen[low] |= self._frozen[high]

    def classes(self) -> tuple[Labels, npt.NDArray[np.bool_]]:
        """(the class of each label, whether each class is frozen); classes count from 0 in the order of labels."""
        roots = np.array([self._root(label) for label in range(len(self._parents))], np.int64)
        unique, classes = np.unique(roots, return_inverse=True)
        return classes.astype(np.int64), np.array([self._frozen[root] for root in unique], np.bool_)

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label
