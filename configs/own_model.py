"""A Keras model of yours, pruned, clustered, quantized and released: what --model uses if no --config is given.

Command: python -m pipeline.main compress --model=FILE --data=directory:PATH

Wall time: that of fine-tuning four passes of three epochs each, and little else. Expected: full-integer files of a
quarter of the float file's size, within a point of its accuracy, if the images are those that the model was trained on.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from pipeline.config import default_config


def get_config() -> ConfigDict:
    """The configuration; the float model itself teaches its compressed successors."""
    config = default_config()
    config.teacher.network = None
    config.distill.teacher = "self"
    config.compress.recipes = ("ptq", "qat", "pcqat")
    config.compress.learning_rate = 5e-4
    config.release.name = "own_model"
    return config
