"""The only place that imports TensorFlow and tf_keras, with the settings that the whole project relies on.

`TF_USE_LEGACY_KERAS=1` must be set before TensorFlow's first import because tensorflow_model_optimization works on
Keras 2 (tf_keras) only. Op determinism costs nothing measurable on the CPU and makes a resumed run equal an undisturbed
one, weight for weight.
"""

from __future__ import annotations

import os

from core.quiet import quiet_stderr

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


with quiet_stderr():
    import tensorflow as tf
    import tf_keras as keras

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "reset", "tf"]


def reset(seed: int) -> None:
    """Drops Keras' global state (graph, layer-name counters) and seeds Python, NumPy and TensorFlow.

    What is built and trained next then depends on `seed` alone, not on what the process did before.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
