"""What can be known of a user's model file before TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path

from compress.importing.plain import plain_architecture
from compress.importing.source import fingerprint, read_model_file


def check_user_model(path: str | Path, *, allow_custom: bool, where: str) -> str:
    """The fingerprint of a file that `compress.importing.load` will take, as far as its architecture tells.

    Raises UsageError as `load_user_model` would.
    """
    file = read_model_file(path, where)
    if not allow_custom or file.keras_version == 3:
        plain_architecture(file)
    return fingerprint(path)
