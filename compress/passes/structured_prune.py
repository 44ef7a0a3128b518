"""Structured pruning: whole channels, and if wanted whole residual blocks, leave the network; an ordinary one stays.

See compress.structured for how it is found out what depends on what, what matters least, and what is left.
"""

from __future__ import annotations

from core.keras_env import keras

from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.passes.contract import NetworkPass
from compress.patterns import LayerNames
from compress.settings import StructuredSettings
from compress.structured.ours import arch_text, blocks_of
from compress.structured.prune import Pruned, pruned, shapes_of


class StructuredPrune(NetworkPass):
    """The network at `fraction` of its cost. Several rounds are several passes, each of which looks anew."""

    def __init__(self, settings: StructuredSettings) -> None:
        self._settings = settings
        self._shapes: dict[str, tuple[int, int, int]] = {}
        self._removed: frozenset[tuple[int, int]] = frozenset()
        self.report: Pruned | None = None  # what went; valid after `wrap`

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The smaller network, to be trained as it is. (Of `earlier`, only its like come before.)

        Raises CandidateError if the fraction is out of reach, or naming a pattern that matches nothing.
        """
        excluded = LayerNames(model, earlier).excluded(self._settings.exclude)
        smaller, self.report = pruned(model, self._settings, fine_tune, excluded)
        self._shapes = shapes_of(smaller)
        gone = {name for layers in self.report.blocks for name in layers}
        self._removed = frozenset((i, j) for i, places in blocks_of(gone).items() for j in places)
        return smaller

    def promises(self) -> Invariants:
        """Which layers went, and which are called otherwise since."""
        assert self.report is not None
        moved = tuple((new, old) for old, new in self.report.names if new != old)
        return Invariants(origins=moved, gone=self.report.gone)

    @property
    def predicted_us(self) -> tuple[float, float] | None:
        """By the rates of the settings, if there are any."""
        return None if self.report is None else self.report.latency_us

    def arch(self, before: str) -> str:
        """The text of the smaller network of ours; "" for another or if no text can say its widths."""
        return arch_text(before, self._removed, self._shapes)
