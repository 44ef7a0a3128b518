"""Fashion-MNIST: one supernet trained once, searched in minutes; more networks for other devices come out of it later.

Command: python -m pipeline.main run --config=configs/fashion_mnist_supernet.py --workdir=out/fashion_mnist_supernet

Once-for-All's progressive shrinking trains the weights that all networks of the space share. Candidates are then judged
without training, converted and measured; the winner begins with its part of the weights and is fine-tuned. One more
network, for another budget, in minutes and without another training:

python -m pipeline.main extract --config=configs/fashion_mnist_supernet.py --workdir=out/fashion_mnist_supernet \\
    --max_macs=2e6 --out=out/fashion_mnist_2M

Wall time: 16 min 42 s on 2 cores of an AMD EPYC (beside a program of low priority), of which 7 min are the supernet's
training and 4 the search: 60 candidates judged, converted and measured; the extraction takes 4.5 min. Expected: about
92 % of the 10,000 test images right as full-integer models of some 150 kB, within half a point of their float parent;
the winner begins with 88 % of the validation images right and has over 92 % after its fine-tuning. The images come
from the Keras cache, Debian's dataset-fashion-mnist, or Keras' download.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; the supernet sees a third of the images, the winner's fine-tuning all."""
    config = default_config()
    config.data.name = "fashion_mnist"
    config.search.evaluator = "supernet"
    config.search.space = "ofa_small"
    config.search.oracle = "regularized_evolution"
    config.search.max_trials = 60
    config.search.objective = "mnasnet_hard"
    config.search.target_latency_us = 200.0
    config.supernet.method = "progressive"
    config.supernet.full_epochs = 4
    config.supernet.epochs = 10
    config.supernet.train_images = 20_000
    config.teacher.network = None
    config.compress.recipes = ("ptq", "qat")
    config.compress.epochs = 2
    config.compress.learning_rate = 1e-3
    config.release.name = "fashion_mnist_supernet"
    return config
