"""Fashion-MNIST: a front of networks from fast to accurate, two trained at a time, found by NSGA-II.

Command: python -m pipeline.main run --config=configs/fashion_mnist_pareto.py --workdir=out/fashion_mnist_pareto

Wall time: 37 minutes on 2 cores of an AMD EPYC while other programs ran: 7 for the search, 3 to 4 for each winner.
Expected: a front of seven networks, each released as a full-integer model; 90.4 to 92.0 % of the test images right and
23 to 211 us on that host in one run. Their order after full training is not quite that of trials of three epochs: more
trials, and longer ones, give a better front. The images come from the Keras cache, Debian's dataset-fashion-mnist, or
Keras' download.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; the search trains on 10,000 images, and its winners on all without a teacher."""
    config = default_config()
    config.data.name = "fashion_mnist"
    config.search.oracle = "nsga2"
    config.search.objective = "pareto"
    config.search.objectives = ("int8_val_accuracy max", "latency_us min")
    config.search.max_trials = 30
    config.search.epochs = 3
    config.search.train_images = 10_000
    config.search.learning_rate = 3e-3
    config.search.max_macs = 4e6
    config.search.num_workers = 2
    config.search.num_winners = 7
    config.teacher.network = None
    config.train.epochs = 5
    config.train.learning_rate = 3e-3
    config.compress.recipes = ("ptq",)
    config.release.name = "fashion_mnist"
    return config
