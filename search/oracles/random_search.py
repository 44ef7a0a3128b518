"""Random search: Keras Tuner's own oracle (Bergstra & Bengio 2012)."""

from __future__ import annotations

import keras_tuner
from keras_tuner.oracles import RandomSearchOracle

from search.settings import SearchConfig


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle that draws each candidate uniformly, never one genotype twice."""
    return RandomSearchOracle(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=config.max_trials,
        hyperparameters=hyperparameters,
        seed=seed,
    )
