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
MACS, VALUES, OPERATORS = TERMS = ("macs", "values", "operators")
Column = tuple[str, str]  # a kind and a term: what a rate multiplies
# Rates that are much the same on a processor, as far as the blocks leave it open.
ALIKE: tuple[frozenset[Column], ...] = (
    frozenset((kind, MACS) for kind in (CONV, POINTWISE, DENSE)),
    frozenset((kind, VALUES) for kind in (CONV, POINTWISE, DENSE)),
)
# How much it counts if one of them is twice the common rate, or 0: as an error of this part of all the time in the
# blocks of that one which takes most. Small, so that what the blocks tell decides.
PRIOR = 0.01
# Errors count relative to the latency, but below this part of the median block's the clock decides, not the operators.
SMALLEST = 0.1
DIGITS = 6  # of a rate: more would differ from one processor's linear algebra to another's

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatorRate:
    """What an operator of a type takes, in nanoseconds.

    Attributes:
      kind: CONV (kernels above 1x1), POINTWISE (1x1), DENSE, DEPTHWISE with its kernel such as "depthwise 3x3" (for the
        usual ones libraries have faster code than for others), or ELEMENTWISE: all others, pools among them.
      ns_per_mac: for each multiply-accumulate; 0 of ELEMENTWISE, which has none.
      ns_per_value: for each value of the output (of ELEMENTWISE: of the input where that has more pixels); 0 of
        DEPTHWISE, whose values are as many as its multiply-accumulates by the kernel's.
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
            raise CandidateError(
                f"latency rates: the table has no {kind} operator to tell their latency; it has {known}"
            )
        return found

    def operators_us(self, operators: Mapping[Operator, int]) -> float:
        """The latency of operators, each as often as it says, in microseconds. Raises CandidateError as `rate`."""
        ns = (count * self.rate(kind_of(each)).ns(each.macs, values_of(each)) for each, count in operators.items())
        return math.fsum(ns) / 1e3


def kind_of(operator: Operator) -> str:
    """The type of an operator, as in OperatorRate.kind."""
    if operator.kind in (CONV, DEPTHWISE, DENSE):
        return kernel_kind(operator.kind, operator.kernel_size)
    return ELEMENTWISE


def kernel_kind(kind: str, kernel_size: int) -> str:
    """The type of an operator with a kernel, of CONV, DEPTHWISE or DENSE."""
    if kind == CONV and kernel_size == 1:
        return POINTWISE
    return f"{DEPTHWISE} {kernel_size}x{kernel_size}" if kind == DEPTHWISE else kind


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
    kinds = sorted({kind_of(operator) for bag in bags for operator in bag})
    columns = [(kind, term) for kind in kinds for term in _terms(kind)]
    if len(blocks) < max(1, len(columns)) or not any(block.median_us > 0 for block in blocks):
        raise UsageError(
            f"{data_type} latency table: {len(blocks)} blocks are too few to tell {len(columns)} rates of operators; "
            "expected at least as many, with latencies above 0 us"
        )
    work = np.array([_work(bag, columns) for bag in bags])
    ns = 1e3 * np.array([block.median_us for block in blocks])
    found = dict(zip(columns, _non_negative(work, ns, columns), strict=True))
    return tuple((kind, *(found.get((kind, term), 0.0) for term in TERMS)) for kind in kinds)


def _terms(kind: str) -> tuple[str, ...]:
    """What the rates of a kind multiply. A depthwise output takes as many multiply-accumulates as the kernel has."""
    if kind == ELEMENTWISE:
        return VALUES, OPERATORS
    return (MACS, OPERATORS) if kind.startswith(DEPTHWISE) else TERMS


def _work(operators: Mapping[Operator, int], columns: Sequence[Column]) -> list[float]:
    """Multiply-accumulates, values and number of a block's operators of each kind, an entry for each column."""
    row = dict.fromkeys(columns, 0.0)
    for operator, count in operators.items():
        for term, amount in zip(TERMS, (operator.macs, values_of(operator), 1), strict=True):
            if (column := (kind_of(operator), term)) in row:
                row[column] += amount * count
    return list(row.values())


def _non_negative(work: Array, ns: Array, columns: Sequence[Column]) -> Array:
    """The rates that explain latencies with the least squared relative errors.

    Blocks leave some open: where all networks have one stem and one classifier, nothing tells which part of their time
    is arithmetic. Then rates of a group of ALIKE are alike, and the others small. The unknowns are the rates and,
    behind them, what each group has in common; the first rows are the blocks, the others say of each rate that it is
    the common one, or 0.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # takes half a second to import

    weights = 1 / np.maximum(ns, SMALLEST * np.median(ns[ns > 0]))
    rows = work * weights[:, None]
    sizes = np.linalg.norm(rows, axis=0)  # so that sums over millions and over single operators weigh alike
    alike = np.array([[float(column in group) for group in ALIKE] for column in columns])
    largest = alike @ (alike * sizes[:, None]).max(axis=0)
    equal = np.diag(PRIOR * np.where(alike.any(axis=1), largest / sizes, 1))
    system = np.block([[rows / sizes, np.zeros((len(rows), len(ALIKE)))], [equal, -PRIOR * alike]])
    found, _ = nnls(system, np.concatenate([ns * weights, np.zeros(len(columns))]))
    return np.asarray(found[: len(columns)] / sizes, dtype=np.float64)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
