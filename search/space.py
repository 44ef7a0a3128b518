"""A search space is a template with OneOf places and one traversal that lists, fills and counts them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.errors import UsageError, bad_value
from search.arch import ArchSpec, canonical
from search.choice import OneOf

Genotype = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gene:
    """One free choice: `path` is its place in the template and its Keras Tuner hyperparameter name."""

    path: str
    choices: tuple[Any, ...]


@dataclass(frozen=True)
class SearchSpace:
    """A named template. A genotype holds one choice index per gene, in the order of `genes`."""

    name: str
    template: ArchSpec

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """All free choices, in template order; tied places count once, under the path of the first."""
        found: dict[str, Gene] = {}

        def collect(path: str, choice: OneOf) -> Any:
            known = found.setdefault(choice.tie or path, Gene(path, choice.choices))
            if known.choices != choice.choices:
                raise UsageError(f"space {self.name}: {path} is tied to {known.path} but has other choices")
            return choice

        _traverse(self.template, "", collect)
        return tuple(found.values())

    @property
    def size(self) -> int:
        """The number of genotypes (several may decode to one network)."""
        return math.prod(len(gene.choices) for gene in self.genes)

    def decode(self, genotype: Genotype) -> ArchSpec:
        """The canonical network of a genotype. Raises UsageError if it is not one of this space."""
        self.check(genotype)
        indices = dict(zip((gene.path for gene in self.genes), genotype, strict=True))
        by_tie: dict[str, int] = {}

        def fill(path: str, choice: OneOf) -> Any:
            index = by_tie.setdefault(choice.tie or path, indices.get(path, -1))
            return choice.choices[index]

        return canonical(_traverse(self.template, "", fill))

    def check(self, genotype: Genotype) -> None:
        """Raises UsageError unless there is a legal choice index for each gene."""
        genes = self.genes
        if len(genotype) != len(genes):
            raise bad_value(f"space {self.name}: genotype", genotype, f"{len(genes)} choice indices")
        for gene, index in zip(genes, genotype, strict=True):
            if type(index) is not int or not 0 <= index < len(gene.choices):
                raise bad_value(f"space {self.name}: {gene.path}", index, f"an index from 0 to {len(gene.choices) - 1}")

    def genotype(self, values: Mapping[str, Any]) -> Genotype:
        """The genotype that takes `values[path]` at each gene. Raises UsageError for a missing or illegal value."""
        indices = []
        for gene in self.genes:
            if gene.path not in values:
                raise UsageError(f"space {self.name}: no value for {gene.path}")
            value = values[gene.path]
            if value not in gene.choices:
                legal = "one of " + ", ".join(str(choice) for choice in gene.choices)
                raise bad_value(f"space {self.name}: {gene.path}", value, legal)
            indices.append(gene.choices.index(value))
        return tuple(indices)


def _traverse(node: Any, path: str, visit: Callable[[str, OneOf], Any]) -> Any:
    """A copy of `node` in which each OneOf is replaced by `visit(path, choice)`, in the order of the fields."""
    if isinstance(node, OneOf):
        return visit(path, node)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = dataclasses.fields(node)
        values = {f.name: _traverse(getattr(node, f.name), f"{path}/{f.name}".lstrip("/"), visit) for f in fields}
        return type(node)(**values)
    if isinstance(node, tuple):
        return tuple(_traverse(item, f"{path}/{index}", visit) for index, item in enumerate(node))
    return node
