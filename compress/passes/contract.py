"""What a compression pass is, and which layers it may touch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from core.keras_env import keras

from compress.finetune import FineTune
from compress.invariants import Invariants

# Depthwise kernels only where they are asked for: few weights, each of which matters.
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


class NetworkPass:
    """What passes have in common that change the network itself, not just its weights. They come before all others.

    What they return from `wrap` is trained as it is, and its shapes say all that there is to promise.
    """

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """None needed."""
        return ()

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The trained network itself: nothing was wrapped."""
        return wrapped

    def promises(self) -> Invariants:
        """Nothing of the weights' values; passes that name layers anew or remove some say which."""
        return Invariants()

    def arch(self, before: str) -> str:
        """The grammar's text of the network that `strip` returns, "" if there is none; valid after `wrap`.

        `before` is that of the network that `wrap` was given, "" if it had none.
        """
        return ""

    @property
    def predicted_us(self) -> tuple[float, float] | None:
        """The network's latency before and after, where the pass was to lower what a latency table predicts."""
        return None


def predicted_by(compress_pass: CompressPass) -> tuple[float, float] | None:
    """The latency in microseconds before and after a pass that predicts it."""
    return compress_pass.predicted_us if isinstance(compress_pass, NetworkPass) else None


def arch_after(compress_pass: CompressPass, before: str) -> str:
    """The grammar's text of the network after a pass."""
    return compress_pass.arch(before) if isinstance(compress_pass, NetworkPass) else before


def compressible(model: keras.Model, excluded: Collection[str], *, depthwise: bool = False) -> list[keras.layers.Layer]:
    """The Conv2D and Dense layers, and with `depthwise` the DepthwiseConv2D ones, but for those named in `excluded`.

    In the model's order.
    """
    kinds = (*COMPRESSIBLE, keras.layers.DepthwiseConv2D) if depthwise else COMPRESSIBLE
    return [layer for layer in model.layers if type(layer) in kinds and layer.name not in excluded]
