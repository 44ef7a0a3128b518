"""A run of about a minute for the tests: every stage, nothing measured that enters the result.

The data set is made by the test: --config.data.name=npz:FILE.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The smallest run that has every kind of stage."""
    config = default_config()
    config.data.val_fraction = 0.2
    config.search.oracle = "random"
    config.search.cost = "macs"  # computed, so that a killed run can equal an undisturbed one
    config.search.max_trials = 2
    config.search.epochs = 1
    config.search.batch_size = 16
    config.teacher.width_multiplier = 0.25
    config.teacher.epochs = 2
    config.teacher.batch_size = 16
    config.train.epochs = 2
    config.train.batch_size = 16
    config.compress.recipes = ("ptq", "prune+qat")
    config.compress.epochs = 2
    config.compress.batch_size = 16
    config.bench.processes = 1
    config.bench.runs = 5
    config.bench.warmup_runs = 1
    config.bench.min_seconds = 0.0
    config.release.name = "tiny"
    return config
