"""Bayesian optimization: Keras Tuner's own oracle, a Gaussian process with an upper-confidence-bound acquisition."""

from __future__ import annotations

import keras_tuner
from keras_tuner.oracles import BayesianOptimizationOracle

from search.settings import SearchConfig


def make(config: SearchConfig, hyperparameters: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """An oracle whose first third of the trials is random.

    Keras Tuner's default of three random trials per hyperparameter is more than many budgets hold: the model would
    never be asked.
    """
    return BayesianOptimizationOracle(
        objective=keras_tuner.Objective("score", "max"),
        max_trials=config.max_trials,
        num_initial_points=max(2, config.max_trials // 3),
        hyperparameters=hyperparameters,
        seed=seed,
    )
