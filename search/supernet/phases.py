"""What a step of supernet training may draw: the phases of progressive shrinking, and uniform sampling within one.

Once-for-All (Cai et al. 2020, arXiv:1908.09791, section 3.3) trains the largest network first and then lets kernel
size, depth and width shrink one after the other, depth and width in two steps each. Here every choice of a gene has a
*level* in each kind, 0 being the largest choice, and a phase allows the levels up to a share of the gene's last. No
TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import bad_value
from search.arch import BlockSpec, StageSpec
from search.choice import OneOf
from search.space import Gene, Genotype, SearchSpace
from search.supernet.settings import PROGRESSIVE, SupernetConfig

KERNEL, DEPTH, WIDTH, RESOLUTION, OPERATOR, FORM = "kernel", "depth", "width", "resolution", "operator", "form"
GENE_KINDS = (KERNEL, DEPTH, WIDTH, RESOLUTION, OPERATOR, FORM)
SHRINKING = (KERNEL, DEPTH, WIDTH)  # in the paper's order
SIZES = (*SHRINKING, RESOLUTION)  # the kinds in which a small choice is a part of a large one
KIND_OF_FIELD = {
    "kernel_size": KERNEL,
    "start_kernel_size": KERNEL,
    "depth": DEPTH,
    "expand_ratio": WIDTH,
    "hidden_channels": WIDTH,
    "se_channels": WIDTH,
    "out_channels": WIDTH,
    "stem_channels": WIDTH,
    "head_channels": WIDTH,
    "head_units": WIDTH,
    "width_multiplier": WIDTH,
    "resolution": RESOLUTION,
    "op": OPERATOR,
    "blocks": OPERATOR,  # a choice among whole blocks,
    "stages": OPERATOR,  # or among whole stages
}
IDENTITY = "id"
# The paper's 125 epochs of kernel sizes, 25 + 125 of depth and 25 + 125 of width: what each step has of all of them.
FIRST_STEP, LAST_STEP = 1, 5
# Peak learning rates relative to the first phase's. The later phases fine-tune weights that work already; the paper's
# own rates (0.37 of the first for kernels, 0.09 for depth and width) belong to SGD and to ten times as many epochs.
FULL_RATE, KERNEL_RATE, LATER_RATE = 1.0, 0.5, 0.5
# As search.train: a linear warm-up from a tenth of the peak, then a cosine to a hundredth.
WARMUP_SHARE, WARMUP_START, COSINE_END = 0.1, 0.1, 0.01


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the training.

    Attributes:
      free: (kind, share) of what is drawn: a gene may take the choices whose level in that kind is at most this share
        (0..1, rounded up) of its last level. Kinds that are not named stay at level 0.
      rate: peak learning rate relative to config.supernet.learning_rate.
      is_full: whether it comes before everything that shrinks; the largest network teaches the others after it.
    """

    name: str
    epochs: int
    free: tuple[tuple[str, float], ...]
    rate: float = 1.0
    is_full: bool = False

    def share(self, kind: str) -> float:
        """How much of a kind is drawn, 0..1."""
        return dict(self.free).get(kind, 0.0)


def phases(config: SupernetConfig, space: SearchSpace) -> tuple[Phase, ...]:
    """The phases of a training: one that draws from everything, unless the method is "progressive".

    Operators with weights of their own and the resolution are drawn from the first step on, as in the paper the
    resolution is; skips, squeeze-excite and activations from the end of the first phase on. Raises UsageError if there
    are fewer epochs than phases.
    """
    if config.method != PROGRESSIVE:
        return (Phase("all", config.epochs, tuple((kind, 1.0) for kind in GENE_KINDS)),)
    always = ((RESOLUTION, 1.0), (OPERATOR, 1.0))
    full = Phase("full", config.full_epochs, always, FULL_RATE, is_full=True)
    steps = _steps_of_shrinking(space) or [Phase("all", LAST_STEP, ())]
    if config.epochs < len(steps):
        legal = f"at least {len(steps)} with method {PROGRESSIVE!r}: one for each phase of space {space.name}"
        raise bad_value("config.supernet.epochs", config.epochs, legal)
    epochs = _split(config.epochs, [step.epochs for step in steps])
    shrinking = []
    free: dict[str, float] = dict((*always, (FORM, 1.0)))
    for step, count in zip(steps, epochs, strict=True):
        free |= dict(step.free)
        shrinking.append(dataclasses.replace(step, epochs=count, free=tuple(free.items())))
    return (full, *shrinking)


def _steps_of_shrinking(space: SearchSpace) -> list[Phase]:
    """Kernel in one step, depth and width in two where some gene has more than two sizes; epochs are relative."""
    steps = []
    for kind in SHRINKING:
        levels = max((levels_of(gene, kind)[1] for gene in space.genes), default=0)
        count = min(levels, 1 if kind == KERNEL else 2)
        rate = KERNEL_RATE if kind == KERNEL else LATER_RATE
        for number in range(1, count + 1):
            name = kind if count == 1 else f"{kind} {number}"
            weight = LAST_STEP if number == count else FIRST_STEP
            steps.append(Phase(name, weight, ((kind, number / count),), rate))
    return steps


