"""One set of weights for all networks of a space: what every way to share them can do.

Two mechanisms implement it: search.supernet.network (elastic slices) and search.supernet.mixed (candidates side by
side). What is done with trained shared weights - evaluation, specialization, extraction - knows this protocol alone.
No TensorFlow here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError, one_line
from core.workspace import atomic_write_bytes
from search.arch import ArchSpec
from search.dataset import ImageSet
from search.space import SearchSpace

if TYPE_CHECKING:
    from core.keras_env import keras


class SharedWeights(Protocol):
    """Weights of which every network of `space` has its part.

    An `arch` is what `space.decode` gives (canonical); one that is not of the space raises UsageError.
    """

    @property
    def space(self) -> SearchSpace:
        """The networks that share the weights."""

    def recalibrate(self, arch: ArchSpec, images: ImageSet) -> None:
        """Computes this network's batch-norm statistics from all of `images`; they hold until the next call."""

    def logits(self, arch: ArchSpec, images: ImageSet) -> NDArray[np.float32]:
        """float32 [n, classes], in inference mode with the statistics of the latest `recalibrate`.

        Raises LitesmithError if that was of another network, or if the weights have changed since.
        """

    def extract(self, arch: ArchSpec) -> keras.Model:
        """search.build.build(arch) with its part of the weights and the statistics of the latest `recalibrate`.

        Its outputs equal `logits` to 1e-5.
        """

    def save(self, path: Path) -> None:
        """Writes all weights to one .npz, whole or not at all."""

    def load(self, path: Path) -> None:
        """Reads what `save` wrote. Raises UsageError if the file is none, or is of another space."""


def shared_accuracy(shared: SharedWeights, arch: ArchSpec, images: ImageSet) -> float:
    """Top-1 accuracy (0..1) of a recalibrated network. Raises CandidateError if an output is not finite."""
    return accuracy_of(shared.logits(arch, images), images)


def accuracy_of(outputs: NDArray[np.float32], images: ImageSet) -> float:
    """Top-1 accuracy (0..1) of logits [n, classes]. Raises CandidateError if one is not finite."""
    if not np.isfinite(outputs).all():
        raise CandidateError("diverged: the outputs of the shared weights are not finite")
    return float(np.mean(np.argmax(outputs, axis=1) == images.labels))


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes named arrays to one .npz by rename."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    atomic_write_bytes(path, buffer.getvalue())


def load_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """The arrays of a file of `save_arrays`, which must be those of `shapes` and no others.

    Raises UsageError for a file that is missing, damaged or of another space, naming the first array that differs.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; expected shared weights (.npz)") from None
    except Exception as error:  # a torn archive raises whatever zipfile, zlib and numpy raise
        raise UsageError(f"{path}: not a file of shared weights ({one_line(error)})") from error
    for name in sorted({*shapes, *arrays}):
        found = str(arrays[name].shape) if name in arrays else "missing"
        expected = str(shapes[name]) if name in shapes else "no such array"
        if found != expected:
            raise UsageError(f"{path}: array {name!r} is {found}; expected {expected}: weights of another space")
    return arrays
