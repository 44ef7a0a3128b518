"""The distinct blocks of all networks of a search space, found without going through the networks. No TensorFlow here.

The template is walked place by place with the set of all states in which a network can arrive there: the shape of its
tensor, its width multiplier, and the choices of tied places that matter later on. So a block is found once for each
input shape that it can have, however many networks lead there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.checks import in_choices
from core.errors import CandidateError, UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.latency.blocks import DATA_TYPES, HEAD_FIELDS, BlockKey, Cut, Shape, at_width
from search.space import SearchSpace

MAX_BLOCKS = 5_000
STEM_FIELDS = ("width_multiplier", "resolution", "stem_channels", "stem_stride", "stem_activation")

_Bound = frozenset[tuple[str, Any]]  # the choices taken at tied places


@dataclass(frozen=True, slots=True)
class _State:
    """How a network may arrive at a place of the template."""

    shape: Shape
    width_multiplier: float
    bound: _Bound


def distinct_blocks(space: SearchSpace, data_type: str, limit: int = MAX_BLOCKS) -> tuple[BlockKey, ...]:
    """Every part that a network of the space may have, once, in the order of the template.

    Raises UsageError if there are more than `limit`.
    """
    in_choices("latency blocks: data type", data_type, DATA_TYPES)
    found: dict[BlockKey, None] = {}

    def add(key: BlockKey | None) -> None:
        if key is not None:
            found[key] = None
        if len(found) > limit:
            raise UsageError(
                f"space {space.name}: it has more than {limit} distinct blocks, too many to measure one by one; "
                "give fewer choices (one resolution, say), or learn a predictor from whole networks"
            )

    _Walk(space.template, data_type, add).run()
    return tuple(found)


class _Walk:
    """One walk through a template; `add` is told each key as it is met, None for a part without layers."""

    def __init__(self, template: ArchSpec, data_type: str, add: Callable[[BlockKey | None], None]) -> None:
        self._template = template
        self._cut = Cut(template.norm, template.form, data_type)
        self._add = add

    def run(self) -> None:
        """Walks from the image to the scores."""
        states = set(self._after_stem())
        head = tuple(getattr(self._template, name) for name in HEAD_FIELDS)
        later = [_ties(stage) for stage in self._template.stages] + [_ties(head)]
        for index, stage in enumerate(self._template.stages):
            states = self._after_stage(states, stage, frozenset[str]().union(*later[index + 1 :]))
        for state in states:
            for values, _ in _alternatives(head, state.bound):
                arch = self._concrete(dict(zip(HEAD_FIELDS, values, strict=True)))
                self._try(functools.partial(self._head, state.shape, arch))

    def _head(self, shape: Shape, arch: ArchSpec) -> tuple[BlockKey, Shape]:
        return self._cut.head(shape, arch), shape

    def _after_stem(self) -> Iterator[_State]:
        searched = tuple(getattr(self._template, name) for name in STEM_FIELDS)
        for values, bound in _alternatives(searched, frozenset()):
            arch = self._concrete(dict(zip(STEM_FIELDS, values, strict=True)))
            shape = self._try(functools.partial(self._cut.stem, arch))
            if shape is not None:
                yield _State(shape, arch.width_multiplier, bound)

    def _concrete(self, values: Mapping[str, Any]) -> ArchSpec:
        """A network with the given ends and nothing else of the template's choices."""
        stages = (StageSpec((BlockSpec("id"),), 1),)
        return ArchSpec(**{"stem_channels": 16, "head_channels": 0, "stages": stages, **values})

    def _after_stage(self, states: set[_State], node: Any, later: frozenset[str]) -> set[_State]:
        """The states after a stage, which may be a OneOf of stages; `later` are the ties of what follows it."""
        after: set[_State] = set()
        for stage, of_stage in _taking(states, node):
            for depth, arriving in _taking(of_stage, stage.depth):
                for place, block in enumerate(stage.blocks[:depth]):
                    needed = later.union(*map(_ties, stage.blocks[place + 1 : depth]))
                    arriving = self._after_block(arriving, block, needed)
                after |= arriving
        return after

    def _after_block(self, states: set[_State], node: Any, needed: frozenset[str]) -> set[_State]:
        after: set[_State] = set()
        for state in states:
            for block, bound in _alternatives(node, state.bound):
                block = at_width(block, state.width_multiplier)
                shape = self._try(functools.partial(self._cut.block, state.shape, block))
                if shape is not None:
                    after.add(_State(shape, state.width_multiplier, _only(bound, needed)))
        return after

    def _try(self, cut: Callable[[], tuple[BlockKey | None, Shape]]) -> Shape | None:
        """Adds a key; the shape of its output, None where no network can be built so."""
        try:
            key, shape = cut()
        except CandidateError:
            return None
        self._add(key)
        return shape


def _taking(states: set[_State], node: Any) -> Iterator[tuple[Any, set[_State]]]:
    """Each choice at a place and the states in which it may be taken. What is inside a choice stays open."""
    if not isinstance(node, OneOf):
        yield node, states
        return
    for choice in node.choices:
        yield (
            choice,
            {
                dataclasses.replace(state, bound=bound)
                for state in states
                for bound in _binding(node, choice, state.bound)
            },
        )


def _binding(node: OneOf, choice: Any, bound: _Bound) -> Iterable[_Bound]:
    """The bound choices with this one too; none where its tie is bound to another."""
    if not node.tie:
        return (bound,)
    known = dict(bound)
    if node.tie in known:
        return (bound,) if known[node.tie] == choice else ()
    return (bound | {(node.tie, choice)},)


def _alternatives(node: Any, bound: _Bound) -> Iterator[tuple[Any, _Bound]]:
    """All ways to fill the OneOf places in `node`, with the choices that are bound afterwards."""
    if isinstance(node, OneOf):
        for choice in node.choices:
            for taken in _binding(node, choice, bound):
                yield from _alternatives(choice, taken)
    elif isinstance(node, tuple):
        yield from _rows(node, bound)
    elif dataclasses.is_dataclass(node) and not isinstance(node, type) and _has_choices(node):
        values = tuple(getattr(node, field.name) for field in dataclasses.fields(node))
        for filled, taken in _rows(values, bound):
            yield type(node)(*filled), taken
    else:
        yield node, bound


def _rows(values: tuple[Any, ...], bound: _Bound) -> Iterator[tuple[tuple[Any, ...], _Bound]]:
    if not values:
        yield (), bound
        return
    for first, taken in _alternatives(values[0], bound):
        for rest, all_taken in _rows(values[1:], taken):
            yield (first, *rest), all_taken


def _places(node: Any) -> Iterator[OneOf]:
    """All OneOf places in a node."""
    if isinstance(node, OneOf):
        yield node
        node = node.choices
    if isinstance(node, tuple):
        for item in node:
            yield from _places(item)
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            yield from _places(getattr(node, field.name))


def _has_choices(node: Any) -> bool:
    return next(_places(node), None) is not None


def _ties(node: Any) -> frozenset[str]:
    return frozenset(place.tie for place in _places(node) if place.tie)


def _only(bound: _Bound, ties: frozenset[str]) -> _Bound:
    return frozenset(item for item in bound if item[0] in ties)
