"""The demonstration: a small MobileNetV2-style network for 5,000 MNIST images, searched, distilled and compressed.

Command: python -m pipeline.main run --config=configs/demo.py --workdir=out/demo

Wall time: 4 to 5 minutes on 2 cores of an AMD EPYC. Expected: 97.4 to 98.3 % of the 1,000 test images right as
full-integer models, within half a point of their float parent; about 2.8x smaller, and 2.8x to 4x smaller when
zipped. Which network wins depends on the latencies measured, and so on the computer.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The demonstration's configuration."""
    config = default_config()
    config.data.name = "mnist_5k"
    config.search.max_trials = 6
    config.search.epochs = 3
    config.search.batch_size = 32
    config.search.learning_rate = 3e-3
    config.search.target_latency_us = 60.0
    config.teacher.epochs = 10
    config.teacher.batch_size = 32
    config.train.epochs = 16
    config.train.batch_size = 32
    config.train.learning_rate = 3e-3
    config.compress.recipes = ("ptq", "qat", "pcqat")
    config.release.name = "demo"
    return config