def _split(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts of at least 1, the rest in proportion to the weights (by largest remainder)."""
    rest = total - len(weights)
    exact = [rest * weight / sum(weights) for weight in weights]
    parts = [1 + int(value) for value in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (exact[i] % 1, i), reverse=True)
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def levels_of(gene: Gene, kind: str) -> tuple[tuple[int, ...], int]:
    """The level of each choice of a gene in a kind, and the last level (0: all choices are alike there).

    A whole block is compared with the blocks of its own operator, which share its weights; one that does nothing is a
    step of depth.
    """
    sizes = [_size(gene, choice, kind) for choice in gene.choices]
    larger = [{other for group, other in sizes if group == own and other > size} for own, size in sizes]
    levels = tuple(len(others) for others in larger)
    return levels, max(levels)


def _size(gene: Gene, choice: Any, kind: str) -> tuple[str, tuple[float, ...]]:
    """What a choice is compared with (those of the same first item), and its size; () if it has none of that kind."""
    block = choice.blocks[0] if isinstance(choice, StageSpec) else choice
    if not isinstance(block, BlockSpec):
        return "", (float(choice),) if kind_of(gene) == kind else ()
    if kind == DEPTH:
        return "", (float(block.op != IDENTITY),)
    values = [
        getattr(block, field.name) for field in dataclasses.fields(block) if KIND_OF_FIELD.get(field.name) == kind
    ]
    return str(block.op), tuple(float(value) for value in values if not isinstance(value, OneOf))


def kind_of(gene: Gene) -> str:
    """One of GENE_KINDS, by the field of the template that the gene is in."""
    names = [part for part in gene.path.split("/") if not part.isdigit()]
    return KIND_OF_FIELD.get(names[-1], FORM)


def legal_choices(space: SearchSpace, phase: Phase) -> tuple[tuple[int, ...], ...]:
    """For each gene the indices of the choices that a phase may draw."""
    return tuple(_legal(gene, phase) for gene in space.genes)


def _legal(gene: Gene, phase: Phase) -> tuple[int, ...]:
    if kind_of(gene) == FORM and not phase.share(FORM):
        return (_largest_form(gene),)
    indices = tuple(range(len(gene.choices)))
    for kind in SIZES:
        levels, last = levels_of(gene, kind)
        highest = math.ceil(phase.share(kind) * last)
        indices = tuple(index for index in indices if levels[index] <= highest)
    return indices


def _largest_form(gene: Gene) -> int:
    """The most work: with the skip, with the widest squeeze-excite; of names (activations) the first."""
    amounts = [_amount(choice) for choice in gene.choices]
    return amounts.index(max(amounts))


def _amount(choice: Any) -> float:
    return 0.0 if isinstance(choice, str) else float(choice)


def sample(space: SearchSpace, phase: Phase, rng: np.random.Generator) -> Genotype:
    """A genotype, each gene uniformly from what the phase leaves free, the rest as large as it can be."""
    legal = legal_choices(space, phase)
    drawn = rng.integers([len(indices) for indices in legal])
    return tuple(indices[number] for indices, number in zip(legal, drawn.tolist(), strict=True))


def narrowest(space: SearchSpace, phase: Phase) -> tuple[Genotype, ...]:
    """Networks as narrow as a phase may draw them, but else as large as can be; together they have every operator."""
    options = [_narrowest(gene, legal) for gene, legal in zip(space.genes, legal_choices(space, phase), strict=True)]
    count = max((len(indices) for indices in options), default=1)
    return tuple(tuple(indices[number % len(indices)] for indices in options) for number in range(count))


def _narrowest(gene: Gene, legal: tuple[int, ...]) -> tuple[int, ...]:
    """For each operator (one, if the gene is none of operators) the narrowest of its legal choices; whatever a form
    adds is there, but no wider than need be."""
    if kind_of(gene) == FORM:
        sizes = {index: _amount(gene.choices[index]) for index in legal}
        return (min(sizes, key=lambda index: (not sizes[index], sizes[index])),)
    best: dict[str, tuple[tuple[int, ...], int]] = {}
    levels = {kind: levels_of(gene, kind)[0] for kind in SIZES}
    for index in legal:
        others = [levels[kind][index] for kind in SIZES if kind != WIDTH]
        group = _size(gene, gene.choices[index], WIDTH)[0]
        rank = (*others, -levels[WIDTH][index])
        best[group] = min(best.get(group, (rank, index)), (rank, index))
    return tuple(index for _, index in best.values())


def learning_rate(peak: float, step: int, steps: int) -> float:
    """The rate at one of a phase's steps: a linear warm-up to `peak`, then a cosine."""
    warmup = int(WARMUP_SHARE * steps)
    if step < warmup:
        return peak * (WARMUP_START + (1 - WARMUP_START) * step / warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (COSINE_END + (1 - COSINE_END) * (1 + math.cos(math.pi * done)) / 2)
