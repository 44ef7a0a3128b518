"""Low-rank factorization as a compression pass: the factors are fine-tuned like any other layers."""

from __future__ import annotations

from collections.abc import Sequence

from core.keras_env import keras

from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.low_rank.factorize import LayerReport, factorize
from compress.settings import LowRankSettings


class LowRank:
    """Dense layers and convolutions become two or three smaller ones where that pays.

    Attributes:
      report: what became of each layer; filled by `wrap`.
    """

    def __init__(self, settings: LowRankSettings) -> None:
        self._settings = settings
        self.report: tuple[LayerReport, ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The factorized network. (`earlier` is empty: no pass before promises anything of a kernel's values.)

        Raises CandidateError if no layer's rank pays.
        """
        factorized, self.report = factorize(model, self._settings)
        return factorized

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """None needed."""
        return ()

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The network as it was trained: nothing was wrapped."""
        return wrapped

    def promises(self) -> Invariants:
        """Nothing: the shapes of the layers say what there is to say."""
        return Invariants()

    def arch(self, before: str) -> str:
        """No text: the grammar has no word for a layer in two."""
        return ""
