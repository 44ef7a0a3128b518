"""A latency table: measured blocks of a search space on one target, and what it predicts for whole networks.

The prediction is `constant_us + factor * (sum of the blocks)`: constant and factor stand for what the cut into blocks
changes, and are fitted to a few networks measured whole. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checks import in_choices
from core.errors import CandidateError, UsageError, bad_value, one_line
from core.spec_io import from_plain, to_plain
from core.workspace import atomic_write_json
from search.arch import ArchSpec
from search.latency.blocks import DATA_TYPES, BlockKey, blocks_of

VERSION = 1
FORMAT = "litesmith latency table"
NORMAL_95 = 1.96  # standard deviations on each side of the normal distribution's 95 %
NORMAL_MAD = 1.4826  # the normal distribution's standard deviation over its median absolute deviation
FEWEST_FOR_CONSTANT = 4  # networks; with fewer only the factor is fitted


@dataclass(frozen=True, slots=True)
class BlockLatency:
    """A measured block.

    Attributes:
      key: BlockKey.text.
      median_us: the median latency in microseconds.
      low_us, high_us: its 95 % interval.
      runs: how many runs it rests on.
    """

    key: str
    median_us: float
    low_us: float
    high_us: float
    runs: int

    def __post_init__(self) -> None:
        values = (self.low_us, self.median_us, self.high_us)
        if not all(map(math.isfinite, values)) or not 0 <= self.low_us <= self.median_us <= self.high_us:
            raise bad_value(
                f"latency of {self.key!r}: (low, median, high)", values, "0 <= low <= median <= high, in us"
            )


@dataclass(frozen=True, slots=True)
class Overhead:
    """What whole networks take beside the sum of their blocks.

    Attributes:
      constant_us, factor: latency = constant_us + factor * sum.
      networks: how many it was fitted to; 0: not fitted.
      residual: of the fit, as a fraction of the latency: a robust standard deviation.
    """

    constant_us: float = 0.0
    factor: float = 1.0
    networks: int = 0
    residual: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.constant_us) and 0 < self.factor < math.inf and 0 <= self.residual < math.inf):
            values = (self.constant_us, self.factor, self.residual)
            raise bad_value("overhead: (constant_us, factor, residual)", values, "finite numbers, factor above 0")


@dataclass(frozen=True, slots=True)
class LatencyPrediction:
    """A predicted latency in microseconds and its 95 % interval."""

    latency_us: float
    low_us: float
    high_us: float


@dataclass(frozen=True)
class LatencyTable:
    """The latencies of the blocks of a space on a target.

    Attributes:
      space: the search space's name.
      data_type: "int8" or "float32".
      target: facts about the target, as text.
      tool: what measured.
      date: of the measurement.
      blocks: each key once.
      overhead: of whole networks.
      version: of this format.
    """

    space: str
    data_type: str
    target: dict[str, str]
    tool: str
    date: str
    blocks: tuple[BlockLatency, ...]
    overhead: Overhead = Overhead()
    version: int = VERSION

    def __post_init__(self) -> None:
        in_choices("latency table: data_type", self.data_type, DATA_TYPES)
        if len(self._by_key) != len(self.blocks):
            twice = next(key for key, count in Counter(block.key for block in self.blocks).items() if count > 1)
            raise UsageError(f"latency table: block {twice!r} is there twice; expected each block once")

    @cached_property
    def _by_key(self) -> dict[str, BlockLatency]:
        return {block.key: block for block in self.blocks}

    def missing(self, keys: Iterable[BlockKey]) -> tuple[BlockKey, ...]:
        """The keys that the table has no latency of, in their order."""
        return tuple(key for key in keys if key.text not in self._by_key)

    def predict(self, arch: ArchSpec) -> LatencyPrediction:
        """The latency of a network, with the uncertainty of its blocks and of the fitted overhead.

        Raises CandidateError if the table lacks one of its blocks, naming it, or if its shapes do not fit.
        """
        total_us, half_us = self._sum(arch)
        overhead = self.overhead
        latency_us = overhead.constant_us + overhead.factor * total_us
        half_us = math.hypot(overhead.factor * half_us, NORMAL_95 * overhead.residual * latency_us)
        return LatencyPrediction(latency_us, max(0.0, latency_us - half_us), latency_us + half_us)

    def sum_us(self, arch: ArchSpec) -> float:
        """The sum of the latencies of a network's blocks. Raises CandidateError as `predict`."""
        return self._sum(arch)[0]

    def _sum(self, arch: ArchSpec) -> tuple[float, float]:
        """The sum and half its 95 % interval: errors of different blocks are independent, of a repeated one equal."""
        total = variance = 0.0
        for key, count in Counter(blocks_of(arch, self.data_type)).items():
            block = self._by_key.get(key.text)
            if block is None:
                raise CandidateError(f"latency table of space {self.space}: it lacks block {key.text!r}")
            total += count * block.median_us
            variance += (count * (block.high_us - block.low_us) / 2) ** 2
        return total, math.sqrt(variance)


def fit_overhead(table: LatencyTable, measured: Sequence[tuple[ArchSpec, float]]) -> LatencyTable:
    """The table with its overhead fitted to networks and their measured latencies in microseconds.

    The line is Theil's and Sen's: the median slope of all pairs of networks, which outliers up to 29 % do not move far.
    Fewer than FEWEST_FOR_CONSTANT networks give the median ratio alone.

    Raises UsageError if there are no networks or a latency is not positive, CandidateError as `predict`.
    """
    if not measured or any(not (math.isfinite(us) and us > 0) for _, us in measured):
        raise bad_value("overhead: latencies", [us for _, us in measured], "one or more, all above 0 us")
    sums = np.array([table.sum_us(arch) for arch, _ in measured])
    latencies = np.array([us for _, us in measured])
    constant, factor = _line(sums, latencies)
    ratios = latencies / np.maximum(constant + factor * sums, np.finfo(float).tiny)
    residual = NORMAL_MAD * float(np.median(np.abs(ratios - 1)))
    return dataclasses.replace(table, overhead=Overhead(constant, factor, len(measured), residual))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope; through 0 for few or equal x, and where one would be negative, which no computer does: noise
    in a few large networks would ruin the small ones."""
    first, second = np.triu_indices(len(x), k=1)
    apart = x[first] != x[second]
    if len(x) >= FEWEST_FOR_CONSTANT and apart.any():
        slope = float(np.median((y[second] - y[first])[apart] / (x[second] - x[first])[apart]))
        constant = float(np.median(y - slope * x))
        if slope > 0 and constant >= 0:
            return constant, slope
    return 0.0, float(np.median(y / x))


def write_latency_table(path: Path, table: LatencyTable) -> None:
    """Writes the table as JSON, whole or not at all."""
    atomic_write_json(path, {"format": FORMAT, **to_plain(table)})


def read_latency_table(path: Path) -> LatencyTable:
    """The table of a file. Raises UsageError if the file is missing, is another one, or of another version."""
    plain = _read(path)
    if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
        raise UsageError(f"{path}: not a latency table; expected a JSON file with format {FORMAT!r}")
    if plain.get("version") != VERSION:
        raise bad_value(f"{path}: version of the latency table", plain.get("version"), f"{VERSION}; measure it again")
    try:
        return from_plain(LatencyTable, plain, "latency table")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; expected a latency table") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a latency table ({one_line(error)})") from error
