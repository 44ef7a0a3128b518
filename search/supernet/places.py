"""The places of a space whose operator is searched, and the layers of each candidate. No TensorFlow here.

For a mixture of operators every candidate of a place must make the same shape of the same input. That is so in spaces
in which each block is one choice among whole blocks (search.spaces.parts.layerwise_stages).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError, bad_value
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical
from search.choice import OneOf
from search.grammar import to_text
from search.layers import Layer
from search.lowering import layers_of
from search.space import SearchSpace

STEM, HEAD = "stem", ""
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Branch:
    """What one candidate computes.

    Attributes:
      layers: in the order of execution, with names relative to the place, and "" for the place's input; none: the
        input is handed on. Equal branches have equal layers wherever they stand.
      output: the name of the layer that the next place reads, "" without layers.
    """

    layers: tuple[Layer, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the network: the stem, a block, or the head; several branches where the operator is searched.

    Attributes:
      prefix: STEM, "s{stage}_b{block}" or HEAD: what the names of its layers begin with in the built network.
      stage: the number of its stage; -1 for stem and head.
      input_shape: (height, width, channels).
      blocks: the candidates' specs, in the order of the gene's choices; () for stem and head.
      branches: what each computes.
    """

    prefix: str
    stage: int
    input_shape: Shape
    blocks: tuple[BlockSpec, ...]
    branches: tuple[Branch, ...]

    @property
    def is_searched(self) -> bool:
        """Whether there is a choice."""
        return len(self.branches) > 1

    def layer_name(self, relative: str) -> str:
        """The name in the built network of a layer of a branch."""
        return f"{self.prefix}_{relative}" if self.prefix else relative


def places_of(space: SearchSpace) -> tuple[Place, ...]:
    """Stem, blocks and head in the order of execution; the searched ones are in the order of the space's genes.

    Raises UsageError naming the first place that cannot be mixed: a choice that is not among whole blocks (a kernel
    size, a depth, a resolution, a recipe), tied places, or candidates that make different shapes.
    """
    _check_genes(space)
    networks = variants(space)
    try:
        parts = [_parts(layers_of(network), network) for network in networks]
    except CandidateError as error:
        raise UsageError(f"space {space.name}: cannot be mixed: {error}") from error
    blocks = [(STEM, -1, ()), *_blocks(space), (HEAD, -1, ())]
    places = []
    shape: Shape = (space.template.resolution, space.template.resolution, 3)
    for prefix, stage, candidates in blocks:
        branches = tuple(part[prefix] for part in parts[: max(1, len(candidates))])
        places.append(Place(prefix, stage, shape, candidates, branches))
        shape = _common_shape(space, places[-1])
    return tuple(places)


def variants(space: SearchSpace) -> tuple[ArchSpec, ...]:
    """Networks that together have every candidate: the k-th has the k-th of each place, or the last if it has fewer.

    They are not canonical: their blocks stand where the template has them.
    """
    count = max(len(candidates) for _, _, candidates in _blocks(space))
    return tuple(_variant(space.template, k) for k in range(count))


def _variant(template: ArchSpec, number: int) -> ArchSpec:
    stages = []
    for stage in template.stages:
        candidates = [_candidates(block) for block in stage.blocks]
        stages.append(dataclasses.replace(stage, blocks=tuple(c[min(number, len(c) - 1)] for c in candidates)))
    return dataclasses.replace(template, stages=tuple(stages))


def searched(places: Sequence[Place]) -> tuple[Place, ...]:
    """The places with a choice: one for each gene of the space."""
    return tuple(place for place in places if place.is_searched)


def choices_of(
    space: SearchSpace, places: Sequence[Place], arch: ArchSpec, scores: NDArray[np.floating]
) -> tuple[int, ...]:
    """The genotype that stands for `arch`: among all that decode to it the one of the greatest sum of `scores`.

    Several do, as it does not matter which places of a stage are left out; but their weights differ. `scores`
    [searched places, candidates] are the mixture's; if they are equal the first places are used.

    Raises UsageError if the space has no such network.
    """
    wanted = canonical(arch)
    rows = dict(zip((place.prefix for place in searched(places)), scores, strict=True))
    genotype: tuple[int, ...] | None = None
    if len(wanted.stages) == len(space.template.stages):
        genotype = _best_genotype(places, wanted, rows)
    if genotype is None or space.decode(genotype) != wanted:
        raise bad_value("network", to_text(arch), f"a network of space {space.name}")
    return genotype


