"""What is known of a Keras model that a stage has made. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from compress.invariants import Invariants
from core.spec_io import from_plain
from core.workspace import read_json


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What is known of a Keras model: node.json beside the folder `model`.

    Attributes:
      arch: the grammar's text of the network, "" if there is none.
      step: the pass that made it, "float" for the training and for a user's model.
      val_accuracy: 0..1.
      macs, params: of the plain network.
      predicted_us: the latencies in microseconds that a latency table's rates predict of the network before the first
        pass that they guide, and of this one; () without such a pass.
      recipe, scheme, steps: of the recipe that a joint search found, "" and () elsewhere: there the plan knows them.
    """

    arch: str
    step: str
    val_accuracy: float
    invariants: Invariants
    macs: int
    params: int
    recipe: str = ""
    scheme: str = ""
    steps: tuple[str, ...] = ()
    predicted_us: tuple[float, ...] = ()

    def found(self, recipe: str, scheme: str, steps: tuple[str, ...]) -> NodeRecord:
        """The record of a model made by a recipe that a search found."""
        return dataclasses.replace(self, recipe=recipe, scheme=scheme, steps=steps)


def read_node(directory: Path) -> NodeRecord:
    """The record of a model-making stage."""
    return from_plain(NodeRecord, read_json(directory / "node.json"))
