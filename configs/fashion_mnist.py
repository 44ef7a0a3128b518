"""Fashion-MNIST: the most accurate network within 200 us on the host, from 70,000 images of 28 x 28.

Command: python -m pipeline.main run --config=configs/fashion_mnist.py --workdir=out/fashion_mnist

Wall time: 19 minutes on 2 cores of an AMD EPYC (while other programs ran). Expected: 91.1 to 91.6 % of the 10,000 test
images right as full-integer models of 63 kB, within 0.4 points of their float parent. The images come from the Keras
cache, Debian's dataset-fashion-mnist, or Keras' download.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; the search trains on 10,000 images, everything after it on all."""
    config = default_config()
    config.data.name = "fashion_mnist"
    config.search.max_trials = 6
    config.search.epochs = 3
    config.search.train_images = 10_000
    config.search.objective = "mnasnet_hard"
    config.search.target_latency_us = 200.0
    config.teacher.epochs = 8
    config.teacher.learning_rate = 3e-3
    config.train.epochs = 12
    config.train.learning_rate = 3e-3
    config.compress.recipes = ("ptq", "qat", "pcqat")
    config.compress.epochs = 2
    config.compress.learning_rate = 1e-3
    config.release.name = "fashion_mnist"
    return config
