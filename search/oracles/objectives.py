"""What an oracle of a search is told to optimize."""

from __future__ import annotations

import keras_tuner

from search.objective import PARETO
from search.settings import SearchConfig


def objectives(config: SearchConfig) -> keras_tuner.Objective | list[keras_tuner.Objective]:
    """The score; of a Pareto search the list of its objectives."""
    if config.objective != PARETO:
        return keras_tuner.Objective("score", "max")
    return [keras_tuner.Objective(metric, direction) for metric, direction in config.directions]