def kept_blocks(places: Sequence[Place], genotype: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """Everything in a genotype's network that has layers: the place's number, the candidate's, and the prefix of its
    layers' names in the canonical network, which has no blocks that do nothing."""
    chosen = iter(genotype)
    count: Counter[int] = Counter()
    for number, place in enumerate(places):
        k = next(chosen) if place.is_searched else 0
        if not place.branches[k].layers:
            continue
        yield number, k, place.prefix if place.stage < 0 else f"s{place.stage}_b{count[place.stage]}"
        count[place.stage] += 1


def _best_genotype(
    places: Sequence[Place], wanted: ArchSpec, rows: dict[str, NDArray[np.floating]]
) -> tuple[int, ...] | None:
    try:
        parts = _parts(layers_of(wanted), wanted)
    except CandidateError:
        return None
    genotype: tuple[int, ...] = ()
    for number, stage in enumerate(wanted.stages):
        own = [place for place in places if place.stage == number]
        branches = [parts[f"s{number}_b{block}"] for block in range(stage.depth)]
        found = _best_of_stage(own, [branch for branch in branches if branch.layers], rows)
        if found is None:
            return None
        genotype += found
    return genotype


def _best_of_stage(
    places: Sequence[Place], wanted: Sequence[Branch], rows: dict[str, NDArray[np.floating]]
) -> tuple[int, ...] | None:
    """The best choices that leave exactly the wanted branches, by dynamic programming from the last place on."""
    # best[j]: score and choices of the places from here on that make the wanted branches from j on.
    best: list[tuple[float, tuple[int, ...]] | None] = [*([None] * len(wanted)), (0.0, ())]
    for place in reversed(places):
        row = rows.get(place.prefix)
        found: list[tuple[float, tuple[int, ...]] | None] = []
        for j in range(len(wanted) + 1):
            options = []
            for k, branch in enumerate(place.branches):
                makes = j < len(wanted) and branch == wanted[j]
                rest = best[j + 1] if makes else best[j] if not branch.layers else None
                if rest is not None:
                    score = 0.0 if row is None else float(row[k])
                    options.append((score + rest[0], makes, -k, ((k,) if place.is_searched else ()) + rest[1]))
            chosen = max(options, default=None)
            found.append(None if chosen is None else (chosen[0], chosen[3]))
        best = found
    return None if best[0] is None else best[0][1]


def _check_genes(space: SearchSpace) -> None:
    legal = "expected choices among whole blocks alone, as in proxyless (an elastic supernet shares other choices)"
    mixable = _mixable_paths(space)
    for gene in space.genes:
        if gene.path not in mixable:
            raise UsageError(f"space {space.name}: {gene.path} cannot be a mixture of operators; {legal}")
    if not space.genes or len(space.genes) != len(mixable):
        what = "two places are tied to each other" if space.genes else "nothing is searched"
        raise UsageError(f"space {space.name}: {what}; {legal}")


def _mixable_paths(space: SearchSpace) -> set[str]:
    """The paths of the blocks that are a OneOf of whole blocks; blocks beyond a fixed depth are never there."""
    found = set()
    stages: tuple[Any, ...] = space.template.stages
    for i, stage in enumerate(stages):
        if isinstance(stage, StageSpec):
            blocks: tuple[Any, ...] = stage.blocks if isinstance(stage.depth, OneOf) else stage.active
            found |= {f"stages/{i}/blocks/{j}" for j, block in enumerate(blocks) if len(_candidates(block)) > 1}
    return found


def _blocks(space: SearchSpace) -> list[tuple[str, int, tuple[BlockSpec, ...]]]:
    """Prefix, stage and candidates of each block."""
    return [
        (f"s{i}_b{j}", i, _candidates(block))
        for i, stage in enumerate(space.template.stages)
        for j, block in enumerate(stage.active)
    ]


def _candidates(block: Any) -> tuple[BlockSpec, ...]:
    return block.choices if isinstance(block, OneOf) else (block,)


def _parts(layers: Sequence[Layer], network: ArchSpec) -> dict[str, Branch]:
    """The branches of a network by the prefix of their place."""
    prefixes = [STEM, *(f"s{i}_b{j}" for i, stage in enumerate(network.stages) for j in range(stage.depth))]
    owner = {layer.name: next((p for p in prefixes if layer.name.startswith(f"{p}_")), HEAD) for layer in layers[1:]}
    return {prefix: _branch(prefix, layers, owner) for prefix in (*prefixes, HEAD)}


def _branch(prefix: str, layers: Sequence[Layer], owner: dict[str, str]) -> Branch:
    start = len(prefix) + 1 if prefix else 0
    own = [layer for layer in layers if owner.get(layer.name) == prefix]
    names = {layer.name: layer.name[start:] for layer in own}
    moved = tuple(
        dataclasses.replace(layer, name=names[layer.name], inputs=tuple(names.get(name, "") for name in layer.inputs))
        for layer in own
    )
    read = {name for layer in layers if owner.get(layer.name) != prefix for name in layer.inputs}
    outputs = [names[layer.name] for layer in own if layer.name in read] or [names[layer.name] for layer in own[-1:]]
    return Branch(moved, outputs[-1] if outputs else "")


def _common_shape(space: SearchSpace, place: Place) -> Shape:
    """The shape of the place's output. Raises UsageError if its branches make different ones."""
    shapes = [_output_shape(branch, place.input_shape) for branch in place.branches]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            texts = ["x".join(map(str, shape)) for shape in (shape, shapes[0])]
            raise UsageError(
                f"space {space.name}: {place.prefix}: candidate {number} makes {texts[0]}, candidate 0 {texts[1]}; "
                "a mixture of operators needs one shape"
            )
    return shapes[0]


def _output_shape(branch: Branch, input_shape: Shape) -> Shape:
    return next((layer.out_shape for layer in branch.layers if layer.name == branch.output), input_shape)
