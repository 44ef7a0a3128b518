"""Which layers a user's patterns mean. No TensorFlow here.

Patterns speak of the network before its first pass. Passes name layers anew (a block moves up where one before it goes,
a layer becomes two factors) and remove some; what is left of a layer goes by the name that it had at first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from compress.invariants import Invariants, plain_name
from compress.settings import LayerValues, value_for
from core.errors import CandidateError

if TYPE_CHECKING:
    from core.keras_env import keras

EXCLUDE = "config.compress.exclude"
LAYER_SPARSITY = "config.compress.layer_sparsity"
LAYER_CLUSTERS = "config.compress.layer_clusters"
EXAMPLES = 4


class LayerNames:
    """The layers of a network, and what they were called before the first pass."""

    def __init__(self, model: keras.Model, earlier: Invariants) -> None:
        """Args:
        earlier: of the passes before; says which layers have other names now, and which are gone.
        """
        origins = dict(earlier.origins)
        self._origins = {name: origins.get(name, name) for name in map(plain_name, model.layers)}
        self._gone = earlier.gone
        self._network = model.name

    def excluded(self, patterns: Iterable[str]) -> frozenset[str]:
        """The layers of this network that match one of the patterns of `exclude`.

        Raises CandidateError naming a pattern that matches no layer.
        """
        kept = tuple(patterns)
        self._check(kept, self._origins, EXCLUDE, "no layer")
        return frozenset(
            name for name, origin in self._origins.items() if any(fnmatchcase(origin, pattern) for pattern in kept)
        )

    def values(self, layers: Collection[str], own: LayerValues, default: float, where: str) -> dict[str, float]:
        """The number of each of `layers`: that of the first of their patterns that matches, else the default.

        Raises CandidateError naming a pattern, found in the setting `where`, that matches none of `layers`.
        """
        self._check((pattern for pattern, _ in own), layers, where, "none of the layers that this pass changes")
        return {name: value_for(self._origins[name], own, default) for name in layers}

    def _check(self, patterns: Iterable[str], layers: Collection[str], where: str, none: str) -> None:
        origins = tuple(dict.fromkeys(self._origins[name] for name in layers))
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in (*origins, *self._gone)):
                examples = ", ".join(origins[:EXAMPLES]) + (", ..." if len(origins) > EXAMPLES else "")
                raise CandidateError(
                    f"{where}: {pattern!r} matches {none} of {self._network}; expected one of {examples}"
                )
