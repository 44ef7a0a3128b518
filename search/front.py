"""What a search yields: its winners, and of a Pareto search how far its front has come. No TensorFlow here.

Guerreiro, Fonseca, Paquete 2016, Greedy hypervolume subset selection in low dimensions,
https://doi.org/10.1162/EVCO_a_00188.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.objective import PARETO
from search.pareto import Array, Objectives, costs, front, hypervolume
from search.settings import SearchConfig
from search.trials import OK, Trial, best

# The reference point lies this part of the front's extent behind its worst values: then the ends of a front count too.
MARGIN = 0.1


def winners(config: SearchConfig, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The networks to train in full: those of the best scores, or those that spread best along the front."""
    if config.objective == PARETO:
        return spread(trials, config.directions, config.num_winners)
    return best(trials, config.num_winners)


def spread(trials: Sequence[Trial], objectives: Objectives, count: int) -> tuple[Trial, ...]:
    """`count` networks of the front, the best in the first objective first.

    They are chosen one after the other by the hypervolume that each adds. If the front has fewer, all of it and then
    what would be the front without it.
    """
    ahead = front(trials, objectives)
    if len(ahead) < count:
        chosen = {trial.arch_id for trial in ahead}
        rest = [trial for trial in trials if trial.arch_id not in chosen]
        return (*ahead, *spread(rest, objectives, count - len(ahead))) if ahead else ()
    points = _scaled(costs([trial.metrics for trial in ahead], objectives))
    reference = np.full(points.shape[1], 1.0 + MARGIN)
    picked: list[int] = []
    while len(picked) < count:
        left = [index for index in range(len(ahead)) if index not in picked]
        picked.append(max(left, key=lambda index: hypervolume(points[[*picked, index]], reference)))
    return tuple(ahead[index] for index in sorted(picked))


def hypervolume_share(trials: Sequence[Trial], objectives: Objectives, whole: Sequence[Trial] | None = None) -> float:
    """The hypervolume of the front, as a share (0..1) of the box between the worst and the best of each objective.

    The finished trials of `whole` (of `trials` by default) span the box; a box without volume gives 0. The course of a
    search is the share of `log[:1]`, `log[:2]` and so on of the whole log: it never falls.
    """
    finished = [trial.metrics for trial in (trials if whole is None else whole) if trial.status == OK]
    ahead = front(trials, objectives)
    if not ahead or not finished:
        return 0.0
    points = costs(finished, objectives)
    worst = points.max(axis=0)
    box = float(np.prod(worst - points.min(axis=0)))
    return hypervolume(costs([trial.metrics for trial in ahead], objectives), worst) / box if box else 0.0


def _scaled(points: Array) -> Array:
    """Each objective from 0 (best) to 1 (worst); one in which all points are equal is 0."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    return (points - low) / np.where(extent > 0, extent, 1.0)
