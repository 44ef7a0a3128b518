"""The folder where Keras keeps the data sets that it has downloaded, and its downloads."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from core.errors import UsageError, one_line
from core.progress import Reporter

# Keras sets no time-out: without one, a network that swallows packets would hang the run for minutes.
_TIMEOUT_S = 30.0


def home() -> Path:
    """Keras' folder: $KERAS_HOME, else ~/.keras."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def load(name: str, reporter: Reporter, hint: str) -> Any:
    """`((x_train, y_train), (x_test, y_test))` of tf_keras.datasets.NAME, downloaded if the cache lacks it.

    Raises UsageError that ends with `hint` (how to get the data by hand) if neither cache nor network gives it.
    """
    from core.keras_env import keras  # here, because TensorFlow takes seconds to import

    reporter.line(f"data {name}: Keras reads {home() / 'datasets'} or downloads into it")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        return getattr(keras.datasets, name).load_data(cache_dir=str(home()))
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = f"{name} is neither cached nor downloaded ({one_line(error)})"
        raise UsageError(f"config.data.name: {reason}; {hint}") from error
    finally:
        socket.setdefaulttimeout(before)
