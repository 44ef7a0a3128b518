"""A search space is a template with OneOf places and one traversal that lists, fills and counts them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError, bad_value
from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, canonical
from search.choice import OneOf
from search.recipe_space import RecipeTemplate

Genotype = tuple[int, ...]
_Fill = Callable[[Genotype], Any]


@dataclass(frozen=True, slots=True)
class Gene:
    """One free choice: `path` is its place in the template and its Keras Tuner hyperparameter name."""

    path: str
    choices: tuple[Any, ...]


@dataclass(frozen=True)
class SearchSpace:
    """A named template. A genotype holds one choice index per gene, in the order of `genes`.

    A choice may itself hold OneOf places (a whole block, say, whose kernel size is searched): their genes follow, and
    are inactive where another choice is taken. Their paths go on with the number of the choice.

    With a `recipe` template a candidate is a network and the recipe that it is compressed by; its genes come last.
    """

    name: str
    template: ArchSpec
    recipe: RecipeTemplate | None = None

    @functools.cached_property
    def genes(self) -> tuple[Gene, ...]:
        """All free choices, in template order; tied places count once, under the path of the first."""
        recipe = () if self.recipe is None else self.recipe.genes
        return (*self._plan[0], *(Gene(path, choices) for path, choices in recipe))

    @functools.cached_property
    def size(self) -> int:
        """The number of genotypes (several may decode to one network)."""
        return math.prod(len(gene.choices) for gene in self.genes)

    def decode(self, genotype: Genotype) -> ArchSpec:
        """The canonical network of a genotype. Raises UsageError if it is not one of this space."""
        self.check(genotype)
        return canonical(self._plan[1](genotype))

    def recipe_of(self, genotype: Genotype) -> str:
        """The recipe of a genotype, "" if recipes are not searched."""
        return "" if self.recipe is None else self.recipe.fill(genotype[len(self._plan[0]) :])

    def identity(self, genotype: Genotype) -> str:
        """The content id of what a genotype stands for: its network's, or that of network and recipe."""
        arch = self.decode(genotype)
        return content_id(arch if self.recipe is None else (arch, self.recipe_of(genotype)))

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

    @functools.cached_property
    def _plan(self) -> tuple[tuple[Gene, ...], _Fill]:
        """The genes, and the template as a function of the genotype: it is walked once, not for each candidate."""
        found: dict[str, tuple[int, Gene]] = {}

        def place(path: str, choice: OneOf) -> int:
            index, known = found.setdefault(choice.tie or path, (len(found), Gene(path, choice.choices)))
            if known.choices != choice.choices:
                raise UsageError(f"space {self.name}: {path} is tied to {known.path} but has other choices")
            return index

        fill = _plan(self.template, "", place)
        return tuple(gene for _, gene in found.values()), fill or (lambda genotype: self.template)


def _plan(node: Any, path: str, place: Callable[[str, OneOf], int]) -> _Fill | None:
    """The function that fills the OneOf places of `node`, in the order of its fields; None where there are none.

    `place` gives the index of a place's gene in the genotype.
    """
    if isinstance(node, OneOf):
        index = place(path, node)
        return _plan_of_choices(index, node.choices, path, place)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = dataclasses.fields(node)
        values = [getattr(node, field.name) for field in fields]
        parts = [_plan(v, f"{path}/{f.name}".lstrip("/"), place) for f, v in zip(fields, values, strict=True)]
        make: Callable[..., Any] = _block if isinstance(node, BlockSpec) else type(node)
        return _plan_of_parts(values, parts, lambda filled: make(*filled))
    if isinstance(node, tuple):
        return _plan_of_parts(node, [_plan(item, f"{path}/{i}", place) for i, item in enumerate(node)], tuple)
    return None


def _plan_of_choices(index: int, choices: Sequence[Any], path: str, place: Callable[[str, OneOf], int]) -> _Fill:
    parts = [_plan(choice, f"{path}/{number}", place) for number, choice in enumerate(choices)]

    def fill(genotype: Genotype) -> Any:
        part = parts[genotype[index]]
        return part(genotype) if part else choices[genotype[index]]

    return fill


def _plan_of_parts(
    values: Sequence[Any], parts: Sequence[_Fill | None], make: Callable[[list[Any]], Any]
) -> _Fill | None:
    if not any(parts):
        return None

    def fill(genotype: Genotype) -> Any:
        return make([part(genotype) if part else value for value, part in zip(values, parts, strict=True)])

    return fill


@functools.lru_cache(maxsize=1 << 16, typed=True)
def _block(*values: Any) -> BlockSpec:
    """A block from all its fields: made and checked once, and then the same value for all candidates."""
    return BlockSpec(*values)
