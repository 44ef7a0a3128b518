"""Fashion-MNIST: one supernet trained once, searched in minutes; more networks for other devices come out of it later.

Command: python -m pipeline.main run --config=configs/fashion_mnist_supernet.py --workdir=out/fashion_mnist_supernet

Once-for-All's progressive shrinking trains the weights that all networks of the space share. Candidates are then judged
without training, converted and measured; the winner begins with its part of the weights and is fine-tuned. One more
network, for another budget, in minutes and without another training:

python -m pipeline.main extract --config=configs/fashion_mnist_supernet.py --workdir=out/fashion_mnist_supernet \\
    --max_macs=2e6 --out=out/fashion_mnist_2M

Wall time: not measured yet. The images come from the Keras cache, Debian's dataset-fashion-mnist, or Keras' download.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; the supernet and the winner's fine-tuning see all images."""
    config = default_config()
    config.data.name = "fashion_mnist"
    config.search.evaluator = "supernet"
    config.search.space = "ofa_small"
    config.search.oracle = "regularized_evolution"
    config.search.max_trials = 100
    config.search.objective = "mnasnet_hard"
    config.search.target_latency_us = 200.0
    config.supernet.method = "progressive"
    config.supernet.full_epochs = 4
    config.supernet.epochs = 10
    config.teacher.network = None
    config.compress.recipes = ("ptq", "qat")
    config.compress.epochs = 2
    config.compress.learning_rate = 1e-3
    config.release.name = "fashion_mnist_supernet"
    return config
