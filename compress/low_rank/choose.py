"""Which layers are factorized, and to which rank."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compress.low_rank.options import Choice, Int64, Options
from core.errors import CandidateError


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    """To a row of a layer's options: ordered by the energy that each weight less costs."""

    loss_per_weight: float
    layer: str
    row: int


def by_energy(options: Mapping[str, Options], energy: float) -> dict[str, Choice]:
    """Of each layer the choice of fewest weights that keeps `energy` (0..1); layers without one are left out."""
    chosen = {}
    for name, rows in options.items():
        enough = np.flatnonzero(rows.energy >= energy)
        if len(enough):
            chosen[name] = rows[int(enough[0])]  # which is the smallest
    return chosen


def by_params(options: Mapping[str, Options], total: int, target: float) -> dict[str, Choice]:
    """Choices that take a network of `total` parameters down to at most `target`, at the least loss of energy.

    What passes through all layers is taken to keep the product of their energies, so the loss of a layer is -log of
    its own (the sum of what is gone would starve single layers). Going down the layers' convex frontiers of loss
    against weights, the next step is always the one of the least loss per weight: the greedy solution of the
    multiple-choice knapsack. The last step goes no further than it must.

    Raises CandidateError if the least ranks of all layers leave more than `target`.
    """
    steps = sorted(step for name, rows in options.items() for step in _frontier(name, rows))
    chosen: dict[str, Choice] = {}
    for step in steps:  # the frontiers are convex: the steps of one layer are in their order
        if total <= target:
            break
        rows = options[step.layer]
        before = chosen.get(step.layer, rows.whole).params
        room = before - (total - target)
        chosen[step.layer] = rows[_best_within(rows, room) if rows.params[step.row] <= room else step.row]
        total -= before - chosen[step.layer].params
    if total > target:
        raise CandidateError(
            f"low_rank: the least ranks of all {len(options)} layers that may be factorized leave {total} parameters, "
            f"{target:.0f} are wanted"
        )
    return chosen


def _frontier(layer: str, rows: Options) -> list[_Step]:
    """The corners of the lower convex hull of (weights less, loss), from the whole layer on."""
    corners = [(0, 0.0, -1)]
    for row in _improving(rows)[::-1]:
        point = (rows.whole.params - int(rows.params[row]), -math.log(rows.energy[row]), int(row))
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) >= _slope(corners[-1], point):
            corners.pop()
        corners.append(point)
    pairs = itertools.pairwise(corners)
    return [_Step(_slope(start, end), layer, end[2]) for start, end in pairs]


def _improving(rows: Options) -> Int64:
    """The rows that have more energy than all smaller ones; one without any is no approximation."""
    best = np.maximum.accumulate(rows.energy)
    return np.flatnonzero(np.diff(best, prepend=0.0) > 0)


def _best_within(rows: Options, params: float) -> int:
    """The row of most energy with at most `params` weights."""
    return int(np.argmax(np.where(rows.params <= params, rows.energy, -1.0)))


def _slope(start: tuple[int, float, int], end: tuple[int, float, int]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
