"""Winners and hypervolume of a Pareto search, by hand and against exhaustive choice."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from search.front import MARGIN, hypervolume_share, spread, winners
from search.pareto import hypervolume
from search.settings import SearchConfig
from search.trials import FAILED, OK, Trial

OBJECTIVES = (("val_accuracy", "max"), ("macs", "min"))
TRIAL = Trial(0, "0", (0,), "", "", 1, 1, OK, 0.0)


def trials(*rows: tuple[float, float] | None) -> list[Trial]:
    """Trials of (val_accuracy, macs), None for a failed one."""
    return [
        dataclasses.replace(
            TRIAL,
            index=index,
            arch_id=str(index),
            status=OK if row else FAILED,
            score=row[0] if row else -1.0,
            metrics={"val_accuracy": row[0], "macs": row[1]} if row else {},
        )
        for index, row in enumerate(rows)
    ]


LOG = trials((0.9, 10), (0.5, 1), (0.7, 4), None, (0.71, 5), (0.6, 8), (0.69, 3.9))
FRONT = [0, 4, 2, 6, 1]  # the most accurate first; 5 is dominated


def indices(found: tuple[Trial, ...]) -> list[int]:
    return [trial.index for trial in found]


def test_winners_spread_along_the_front_the_most_accurate_first() -> None:
    assert indices(spread(LOG, OBJECTIVES, 5)) == FRONT
    assert indices(spread(LOG, OBJECTIVES, 3))[::2] == [0, 1], "both ends, and one of the three in the middle"
    assert len(spread(LOG, OBJECTIVES, 1)) == 1


def test_a_front_that_is_too_short_is_filled_up_from_behind_it() -> None:
    assert indices(spread(LOG, OBJECTIVES, 6)) == [*FRONT, 5]
    assert indices(spread(LOG, OBJECTIVES, 20)) == [*FRONT, 5]
    assert spread(trials(None), OBJECTIVES, 2) == ()


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_nearly_the_best(seed: int) -> None:
    """Greedy choice of a submodular function reaches at least 1 - 1/e = 63 % of the best (Nemhauser et al. 1978)."""
    costs = np.sort(np.random.default_rng(seed).random(9))
    log = trials(*((float(1 - (1 - cost) ** 2), float(cost)) for cost in costs))
    points = np.array([[-t.metrics["val_accuracy"], t.metrics["macs"]] for t in log])
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    reference = [1 + MARGIN, 1 + MARGIN]
    chosen = indices(spread(log, OBJECTIVES, 4))
    best = max(hypervolume(points[list(some)], reference) for some in itertools.combinations(range(9), 4))
    assert hypervolume(points[chosen], reference) >= (1 - 1 / np.e) * best


def test_the_hypervolume_of_a_log_at_any_time() -> None:
    """The box of all trials is 0.4 x 9 wide; each trial of the front adds its rectangle."""
    course = [hypervolume_share(LOG[:end], OBJECTIVES, LOG) for end in range(1, len(LOG) + 1)]
    box = 0.4 * 9
    assert course[:3] == pytest.approx([0.0, 0.0, 0.2 * 6 / box])  # the ends of the front span no volume by themselves
    assert course[3] == course[2]
    assert course[4] == pytest.approx((0.2 * 6 + 0.01 * 5) / box)
    assert course[5] == course[4]
    assert course[-1] == hypervolume_share(LOG, OBJECTIVES) == pytest.approx((0.19 * 6.1 + 0.01 * 6 + 0.01 * 5) / box)
    assert course == sorted(course)
    assert hypervolume_share(LOG[:1], OBJECTIVES) == hypervolume_share(trials(None), OBJECTIVES) == 0.0


def test_the_objective_decides_what_wins() -> None:
    base = SearchConfig(oracle="nsga2", cost="macs", max_trials=7, num_winners=2)
    pareto = dataclasses.replace(base, objective="pareto", objectives=("val_accuracy max", "macs min"))
    assert indices(winners(base, LOG)) == [0, 4]
    assert set(indices(winners(pareto, LOG))) != {0, 4}
