"""Several objectives at once: non-dominated sets, constrained domination, hypervolume. No Keras Tuner, no TensorFlow.

Deb et al. 2002, A fast and elitist multiobjective genetic algorithm: NSGA-II, https://doi.org/10.1109/4235.996017;
While et al. 2012, A fast way of calculating exact hypervolumes, https://doi.org/10.1109/TEVC.2010.2077298.

Points are rows of finite numbers, one column for each objective, smaller is better (`costs` turns the signs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.checks import in_choices
from core.errors import bad_value, one_of
from search.trials import OK, Trial, longest

Array = NDArray[np.float64]
Objectives = Sequence[tuple[str, str]]
"""Name of the metric and direction ("min" or "max") of each objective."""


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """For each point (rows) whether no other one is as good in every objective and better in one.

    Equal points do not dominate each other. Takes as many passes over the points as the front has members.
    """
    rows = _rows(points)
    result = np.zeros(len(rows), dtype=bool)
    rest = np.lexsort(rows.T[::-1]) if rows.size else np.zeros(0, dtype=np.int64)
    while len(rest):  # whatever dominates a point comes before it in lexicographic order
        first, rest = rest[0], rest[1:]
        result[first] = True
        no_better = (rows[rest] >= rows[first]).all(axis=1)
        equal = (rows[rest] == rows[first]).all(axis=1)
        rest = rest[~no_better | equal]
    return result


def domination(points: ArrayLike, violations: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Constrained domination (Deb et al., definition 1): element [i, j] tells whether point i dominates point j.

    `violations` holds the sum of the constraint violations of each point, 0 for a feasible one. The smaller violation
    dominates; among equal ones, and so among all feasible points, the objectives decide.
    """
    rows = _rows(points)
    no_worse: NDArray[np.bool_] = np.all(rows[:, None] <= rows[None], axis=2)
    better = np.logical_and(no_worse, ~no_worse.T)
    if violations is None:
        return better
    amounts = np.asarray(violations, dtype=float)
    less, equal = amounts[:, None] < amounts[None], amounts[:, None] == amounts[None]
    return np.logical_or(less, np.logical_and(equal, better))


def non_dominated_sort(points: ArrayLike, violations: ArrayLike | None = None) -> NDArray[np.int64]:
    """The front of each point: 0 for the non-dominated ones, 1 for those that only front 0 dominates, and so on."""
    dominates = domination(points, violations)
    ranks = np.full(len(dominates), -1, dtype=np.int64)
    counts = dominates.sum(axis=0)  # of those in no front yet that dominate the point
    rank = 0
    while (ranks < 0).any():
        members = (counts == 0) & (ranks < 0)
        ranks[members] = rank
        counts = counts - dominates[members].sum(axis=0)
        rank += 1
    return ranks


def crowding_distance(points: ArrayLike) -> Array:
    """How lonely each point of one front is: the normalized size of the box between its neighbours, inf at the ends."""
    rows = _rows(points)
    distance = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        values = column[order]
        distance[order[[0, -1]]] = np.inf
        if values[-1] > values[0]:
            distance[order[1:-1]] += (values[2:] - values[:-2]) / (values[-1] - values[0])
    return distance


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The exact volume of what some point dominates and `reference` (one number per objective) bounds.

    Points that are not better than the reference in every objective add nothing. Two objectives take O(n log n); more
    of them the WFG algorithm, exponential in the worst case, well under a second for a front of 100 in three.
    """
    bound = np.asarray(reference, dtype=float)
    rows = _rows(points)
    if len(rows) and rows.shape[1] != len(bound):
        raise bad_value("hypervolume: reference", reference, f"{rows.shape[1]} numbers, one for each objective")
    return _hypervolume(rows[(rows < bound).all(axis=1)] - bound) if len(rows) else 0.0


def _hypervolume(points: Array) -> float:
    """The same for the reference point 0: all coordinates are negative."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return -float(points.min())
    points = np.unique(points[non_dominated(points)], axis=0)
    if points.shape[1] == 2:  # the first ascending, so the second descending: stacked rectangles
        heights = np.diff(points[:, 1], prepend=0.0)
        return float((points[:, 0] * heights).sum())
    # What a point adds to those after it. They are better in the last objective, so in it the point itself is the limit
    # of what they share, and what they share is a volume of one dimension less.
    points = points[np.argsort(-points[:, -1], kind="stable")]
    total = 0.0
    for index, point in enumerate(points):
        shared = _hypervolume(np.maximum(points[index + 1 :, :-1], point[:-1]))
        total += -point[-1] * (float(np.prod(-point[:-1])) - shared)
    return total


def costs(metrics: Sequence[Mapping[str, float]], objectives: Objectives) -> Array:
    """One row for each of `metrics`, one column for each objective, smaller is better. Raises UsageError."""
    signs = [-1.0 if _checked(direction) == "max" else 1.0 for _, direction in objectives]
    rows = [[_metric(measured, name) for name, _ in objectives] for measured in metrics]
    return np.array(rows, dtype=float).reshape(len(rows), len(signs)) * signs


def front(trials: Sequence[Trial], objectives: Objectives) -> tuple[Trial, ...]:
    """The non-dominated networks of a trial log, each once, the best in the first objective first.

    A network counts by its longest training; if that failed, it does not count at all.
    """
    measured = [trial for trial in longest(trials) if trial.status == OK]
    points = costs([trial.metrics for trial in measured], objectives)
    chosen = np.flatnonzero(non_dominated(points))
    return tuple(measured[index] for index in sorted(chosen, key=lambda index: (*points[index], index)))


def front_hypervolume(trials: Sequence[Trial], objectives: Objectives, reference: Mapping[str, float]) -> float:
    """The hypervolume of a trial log's front; `reference` has a value for each objective, in the metrics' units.

    A log can be asked at any time: for its course, ask for `trials[:1]`, `trials[:2]` and so on.
    """
    points = costs([trial.metrics for trial in front(trials, objectives)], objectives)
    return hypervolume(points, costs([reference], objectives)[0])


def _rows(points: ArrayLike) -> Array:
    rows = np.asarray(points, dtype=float)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1 if len(rows) else 0)


def _checked(direction: str) -> str:
    in_choices("objective direction", direction, ("min", "max"))
    return direction


def _metric(measured: Mapping[str, float], name: str) -> float:
    if name not in measured:
        raise bad_value("objective", name, one_of(sorted(measured)))
    return measured[name]
