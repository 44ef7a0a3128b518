"""From a network back to a genotype of its space; and the largest and the smallest network of a space.

`genotype_of` is how shared weights refuse a network that is not of their space. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import CandidateError, bad_value
from search.arch import OVERRIDES, ArchSpec, BlockSpec, StageSpec, canonical
from search.blocks.table import BLOCKS
from search.choice import OneOf
from search.cost import cost
from search.grammar import to_text
from search.space import Gene, Genotype, SearchSpace

IDENTITY = "id"
Taken = Mapping[str, int]  # the choice of each gene that is known: by its tie, or by its path where it has none


def genotype_of(space: SearchSpace, arch: ArchSpec) -> Genotype:
    """A genotype that decodes to `arch`; genes that the network does not show take their first choice.

    Raises UsageError if the space has no such network.
    """
    wanted = canonical(arch)
    keys = tuple(dict.fromkeys(_keys(space.template, "")))
    recipe = (0,) * (len(space.genes) - len(keys))
    for taken in _network(space.template, wanted):
        genotype = (*(taken.get(key, 0) for key in keys), *recipe)
        if space.decode(genotype) == wanted:
            return genotype
    raise bad_value("network", " ".join(to_text(wanted).split()), f"a network of space {space.name}")


@functools.lru_cache(maxsize=64)
def largest_genotype(space: SearchSpace) -> Genotype:
    """Everything as large as the space has it: expand ratios, kernels, channels, depths, resolution, squeeze-excite.

    Of operators those of the most multiply-accumulates are taken, of activations the first.
    """
    sizes = tuple(max(range(len(gene.choices)), key=lambda i: _size(gene.choices[i])) for gene in space.genes)
    return _descended(space, sizes, -1.0)


@functools.lru_cache(maxsize=64)
def smallest_genotype(space: SearchSpace) -> Genotype:
    """Everything as small as the space has it, with the skips and the activations of the largest network.

    Of operators those of the fewest multiply-accumulates are taken.
    """
    return _descended(space, tuple(_smallest(gene) for gene in space.genes), 1.0)


def _descended(space: SearchSpace, genotype: Genotype, sign: float) -> Genotype:
    """Coordinate descent over the operators by `sign` times the MACs; numbers alone do not compare two operators."""
    operators = [
        number for number, gene in enumerate(space.genes) if isinstance(gene.choices[0], BlockSpec | StageSpec)
    ]
    before: Genotype | None = None
    while genotype != before:
        before = genotype
        for number in operators:
            # The present choice first: of equals it stays.
            present = genotype[number]
            choices = sorted(range(len(space.genes[number].choices)), key=lambda index: index != present)
            changed = [(*genotype[:number], index, *genotype[number + 1 :]) for index in choices]
            genotype = min(changed, key=lambda found: _signed_macs(space, found, sign))
    return genotype


def _signed_macs(space: SearchSpace, genotype: Genotype, sign: float) -> float:
    """What the descent compares; a network that cannot be built is worse than all others."""
    try:
        return sign * cost(space.decode(genotype)).macs
    except CandidateError:
        return math.inf


def _smallest(gene: Gene) -> int:
    if isinstance(gene.choices[0], bool):
        return gene.choices.index(True)
    return min(range(len(gene.choices)), key=lambda i: _size(gene.choices[i]))


def _size(choice: Any) -> tuple[float, ...]:
    """What choices of one gene are compared by. Names are all alike."""
    block = choice.blocks[0] if isinstance(choice, StageSpec) else choice
    if isinstance(block, OneOf):
        return max(_size(inner) for inner in block.choices)
    if isinstance(block, BlockSpec):
        if block.op == IDENTITY:
            return (0.0,)
        values = (block.expand_ratio, block.hidden_channels, block.kernel_size, block.out_channels, block.se_ratio)
        return tuple(max(map(float, _values(value))) for value in values)
    return (float(block),) if isinstance(block, int | float) else (0.0,)


def _values(value: Any) -> tuple[Any, ...]:
    return value.choices if isinstance(value, OneOf) else (value,)


def _keys(node: Any, path: str) -> Iterator[str]:
    """The key of each OneOf below `node` in the order of SearchSpace.genes, ties as often as they occur."""
    if isinstance(node, OneOf):
        yield node.tie or path
        node = node.choices
    if dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            yield from _keys(getattr(node, field.name), f"{path}/{field.name}".lstrip("/"))
    elif isinstance(node, tuple):
        for index, item in enumerate(node):
            yield from _keys(item, f"{path}/{index}")


def _network(template: ArchSpec, arch: ArchSpec) -> Iterator[Taken]:
    """All ways to take the choices that the network shows."""
    active = _untold(arch)
    solutions: Iterator[Taken] = iter([{}])
    for field in dataclasses.fields(ArchSpec):
        if field.name not in ("stages", *active):
            solutions = _then(solutions, getattr(template, field.name), getattr(arch, field.name), field.name)
    if len(template.stages) != len(arch.stages):
        return iter(())
    channels = arch.scaled(arch.stem_channels) or 3
    for index, (node, stage) in enumerate(zip(template.stages, arch.stages, strict=True)):
        skips = []
        for block in stage.blocks:
            out = arch.scaled(block.out_channels) if "out_channels" in BLOCKS[block.op].fields else channels
            skips.append(block.stride == 1 and out == channels)
            channels = out
        solutions = _stages(solutions, node, stage, skips, f"stages/{index}")
    return solutions


def _untold(arch: ArchSpec) -> tuple[str, ...]:
    """The fields of a canonical network that tell nothing, as what would read them is not there."""
    has_units = arch.head_channels or arch.head_units or arch.pooling == "scores"
    stem = () if arch.stem_channels else ("stem_stride", "stem_activation")
    return stem if has_units else (*stem, "head_activation")


def _then(solutions: Iterator[Taken], node: Any, value: Any, path: str) -> Iterator[Taken]:
    """Each solution that also has `node` take `value`."""
    for taken in solutions:
        yield from _match(node, value, path, taken)


def _match(node: Any, value: Any, path: str, taken: Taken) -> Iterator[Taken]:
    if isinstance(node, OneOf):
        for index, choice in _free(node, path, taken):
            yield from _match(choice, value, f"{path}/{index}", {**taken, node.tie or path: index})
    elif isinstance(node, tuple):
        if isinstance(value, tuple) and len(node) == len(value):
            solutions: Iterator[Taken] = iter([taken])
            for index, (item, part) in enumerate(zip(node, value, strict=True)):
                solutions = _then(solutions, item, part, f"{path}/{index}")
            yield from solutions
    elif node == value:
        yield taken


def _free(node: OneOf, path: str, taken: Taken) -> Sequence[tuple[int, Any]]:
    """The choices that are still possible at a place."""
    known = taken.get(node.tie or path)
    return tuple(enumerate(node.choices)) if known is None else ((known, node.choices[known]),)


def _stages(
    solutions: Iterator[Taken], node: Any, stage: StageSpec, skips: Sequence[bool], path: str
) -> Iterator[Taken]:
    for taken in solutions:
        yield from _stage(node, stage, skips, path, taken)


def _stage(node: Any, stage: StageSpec, skips: Sequence[bool], path: str, taken: Taken) -> Iterator[Taken]:
    if isinstance(node, OneOf):
        for index, choice in _free(node, path, taken):
            yield from _stage(choice, stage, skips, f"{path}/{index}", {**taken, node.tie or path: index})
        return
    for depth in sorted(_values(node.depth)):
        for with_depth in _match(node.depth, depth, f"{path}/depth", taken):
            yield from _blocks(node.blocks[:depth], stage.blocks, skips, f"{path}/blocks", 0, with_depth)


def _blocks(
    nodes: Sequence[Any], blocks: Sequence[BlockSpec], skips: Sequence[bool], path: str, place: int, taken: Taken
) -> Iterator[Taken]:
    """Ways to make the blocks from the first places on, the others being identities that leave no trace."""
    if place == len(nodes):
        if not blocks:
            yield taken
        return
    node, here = nodes[place], f"{path}/{place}"
    if blocks:
        for with_block in _block(node, blocks[0], skips[0], here, taken):
            yield from _blocks(nodes, blocks[1:], skips[1:], path, place + 1, with_block)
    if len(nodes) - place > len(blocks):
        for with_identity in _identity(node, here, taken):
            yield from _blocks(nodes, blocks, skips, path, place + 1, with_identity)


def _identity(node: Any, path: str, taken: Taken) -> Iterator[Taken]:
    if isinstance(node, OneOf):
        for index, choice in _free(node, path, taken):
            yield from _identity(choice, f"{path}/{index}", {**taken, node.tie or path: index})
    elif node.op == IDENTITY:
        yield taken


def _block(node: Any, block: BlockSpec, is_added: bool, path: str, taken: Taken) -> Iterator[Taken]:
    """Ways to make one block: the fields that its operator reads, the skip only where the shapes allow it."""
    if isinstance(node, OneOf):
        for index, choice in _free(node, path, taken):
            yield from _block(choice, block, is_added, f"{path}/{index}", {**taken, node.tie or path: index})
        return
    solutions: Iterator[Taken] = iter([taken])
    untold = {ratio for width, ratio in OVERRIDES.items() if getattr(block, width)}
    untold |= set() if is_added else {"skip"}
    for field in ("op", *BLOCKS[block.op].fields):
        if field not in untold:
            solutions = _then(solutions, getattr(node, field), getattr(block, field), f"{path}/{field}")
    yield from solutions
