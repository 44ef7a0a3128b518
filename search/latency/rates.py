"""What operators take on a target, by their type: rates fitted to the blocks of a latency table. No TensorFlow here.

A table holds the blocks of its space and nothing else, while a pruned network has widths that no space has. So the
latency of an operator is taken as linear in its size,

    ns_per_mac * multiply-accumulates + ns_per_value * values + constant_ns,

with numbers of their own for each type, none of them negative (Lawson & Hanson 1974, Solving Least Squares Problems,
chapter 23). That tells what a channel costs in one place against another; how long a network of the space takes, the
table itself tells better.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError, bad_value
from search.arch import FORMS, NORMS
from search.latency.blocks import BLOCK, HEAD, STEM, BlockKey
from search.latency.features import Operator, operators_of
from search.latency.table import NORMAL_MAD, BlockLatency, LatencyTable

CONV, POINTWISE, DEPTHWISE, DENSE, ELEMENTWISE = "conv", "pointwise", "depthwise", "dense", "elementwise"
KINDS = (CONV, POINTWISE, DEPTHWISE, DENSE, ELEMENTWISE)
# Errors count relative to the latency, but below this part of the median block's the clock decides, not the operators.
SMALLEST = 0.1
DIGITS = 6  # of a rate: more would differ from one processor's linear algebra to another's

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatorRate:
    """What an operator of a type takes, in nanoseconds.

    Attributes:
      kind: CONV (kernels above 1x1), POINTWISE (1x1), DEPTHWISE, DENSE, or ELEMENTWISE: all others, pools among them.
      ns_per_mac: for each multiply-accumulate; 0 of ELEMENTWISE, which has none.
      ns_per_value: for each value of the output; of ELEMENTWISE of the input where that has more pixels.
      constant_ns: for each operator.
    """

    kind: str
    ns_per_mac: float
    ns_per_value: float
    constant_ns: float

    def ns(self, macs: float, values: float, operators: int = 1) -> float:
        """The time of operators with so many multiply-accumulates and values in all."""
        return self.ns_per_mac * macs + self.ns_per_value * values + self.constant_ns * operators


@dataclass(frozen=True, slots=True)
class LatencyRates:
    """The rates of a target; `fit_rates` makes them.

    Attributes:
      data_type: "int8" or "float32".
      operators: the rates of each type that the table has.
      network_us: what a network takes besides its operators.
      blocks: how many the rates were fitted to.
      residual: of the fit, as a fraction of a block's latency: a robust standard deviation.
    """

    data_type: str
    operators: tuple[OperatorRate, ...]
    network_us: float
    blocks: int
    residual: float

    def rate(self, kind: str) -> OperatorRate:
        """The rate of a type of operators. Raises CandidateError if the table has none of it."""
        found = next((rate for rate in self.operators if rate.kind == kind), None)
        if found is None:
            known = ", ".join(rate.kind for rate in self.operators)
            raise CandidateError(f"latency rates: the table has no {kind} operator to tell their latency; it has {known}")
        return found

    def operators_us(self, operators: Mapping[Operator, int]) -> float:
        """The latency of operators, each as often as it says, in microseconds. Raises CandidateError as `rate`."""
        ns = (count * self.rate(kind_of(each)).ns(each.macs, values_of(each)) for each, count in operators.items())
        return math.fsum(ns) / 1e3


def kind_of(operator: Operator) -> str:
    """The type of an operator, one of KINDS."""
    if operator.kind == "conv":
        return CONV if operator.kernel_size > 1 else POINTWISE
    return operator.kind if operator.kind in (DEPTHWISE, DENSE) else ELEMENTWISE


def values_of(operator: Operator) -> int:
    """The values that an operator's time depends on: see OperatorRate.ns_per_value."""
    height, width, channels = operator.output_shape
    if kind_of(operator) != ELEMENTWISE:
        return height * width * channels
    return max(height * width, math.prod(operator.input_shape[:2])) * channels


