"""What the networks of a space have in common: the places of its blocks, and at each place what its operators may be.

A place is a block's position among the *active* blocks of its stage, as layers are named ("s1_b0"): identities leave no
place of their own. All blocks of one operator at one place are a branch, and share its weights. No TensorFlow here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core.errors import bad_value
from search.arch import ArchSpec, BlockSpec, make_divisible
from search.choice import OneOf
from search.space import SearchSpace

SHARED_OPS = ("ir", "ir3", "fused")
IDENTITY = "id"


@dataclass(frozen=True, slots=True)
class Variants:
    """The blocks of one operator that may be at one place, with the sets of values that they may have.

    Attributes:
      inputs, hidden, outputs, se: numbers of channels, rising; `se` without 0.
      kernel_sizes: falling.
      has_own_width: whether a convolution of its own makes the hidden channels ("fused": takes them back), or they are
        the block's inputs ("fused": outputs); some subset of (False, True).
      has_se, has_add: whether it has a squeeze-excite, and an addition of its inputs.
    """

    op: str
    stride: int
    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    outputs: tuple[int, ...]
    se: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    activations: tuple[str, ...]
    has_own_width: frozenset[bool]
    has_se: frozenset[bool]
    has_add: frozenset[bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Position `block` of `stage`; `is_optional` if some network ends its stage before it."""

    stage: int
    block: int
    is_optional: bool
    variants: tuple[Variants, ...]

    @property
    def name(self) -> str:
        """As the layers of search.lowering begin."""
        return f"s{self.stage}_b{self.block}"


def values(node: Any) -> tuple[Any, ...]:
    """The values that a field of a template may take."""
    return node.choices if isinstance(node, OneOf) else (node,)


def widths(template: ArchSpec, *channels: Any) -> tuple[int, ...]:
    """All numbers of channels that fields of these choices may lead to, after the width multiplier; rising."""
    found = set()
    for multiplier in values(template.width_multiplier):
        for count in itertools.chain.from_iterable(map(values, channels)):
            found.add(count if multiplier == 1 else make_divisible(count * multiplier))
    return tuple(sorted(found))


def places(space: SearchSpace) -> tuple[Place, ...]:
    """All places of a space, in their order. Raises UsageError naming what cannot share weights."""
    template, found = space.template, []
    inputs = widths(template, template.stem_channels)
    for index, stage in enumerate(template.stages):
        options = [tuple(values(block)) for block in _longest(stage)]
        is_uniform, where = _is_uniform(stage), f"space {space.name}: stages/{index}"
        for place in range(len(options)):
            specs = tuple(dict.fromkeys(_specs_at(stage, place)))
            _check(where, specs, place, is_uniform)
            outputs = {spec.out_channels for spec in specs if spec.op != IDENTITY}
            keeps_width = is_uniform and place > 0
            variants = _variants(template, specs, inputs, keeps_width, where)
            found.append(Place(index, place, place >= _least_blocks(stage), variants))
            own = widths(template, *outputs)
            inputs = own if place == 0 or keeps_width else tuple(sorted({*inputs, *own}))
    return tuple(found)


def _longest(stage: Any) -> tuple[Any, ...]:
    """The blocks of the longest variant of a stage; of its identities only as many places as its others leave."""
    variants = [variant.blocks[: max(values(variant.depth))] for variant in values(stage)]
    return max(variants, key=len)


def _least_blocks(stage: Any) -> int:
    """How many active blocks each network has in a stage at least."""
    counts = []
    for variant in values(stage):
        active = variant.blocks[: min(values(variant.depth))]
        counts.append(sum(not _may_be_identity(block) for block in active))
    return min(counts)


def _may_be_identity(block: Any) -> bool:
    return any(choice.op == IDENTITY for choice in values(block))


def _specs_at(stage: Any, place: int) -> Iterator[BlockSpec]:
    """The blocks that can be number `place` of the active ones: those in that position, and those that identities
    before them can move there."""
    for variant in values(stage):
        for position, block in enumerate(variant.blocks[: max(values(variant.depth))]):
            movable = sum(map(_may_be_identity, variant.blocks[:position]))
            if place <= position <= place + movable:
                yield from values(block)


