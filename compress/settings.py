"""Settings of the compression passes. No TensorFlow here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

from core.errors import UsageError, bad_value
from search.latency.rates import LatencyRates

SPARSITY_RANGE = (0.01, 0.99)
# XNNPACK runs a kernel sparse that has two thirds of zeros at least; a little more, for sparsities that are rounded.
LEAST_SPARSE = 0.67
# tfmot needs 3 clusters to keep zeros; an int8 tensor has 255 values, so more clusters would say nothing.
CLUSTER_RANGE = (3, 255)
FRACTION_RANGE = (0.05, 0.99)
LATENCY = "latency"
METRICS = ("macs", "params", LATENCY)
IMPORTANCES = ("l1", "bn_gamma", "taylor", "random")
LOW_RANK_BY = ("energy", "params")
SPARSE = "sparse"
SCOPES = ("layer", "global")
SCHEDULES = ("polynomial", "constant")
LARGEST_BLOCK = 64  # of an M:N pattern

LayerValues = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class StructuredSettings:
    """Structured pruning: channels, and with `blocks` whole residual blocks, leave the network.

    Attributes:
      fraction: how much of the parent's `metric` ("macs", "params" or "latency") is left.
      importance: what is removed first, by the least: "l1" norm of the filters, "bn_gamma", first-order "taylor"
        expansion of the loss, or "random", the control.
      exclude: fnmatch patterns of layer names (see compress.patterns) that keep all their channels.
      channel_multiple: the channels left are a multiple of it, for the sake of the kernels that run them.
      rates: what predicts the "latency", and None for another metric: a value and not the file that it comes from, so
        that what names the result of a pass holds it.
    """

    fraction: float
    metric: str = "macs"
    importance: str = "taylor"
    exclude: tuple[str, ...] = ()
    channel_multiple: int = 8
    blocks: bool = False
    rates: LatencyRates | None = None


@dataclass(frozen=True, slots=True)
class LowRankSettings:
    """Low-rank factorization: `number` is the fraction of the network's parameters that is left ("params"), or the
    share of each kernel's energy, its squared singular values, that is kept ("energy")."""

    number: float
    by: str = "params"
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShareSettings:
    """Parameter sharing across depth: blocks of a stage that have the same shapes are one block, used several times.

    A block with a layer whose name matches a pattern of `exclude` shares nothing.
    """

    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """Magnitude pruning of single weights.

    Attributes:
      initial_sparsity, final_sparsity: fraction of zeros at the beginning and at the end of the schedule.
      exclude: fnmatch patterns of layer names left alone.
      pattern: "M:N" for at least M zeros in each N weights along the input channels, "" for none.
      scope: "layer": each layer gets `final_sparsity`; "global": all together, more where it costs less accuracy.
      depthwise: whether depthwise kernels are pruned too.
      schedule: "polynomial" (Zhu and Gupta 2017) or "constant".
      layers: (fnmatch pattern, final sparsity) of layers that get another one; the first that matches counts.
      policy: "xnnpack": only the layers that XNNPACK runs sparse (tfmot's PruneForLatencyOnXNNPack), "" for all.
    """

    initial_sparsity: float
    final_sparsity: float
    exclude: tuple[str, ...] = ()
    pattern: str = ""
    scope: str = "layer"
    depthwise: bool = False
    schedule: str = "polynomial"
    layers: LayerValues = ()
    policy: str = ""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Weight clustering: at most `number_of_clusters` distinct values in a layer's kernel, zero included.

    `layers` are (fnmatch pattern, number) of layers that get another number; the first that matches counts.
    """

    number_of_clusters: int
    exclude: tuple[str, ...] = ()
    depthwise: bool = False
    layers: LayerValues = ()


@dataclass(frozen=True, slots=True)
class QuantizeSettings:
    """Int8 quantization-aware training: there is nothing to set."""


Settings = StructuredSettings | LowRankSettings | PruneSettings | ClusterSettings | QuantizeSettings | ShareSettings


@dataclass(frozen=True, slots=True)
class PassSpec:
    """One pass with all its settings: `content_id` of it, of the parent and of the fine-tuning names the result."""

    name: str
    settings: Settings

    @property
    def label(self) -> str:
        """A name for folders and reports, with the number in which two recipes of one configuration can differ."""
        settings = self.settings
        if isinstance(settings, StructuredSettings):
            return f"structured{settings.fraction:.6g}"
        if isinstance(settings, LowRankSettings):
            return f"low_rank{settings.number}"
        if isinstance(settings, PruneSettings):
            word = SPARSE if settings.policy else "prune"
            return f"{word}{settings.pattern.replace(':', 'of') or settings.final_sparsity}"
        if isinstance(settings, ClusterSettings):
            return f"cluster{settings.number_of_clusters}"
        return "qat" if isinstance(settings, QuantizeSettings) else self.name


def is_sparse_step(label: str) -> bool:
    """Whether a pass of that label prunes for sparse kernels."""
    return label.startswith(SPARSE)


def layer_values(where: str, texts: tuple[str, ...], low: float, high: float, *, whole: bool = False) -> LayerValues:
    """(pattern, number) of texts like "s1_*=0.8". Raises UsageError naming the text that is none."""
    values = []
    for text in texts:
        pattern, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (equals and pattern and low <= value <= high) or (whole and value != int(value)):
            kind = "whole number" if whole else "number"
            raise bad_value(where, text, f"PATTERN=NUMBER with a {kind} from {low:g} to {high:g}")
        values.append((pattern, value))
    return tuple(values)


def value_for(name: str, layers: LayerValues, default: float) -> float:
    """The number for a layer: that of the first pattern that matches its name, else the default."""
    return next((value for pattern, value in layers if fnmatchcase(name, pattern)), default)


def parse_pattern(where: str, text: str) -> tuple[int, int]:
    """(M, N) of "M:N". Raises UsageError unless 0 < M < N."""
    zeros, _, length = text.partition(":")
    if not (zeros.isdigit() and length.isdigit() and 0 < int(zeros) < int(length) <= LARGEST_BLOCK):
        raise UsageError(f"{where}: {text!r} is not a pattern; expected M:N with 0 < M < N <= {LARGEST_BLOCK}")
    return int(zeros), int(length)