def fit_rates(table: LatencyTable) -> LatencyRates:
    """The rates of a table's target, by non-negative least squares over its blocks.

    What the table knows of whole networks (its fitted factor and constant) is in the rates and in `network_us`.

    Raises UsageError if the table has too few blocks, or one that is none.
    """
    factor = table.overhead.factor
    fitted = _fitted(table.blocks, table.data_type)
    rates = tuple(
        OperatorRate(kind, *(_rounded(factor * ns) for ns in (per_mac, per_value, constant)))
        for kind, per_mac, per_value, constant in fitted
    )
    plain = LatencyRates(table.data_type, rates, _rounded(max(0.0, table.overhead.constant_us)), len(table.blocks), 0.0)
    ratios = [
        plain.operators_us(operators_of(block_key(block.key))) / (factor * block.median_us)
        for block in table.blocks
        if block.median_us > 0
    ]
    residual = NORMAL_MAD * float(np.median(np.abs(np.array(ratios) - 1)))
    return LatencyRates(plain.data_type, rates, plain.network_us, plain.blocks, float(f"{residual:.2g}"))


def block_key(text: str) -> BlockKey:
    """The key that has this text (see BlockKey.text). Raises UsageError if there is none."""
    try:
        data_type, sides, token, *rest = text.split(" ")
        height, width, channels = map(int, sides.split("x"))
        classes = int(rest.pop(0)[1:]) if rest and rest[0] not in (*NORMS, *FORMS) else 0
    except ValueError:
        raise _no_block(text) from None
    norm = rest.pop(0) if rest and rest[0] in NORMS else NORMS[0]
    form = rest.pop(0) if rest and rest[0] in FORMS else FORMS[0]
    part = next((part for part in (STEM, HEAD) if token.startswith(f"{part}_")), BLOCK)
    key = BlockKey(part, height, width, channels, token, classes, norm, form, data_type)
    if key.text != text:
        raise _no_block(text)
    return key


def _no_block(text: str) -> UsageError:
    return bad_value("latency table: block", text, "a text such as 'int8 56x56x24 ir_r1_k3_s1_e6_c24'")


@functools.lru_cache(maxsize=8)
def _fitted(blocks: tuple[BlockLatency, ...], data_type: str) -> tuple[tuple[str, float, float, float], ...]:
    """(kind, nanoseconds per multiply-accumulate, per value, per operator) of each kind in the blocks."""
    bags = [operators_of(block_key(block.key)) for block in blocks]
    kinds = tuple(kind for kind in KINDS if any(kind_of(operator) == kind for bag in bags for operator in bag))
    work = np.array([_work(bag, kinds) for bag in bags])
    used = work.any(axis=0) if len(work) else np.zeros(0, np.bool_)
    if len(blocks) < max(1, int(used.sum())) or not any(block.median_us > 0 for block in blocks):
        raise UsageError(
            f"{data_type} latency table: {len(blocks)} blocks are too few to tell {int(used.sum())} rates of operators; "
            "expected at least as many, with latencies above 0 us"
        )
    found = np.zeros(len(used))
    found[used] = _non_negative(work[:, used], 1e3 * np.array([block.median_us for block in blocks]))
    return tuple((kind, *map(float, row)) for kind, row in zip(kinds, found.reshape(-1, 3), strict=True))


def _work(operators: Mapping[Operator, int], kinds: Sequence[str]) -> list[float]:
    """[3 * kinds] multiply-accumulates, values and number of a block's operators of each kind."""
    row = dict.fromkeys(kinds, (0.0, 0.0, 0.0))
    for operator, count in operators.items():
        macs, values, number = row[kind_of(operator)]
        more = operator.macs * count, values_of(operator) * count, count
        row[kind_of(operator)] = (macs + more[0], values + more[1], number + more[2])
    return [value for kind in kinds for value in row[kind]]


def _non_negative(work: Array, ns: Array) -> Array:
    """The rates that explain latencies with the least squared relative errors."""
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # takes half a second to import

    weights = 1 / np.maximum(ns, SMALLEST * np.median(ns[ns > 0]))
    rows = work * weights[:, None]
    sizes = np.linalg.norm(rows, axis=0)  # so that sums over millions and over single operators weigh alike
    found, _ = nnls(rows / sizes, ns * weights)
    return np.asarray(found / sizes, dtype=np.float64)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
