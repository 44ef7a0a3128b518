"""Hyperband: Keras Tuner's own oracle (Li et al. 2018, https://jmlr.org/papers/v18/16-558.html)."""

from __future__ import annotations

import keras_tuner
from keras_tuner.oracles import HyperbandOracle

from search.settings import SearchConfig


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle that trains many candidates for few epochs and promotes the better third, up to `config.epochs`.

    The oracle itself has no limit on trials; the loop ends after `config.max_trials` or one iteration of all brackets.
    """
    return HyperbandOracle(
        objective=keras_tuner.Objective("score", "max"),
        max_epochs=config.epochs,
        factor=3,
        hyperband_iterations=1,
        hyperparameters=hyperparameters,
        seed=seed,
    )
