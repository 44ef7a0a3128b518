"""The settings of commands that only measure; what they use if no --config is given.

Command: python -m pipeline.main benchmark --models=FILE,FILE --targets=host --out=DIR

Wall time: about 3 s for each model and target on a computer, 30 s on a phone. Expected: DIR/index.html, results.json
and results.csv. Every key of config.bench can be overridden: --config.bench.processes=9.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The defaults, with an operator profile."""
    config = default_config()
    config.bench.profile = True
    return config
