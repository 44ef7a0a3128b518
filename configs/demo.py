"""The demonstration: a small MobileNetV2-style network for 5,000 MNIST images, searched, distilled and compressed.

    python -m pipeline.main run --config=configs/demo.py --workdir=out/demo
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The demonstration's configuration."""
    config = default_config()
    config.data.name = "mnist_5k"
    config.search.max_trials = 6
    config.search.epochs = 2
    config.search.target_latency_us = 40.0
    config.teacher.width_multiplier = 1.5
    config.teacher.epochs = 8
    config.train.epochs = 10
    config.compress.recipes = ("ptq", "qat", "pcqat")
    config.compress.epochs = 2
    config.release.name = "demo"
    return config
