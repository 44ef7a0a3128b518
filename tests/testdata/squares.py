"""A run of a few seconds for the tests: a model of the user's, quantized; see tests/pipeline/release_runs.py.

The data set and the model are made by the test: --config.data.name=npz:FILE --config.model.file=FILE.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The smallest run that ends in a release."""
    config = default_config()
    config.data.val_fraction = 0.2
    config.teacher.network = None
    config.distill.teacher = "self"
    config.compress.recipes = ("ptq",)
    config.bench.processes = 1
    config.bench.runs = 5
    config.bench.warmup_runs = 1
    config.bench.min_seconds = 0.0
    config.release.name = "squares"
    config.release.metadata = False
    return config
