"""Low-rank factorization as a compression pass: the factors are fine-tuned like any other layers."""

from __future__ import annotations

from core.keras_env import keras

from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.low_rank.factorize import LayerReport, factorize
from compress.passes.contract import NetworkPass
from compress.patterns import LayerNames
from compress.settings import LowRankSettings


class LowRank(NetworkPass):
    """Dense layers and convolutions become two or three smaller ones where that pays; the grammar has no word for it.

    Attributes:
      report: what became of each layer; filled by `wrap`.
    """

    def __init__(self, settings: LowRankSettings) -> None:
        self._settings = settings
        self.report: tuple[LayerReport, ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The factorized network. (`earlier` promises nothing of a kernel's values.)

        Raises CandidateError if no layer's rank pays, or naming a pattern that matches nothing.
        """
        excluded = LayerNames(model, earlier).excluded(self._settings.exclude)
        factorized, self.report = factorize(model, self._settings, excluded)
        return factorized

    def promises(self) -> Invariants:
        """Which layer each factor is a part of."""
        return Invariants(origins=tuple((factor, row.layer) for row in self.report for factor in row.factors))