def _is_uniform(stage: Any) -> bool:
    """Whether in every network all blocks of the stage have the same output channels."""
    fields = {choice.out_channels for variant in values(stage) for block in variant.blocks for choice in values(block)}
    return len(fields) == 1 and all(not isinstance(field, OneOf) or field.tie for field in fields)


def _check(where: str, specs: Iterable[BlockSpec], place: int, is_uniform: bool) -> None:
    for spec in specs:
        if isinstance(spec.op, OneOf):
            raise bad_value(f"{where}: op", spec.op, "a choice among whole blocks where weights are shared")
        if spec.op not in (*SHARED_OPS, IDENTITY):
            raise bad_value(f"{where}: operator", spec.op, "one of ir, ir3, fused, id where weights are shared")
        if spec.op == IDENTITY and (place == 0 or values(spec.stride) != (1,) or not is_uniform):
            raise bad_value(f"{where}: operator", spec.op, "another one where a block may change the shape")


def _variants(
    template: ArchSpec, specs: Iterable[BlockSpec], inputs: tuple[int, ...], keeps_width: bool, where: str
) -> tuple[Variants, ...]:
    by_op: dict[str, list[BlockSpec]] = {}
    for spec in specs:
        if spec.op != IDENTITY:
            by_op.setdefault(spec.op, []).append(spec)
    return tuple(_variant(template, op, own, inputs, keeps_width, where) for op, own in by_op.items())


def _variant(
    template: ArchSpec, op: str, specs: list[BlockSpec], inputs: tuple[int, ...], keeps_width: bool, where: str
) -> Variants:
    strides = _of(specs, "stride")
    if len(strides) > 1:
        raise bad_value(f"{where}: strides of {op}", tuple(sorted(strides)), "one where weights are shared")
    stride = next(iter(strides))
    outputs = widths(template, *(spec.out_channels for spec in specs))
    inner = {item for spec in specs for item in _inner(op, spec, inputs, outputs)}
    squeezed = {item for spec in specs for item in _squeezed(op, spec, inputs, inner)}
    skips = _of(specs, "skip") if stride == 1 else {False}
    if not keeps_width and (inputs != outputs or len(inputs) > 1):
        skips = {False} if set(inputs).isdisjoint(outputs) else skips | {False}
    return Variants(
        op,
        stride,
        inputs,
        tuple(sorted({channels for channels, _ in inner})),
        outputs,
        tuple(sorted(squeezed - {0})),
        tuple(sorted(_of(specs, "kernel_size"), reverse=True)),
        tuple(sorted(_of(specs, "activation"))),
        has_own_width=frozenset(own for _, own in inner),
        has_se=frozenset(width > 0 for width in squeezed),
        has_add=frozenset(skips),
    )


def _of(specs: Iterable[BlockSpec], field: str) -> set[Any]:
    return {value for spec in specs for value in values(getattr(spec, field))}


def _inner(op: str, spec: BlockSpec, inputs: Iterable[int], outputs: Iterable[int]) -> Iterator[tuple[int, bool]]:
    """Hidden channels, and whether a convolution of its own (expanding or, of "fused", projecting) makes them so."""
    for hidden, expand in itertools.product(values(spec.hidden_channels), values(spec.expand_ratio)):
        if hidden:
            yield hidden, True
        elif expand == 1:
            yield from ((channels, False) for channels in (outputs if op == "fused" else inputs))
        else:
            yield from ((make_divisible(channels * expand), True) for channels in inputs)


def _squeezed(op: str, spec: BlockSpec, inputs: Iterable[int], inner: Iterable[tuple[int, bool]]) -> Iterator[int]:
    """Widths of the squeeze-excite; 0 for none."""
    for width, ratio in itertools.product(values(spec.se_channels), values(spec.se_ratio)):
        if width or not ratio:
            yield width
        elif op == "ir3":
            yield from (make_divisible(channels * ratio) for channels, _ in inner)
        else:
            yield from (max(1, int(channels * ratio)) for channels in inputs)
