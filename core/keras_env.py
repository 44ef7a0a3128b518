"""The only place that imports TensorFlow and tf_keras, with the settings that the whole project relies on.

`TF_USE_LEGACY_KERAS=1` must be set before TensorFlow's first import because tensorflow_model_optimization works on
Keras 2 (tf_keras) only. Op determinism costs nothing measurable on the CPU and makes a resumed run equal an undisturbed
one, weight for weight.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drops what C++ code writes to file descriptor 2 (start-up and converter notices), not Python's exceptions."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


with quiet_stderr():
    import tensorflow as tf
    import tf_keras as keras

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "quiet_stderr", "reset", "tf"]


def reset(seed: int) -> None:
    """Drops Keras' global state (graph, layer-name counters) and seeds Python, NumPy and TensorFlow.

    What is built and trained next then depends on `seed` alone, not on what the process did before.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
