"""A search space as Keras Tuner hyperparameters: one Choice per gene, named by the gene's path, over choice indices.

Indices are the same for choices of any type (Keras Tuner's Choice takes only one scalar type, and orders numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from search.space import Genotype, SearchSpace


def hyperparameters(space: SearchSpace) -> keras_tuner.HyperParameters:
    """All genes as ordered Choices; a gene with one choice is left out, since there is nothing to search."""
    result = keras_tuner.HyperParameters()
    for gene in space.genes:
        if len(gene.choices) > 1:
            ordered = all(isinstance(choice, (int, float)) for choice in gene.choices)
            result.Choice(gene.path, list(range(len(gene.choices))), ordered=ordered)
    return result


def genotype(space: SearchSpace, values: Mapping[str, Any]) -> Genotype:
    """The genotype that an oracle's values stand for."""
    return tuple(int(values.get(gene.path, 0)) for gene in space.genes)
