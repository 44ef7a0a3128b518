"""What a latency predictor sees of a network: the bags of things that it is made of. No TensorFlow here.

A network is described by how often it has each item (a layer of some shape, a block, a cell's operation), and each item
by numbers. search.latency.predictor takes the latency as the sum of a function of the items.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import bad_value
from core.spec_io import hashed_seed
from search.arch import ArchSpec
from search.cost import layer_costs
from search.latency.blocks import BlockKey, Shape, block_layers, blocks_of
from search.layers import KINDS

Array = NDArray[np.float64]
Item = TypeVar("Item", bound=Hashable)

LINEAR, SMOOTH, EQUAL = "linear", "smooth", "equal"
FUSED = ("input", "batch_norm", "flatten")  # layers without an operator of their own
FUSED_ACTIVATIONS = ("relu", "relu6")
OPERATORS = (*KINDS, "hswish", "swish", "sigmoid", "hard_sigmoid")
APART = 3.0  # a distance at which items have next to nothing in common: exp(-APART**2 / 2) = 0.01
DOUBLING = 0.5
# A value that is read or written takes about as long as so many multiply-accumulates. Only the order of magnitude
# matters: it weighs the prior of an operator, the measurements decide.
MACS_PER_VALUE = 8


@dataclass(frozen=True)
class Bag:
    """How often each network has each item.

    Attributes:
      name: of the kind of items.
      counts: [networks, items] numbers of the items, or of what they weigh.
      items: [items, numbers] descriptions.
      likeness: how the function of an item relates to that of another: LINEAR (it is linear in the numbers), SMOOTH (it
        changes over distances of about 1) or EQUAL (equal items alone have anything in common).
    """

    name: str
    counts: Array
    items: Array
    likeness: str


@dataclass(frozen=True)
class Features:
    """Networks, each described in several ways."""

    bags: tuple[Bag, ...]

    def __post_init__(self) -> None:
        if not self.bags or len({len(bag.counts) for bag in self.bags}) != 1:
            numbers = [len(bag.counts) for bag in self.bags]
            raise bad_value("features: networks in each bag", numbers, "one bag or more, all of as many networks")

    def __len__(self) -> int:
        return len(self.bags[0].counts)

    def rows(self, chosen: Sequence[int] | NDArray[np.int64]) -> Features:
        """Some of the networks."""
        bags = (dataclasses.replace(bag, counts=bag.counts[np.asarray(chosen, dtype=np.int64)]) for bag in self.bags)
        return Features(tuple(bags))


def bag_of(
    name: str,
    networks: Sequence[Mapping[Item, int]],
    describe: Callable[[Item], Sequence[float]],
    likeness: str,
    weight: Callable[[Item], float] = lambda item: 1.0,
) -> Bag:
    """A bag from how often each network has each item, which counts as its weight says."""
    vocabulary = {item: index for index, item in enumerate(dict.fromkeys(item for items in networks for item in items))}
    counts = np.zeros((len(networks), len(vocabulary)))
    for row, items in enumerate(networks):
        for item, count in items.items():
            counts[row, vocabulary[item]] = count
    counts *= np.array([weight(item) for item in vocabulary])
    return Bag(name, counts, np.array([describe(item) for item in vocabulary], dtype=np.float64), likeness)


def arch_features(archs: Sequence[ArchSpec]) -> Features:
    """Networks by their operators and blocks: what these cost, what shape they have, and which are equal.

    Raises UsageError if there are no networks, CandidateError for one whose shapes do not fit.
    """
    if not archs:
        raise bad_value("features: networks", archs, "one or more")
    blocks = [Counter(blocks_of(arch, "float32")) for arch in archs]
    operators = [_operators_of_all(counts) for counts in blocks]
    return Features(
        (
            bag_of("cost", operators, costs_of, LINEAR),
            bag_of("layer", operators, shape_of, SMOOTH, size_of),
            bag_of("equal layers", operators, identity_of, EQUAL, size_of),
            bag_of("equal blocks", blocks, identity_of, EQUAL, _block_size),
        )
    )


@dataclass(frozen=True, slots=True)
class Operator:
    """What decides the latency of one operator; `macs` and `weights` follow from the rest."""

    kind: str
    input_shape: Shape
    output_shape: Shape
    kernel_size: int
    stride: int
    macs: int
    weights: int

    @property
    def values_moved(self) -> int:
        """Activations read (of one input) and written."""
        return math.prod(self.input_shape) + math.prod(self.output_shape)


@functools.lru_cache(maxsize=1 << 16)
def operators_of(key: BlockKey) -> Mapping[Operator, int]:
    """How often a part of a network has each operator: its layers, but for those that are fused into others."""
    layers = block_layers(key)
    by_name = {layer.name: layer for layer in layers}
    found: Counter[Operator] = Counter()
    for item in layer_costs(layers):
        layer = item.layer
        if layer.kind not in FUSED and layer.activation not in FUSED_ACTIVATIONS:
            read = by_name[layer.inputs[0]].out_shape
            kind = layer.activation or layer.kind
            found[Operator(kind, read, layer.out_shape, layer.kernel_size, layer.stride, item.macs, item.params)] += 1
    return found


def costs_of(operator: Operator) -> tuple[float, ...]:
    """Multiply-accumulates (pointwise, spatial, depthwise), values moved and weights, in millions; 1 for the call."""
    is_dense = operator.kind in ("conv", "dense")
    macs = (
        operator.macs if is_dense and operator.kernel_size == 1 else 0,
        operator.macs if is_dense and operator.kernel_size > 1 else 0,
        operator.macs if operator.kind == "depthwise" else 0,
    )
    return (*(value / 1e6 for value in (*macs, operator.values_moved, operator.weights)), 1.0)


def size_of(operator: Operator) -> float:
    """Roughly what an operator costs, in a million multiply-accumulates."""
    return (operator.macs + MACS_PER_VALUE * operator.values_moved) / 1e6


def shape_of(operator: Operator) -> tuple[float, ...]:
    """Where an operator is among all: kinds are APART, and twice the pixels or channels are DOUBLING away."""
    kinds = (APART * (operator.kind == kind) for kind in OPERATORS)
    (height, _, channels), read = operator.output_shape, operator.input_shape[2]
    numbers = (height, read, channels, operator.kernel_size, operator.stride)
    return (*kinds, *(DOUBLING * math.log2(number) for number in numbers))


def identity_of(item: Operator | BlockKey) -> tuple[float]:
    """A number that equal items share and no others."""
    text = item.text if isinstance(item, BlockKey) else repr(item)
    return (float(hashed_seed(text)),)


def _operators_of_all(blocks: Mapping[BlockKey, int]) -> Counter[Operator]:
    total: Counter[Operator] = Counter()
    for key, count in blocks.items():
        for operator, times in operators_of(key).items():
            total[operator] += count * times
    return total


def _block_size(key: BlockKey) -> float:
    return sum(count * size_of(operator) for operator, count in operators_of(key).items())
