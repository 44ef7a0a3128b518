"""Fashion-MNIST: networks and their compression searched together, by what the final .tflite does.

Command: python -m pipeline.main run --config=configs/fashion_mnist_joint.py --workdir=out/fashion_mnist_joint

A trial is a network and a recipe: it is trained, compressed and converted, and judged by the accuracy, the latency and
the zipped size of the .tflite. The winners are those that spread best along the front; each is trained in full and
compressed by the recipe that was found for it.

Wall time: with 8 trials and one winner (--config.search.max_trials=8 --config.search.num_winners=1) 11 min 44 s on two
cores of an AMD EPYC beside other programs, 6 min of it the search; the whole is about three times that. Expected: 89 to
90 % on the test images after pruning to 75 % and quantization-aware training, 4 to 5 times smaller zipped than float32.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; trials train on 10,000 images, winners on all of them."""
    config = default_config()
    config.data.name = "fashion_mnist"
    config.search.oracle = "nsga2"
    config.search.objective = "pareto"
    config.search.objectives = ("int8_val_accuracy max", "latency_us min", "zipped_bytes min")
    config.search.recipe = "structured:{none,0.7,0.5}+prune:{none,0.5,0.75}+cluster:{none,32,16}+{ptq,qat}"
    config.search.recipe_epochs = 1
    config.search.max_trials = 24
    config.search.epochs = 3
    config.search.train_images = 10_000
    config.search.learning_rate = 3e-3
    config.search.max_macs = 4e6
    config.search.num_workers = 2
    config.search.num_winners = 3
    config.teacher.network = None
    config.train.epochs = 5
    config.train.learning_rate = 3e-3
    config.compress.recipes = ("ptq",)
    config.compress.epochs = 2
    config.release.name = "fashion_mnist_joint"
    return config
