"""What a compression pass is, and which layers it may touch."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from core.keras_env import keras

from compress.finetune import FineTune
from compress.invariants import Invariants

# Depthwise kernels are left out: few weights, each of which matters.
COMPRESSIBLE = (keras.layers.Conv2D, keras.layers.Dense)


class CompressPass(Protocol):
    """One pass over one model: `wrap`, train with `callbacks`, `strip`; made anew from its settings for each model.

    `wrap` may use the layers of the model it is given (callers pass a copy), must depend on its arguments alone, and
    must leave `earlier` true through any training. A wrapped model's weights hold the whole state of the pass, so that
    a training restored from a checkpoint goes on exactly.
    """

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model to train. `earlier` holds for `model` and must hold for what `strip` returns."""

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What must run during the training."""

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The trained model without what only the training needed."""

    def promises(self) -> Invariants:
        """What this pass adds to the invariants; valid after `wrap`."""


class NetworkPass(CompressPass, Protocol):
    """A pass that changes the network itself, not just its weights. It comes before all that do not."""

    def arch(self, before: str) -> str:
        """The grammar's text of the network that `strip` returns, "" if there is none; valid after `wrap`.

        `before` is that of the network that `wrap` was given, "" if it had none.
        """


def arch_after(compress_pass: CompressPass, before: str) -> str:
    """The grammar's text of the network after a pass."""
    change = getattr(compress_pass, "arch", None)
    return before if change is None else str(change(before))


def compressible(model: keras.Model, exclude: Sequence[str]) -> list[keras.layers.Layer]:
    """The Conv2D and Dense layers whose name matches no pattern of `exclude`."""
    return [
        layer
        for layer in model.layers
        if type(layer) in COMPRESSIBLE and not any(fnmatchcase(layer.name, pattern) for pattern in exclude)
    ]
