"""Recipes as a part of a search space: a text with alternatives in braces, each of which is a gene. No TensorFlow here.

"structured:{none,0.75}+prune:{none,0.5,0.75}+{ptq,qat}" stands for twelve recipes, from "ptq" to
"structured:0.75+prune:0.75+qat": a part whose choice is "none" is left out. What the words mean is not known here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import UsageError

NONE = "none"
WHERE = "config.search.recipe"
PREFIX = "recipe"  # of the genes' paths
_PART = re.compile(r"(?:(?P<word>\w+)(?::(?:\{(?P<settings>[^{}+]+)\}|(?P<setting>[^{}+]+)))?|\{(?P<words>[^{}+]+)\})")
_LEGAL = "passes joined by '+', each WORD, WORD:SETTING, WORD:{none,SETTING,...} or {WORD,WORD,...}"


@dataclass(frozen=True, slots=True)
class RecipePart:
    """One part: `choices` are texts, the whole part each; `name` is the gene's, and without alternatives unused."""

    name: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecipeTemplate:
    """A recipe with alternatives."""

    parts: tuple[RecipePart, ...]

    @property
    def genes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Path and choices of each part that has alternatives."""
        return tuple((f"{PREFIX}/{part.name}", part.choices) for part in self.parts if len(part.choices) > 1)

    @property
    def size(self) -> int:
        """How many recipes it stands for."""
        return math.prod(len(part.choices) for part in self.parts)

    def fill(self, indices: Sequence[int]) -> str:
        """The recipe that takes choice `indices[i]` at gene i."""
        left = iter(indices)
        chosen = [part.choices[next(left)] if len(part.choices) > 1 else part.choices[0] for part in self.parts]
        return "+".join(text for text in chosen if text != NONE)

    def all(self) -> Iterator[str]:
        """Every recipe of the template."""

        def of(parts: tuple[RecipePart, ...]) -> Iterator[list[str]]:
            if not parts:
                yield []
                return
            for choice in parts[0].choices:
                for rest in of(parts[1:]):
                    yield [choice, *rest]

        for chosen in of(self.parts):
            yield "+".join(text for text in chosen if text != NONE)


def parse_template(text: str, where: str = WHERE) -> RecipeTemplate:
    """The template that `text` writes. Raises UsageError naming the part that is none."""
    parts = []
    for number, item in enumerate(text.split("+"), 1):
        match = _PART.fullmatch(item)
        if match is None:
            raise UsageError(f"{where}: {text!r}, part {number} ({item!r}) cannot be read; expected {_LEGAL}")
        parts.append(_part(match))
        choices = parts[-1].choices
        if len(set(choices)) < len(choices) or any(choice.endswith(":") or not choice for choice in choices):
            raise UsageError(f"{where}: {text!r}, part {number} ({item!r}) names a choice twice, or an empty one")
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: {text!r} has two parts for {name!r}; name each pass once")
    return RecipeTemplate(tuple(parts))


def _part(match: re.Match[str]) -> RecipePart:
    if match["words"] is not None:
        return RecipePart(match["words"].replace(",", "|"), tuple(match["words"].split(",")))
    word = match["word"]
    if match["settings"] is None:
        return RecipePart(word, (match[0],))
    settings = match["settings"].split(",")
    return RecipePart(word, tuple(NONE if setting == NONE else f"{word}:{setting}" for setting in settings))
