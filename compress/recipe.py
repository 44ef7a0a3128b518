"""Compression recipes: what is done to a trained network, in which order, and what is deployed. No TensorFlow here.

A recipe is one word per pass joined by "+", in a fixed order: `structured:0.5+prune:0.7+cluster:8+qat`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from compress.settings import (
    CLUSTER_RANGE,
    FRACTION_RANGE,
    IMPORTANCES,
    LATENCY,
    LEAST_SPARSE,
    LOW_RANK_BY,
    METRICS,
    SCHEDULES,
    SCOPES,
    SPARSITY_RANGE,
    ClusterSettings,
    LowRankSettings,
    PassSpec,
    PruneSettings,
    QuantizeSettings,
    Settings,
    ShareSettings,
    StructuredSettings,
    layer_values,
    parse_pattern,
)
from core.checks import in_choices, in_range
from core.errors import UsageError, bad_value
from search.latency.rates import LatencyRates, fit_rates
from search.latency.table import read_latency_table
from search.settings import BATCH_SIZE, EPOCHS, LEARNING_RATE, TrainConfig

WHERE = "config.compress"
RECIPES_KEY = f"{WHERE}.recipes"
TABLE_KEY = f"{WHERE}.structured_latency_table"
# What the last word converts the network to.
SCHEMES = {
    "float32": "float32",
    "float16": "float16",
    "dynamic_range": "dynamic_range",
    "int8_weights": "int8_weights",
    "int4_weights": "int4_weights",
    "mixed": "mixed",
    "ptq": "full_integer",
    "qat": "full_integer",
}
ALIASES = {"pqat": ("prune", "qat"), "cqat": ("cluster", "qat"), "pcqat": ("prune", "cluster", "qat")}
# Words in the order in which they may follow each other; those of one rank exclude each other.
RANKS = {
    "structured": 0,
    "low_rank": 1,
    "share": 2,
    "prune": 3,
    "sparse": 3,
    "cluster": 4,
    **dict.fromkeys(SCHEMES, 5),
}
SPARSE_DEFAULT = 0.8  # of "sparse", where final_sparsity is too little for XNNPACK
WITH_SETTING = ("structured", "low_rank", "prune", "sparse", "cluster")
LEGAL_RECIPE = (
    "structured[:FRACTION] + low_rank[:NUMBER] + share + prune[:SPARSITY or :M:N] or sparse[:SPARSITY] + "
    f"cluster[:NUMBER] + one of {', '.join(sorted(SCHEMES))} (by default float32), in this order, each at most once; "
    "or pqat, cqat, pcqat"
)
_SHARED_NORMS = "fine-tuning would normalize each use of a shared layer by the statistics of that use alone"
_FLOAT_ONLY = "XNNPACK runs sparse convolutions in float32 and float16 only; prune:SPARSITY makes integer files small"
# Pairs of words that exclude each other, and why.
CONTRADICTIONS = {
    **{("share", word): _SHARED_NORMS for word in ("prune", "sparse", "cluster")},
    ("share", "qat"): "a layer that is used several times has several ranges, and one fake quantizer",
    **{("sparse", word): _FLOAT_ONLY for word in SCHEMES if word not in ("float32", "float16")},
    ("low_rank", "sparse"): "XNNPACK runs no sparse convolution that is cut in two",
}


@dataclass(frozen=True, slots=True)
class CompressionRecipe:
    """Passes in their order, and the scheme in which the result is converted (one of SCHEMES' values).

    Quantization-aware training happens if and only if the passes end in "quantize".
    """

    name: str
    passes: tuple[PassSpec, ...]
    scheme: str


@dataclass(frozen=True, slots=True)
class CompressConfig:
    """The config section `compress`: which recipes to run, and the settings of their passes.

    Attributes:
      recipes: recipe texts (see compress.recipe), each another one; without any the float32 parent alone is released.
      epochs, batch_size, learning_rate: the fine-tuning of each pass that trains.
      exclude: fnmatch patterns of layer names that no pass prunes, clusters, factorizes or removes channels from.
      structured_*: see StructuredSettings; `structured_rounds` passes of equal factors, each fine-tuned, reach the
        fraction together. The metric "latency" needs `structured_latency_table`, a file of the command latency_table,
        and no other metric has one.
      low_rank, low_rank_by: see LowRankSettings.
      final_sparsity, initial_sparsity, prune_*: see PruneSettings; `layer_sparsity` are texts "PATTERN=SPARSITY". For
        "sparse" SPARSE_DEFAULT takes the place of a final_sparsity below LEAST_SPARSE.
      number_of_clusters, cluster_depthwise: see ClusterSettings; `layer_clusters` are texts "PATTERN=NUMBER".
      mixed_max_loss: how much accuracy (0..1, on validation images) the scheme "mixed" may lose against float32.
    """

    recipes: tuple[str, ...] = ("ptq", "qat", "pcqat")
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 2e-3
    exclude: tuple[str, ...] = ()
    structured_fraction: float = 0.5
    structured_metric: str = "macs"
    structured_latency_table: str | None = None
    structured_importance: str = "taylor"
    structured_rounds: int = 1
    structured_blocks: bool = False
    channel_multiple: int = 8
    low_rank: float = 0.5
    low_rank_by: str = "params"
    final_sparsity: float = 0.5
    initial_sparsity: float = 0.0
    prune_scope: str = "layer"
    prune_schedule: str = "polynomial"
    prune_depthwise: bool = False
    layer_sparsity: tuple[str, ...] = ()
    number_of_clusters: int = 16
    cluster_depthwise: bool = False
    layer_clusters: tuple[str, ...] = ()
    mixed_max_loss: float = 0.005

    def __post_init__(self) -> None:
        in_range(f"{WHERE}.epochs", self.epochs, *EPOCHS)
        in_range(f"{WHERE}.batch_size", self.batch_size, *BATCH_SIZE)
        in_range(f"{WHERE}.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range(f"{WHERE}.structured_fraction", self.structured_fraction, *FRACTION_RANGE)
        in_choices(f"{WHERE}.structured_metric", self.structured_metric, METRICS)
        self._check_latency_table()
        in_choices(f"{WHERE}.structured_importance", self.structured_importance, IMPORTANCES)
        in_range(f"{WHERE}.structured_rounds", self.structured_rounds, 1, 20)
        in_range(f"{WHERE}.channel_multiple", self.channel_multiple, 1, 64)
        in_range(f"{WHERE}.low_rank", self.low_rank, *FRACTION_RANGE)
        in_choices(f"{WHERE}.low_rank_by", self.low_rank_by, LOW_RANK_BY)
        in_range(f"{WHERE}.final_sparsity", self.final_sparsity, *SPARSITY_RANGE)
        in_range(f"{WHERE}.initial_sparsity", self.initial_sparsity, 0.0, self.final_sparsity)
        in_choices(f"{WHERE}.prune_scope", self.prune_scope, SCOPES)
        in_choices(f"{WHERE}.prune_schedule", self.prune_schedule, SCHEDULES)
        in_range(f"{WHERE}.number_of_clusters", self.number_of_clusters, *CLUSTER_RANGE)
        in_range(f"{WHERE}.mixed_max_loss", self.mixed_max_loss, 0.0, 1.0)
        layer_values(f"{WHERE}.layer_sparsity", self.layer_sparsity, *SPARSITY_RANGE)
        layer_values(f"{WHERE}.layer_clusters", self.layer_clusters, *CLUSTER_RANGE, whole=True)
        texts: dict[CompressionRecipe, str] = {}
        for text in self.recipes:
            same = texts.setdefault(replace(parse_recipe(text, self), name=""), text)
            if same != text or self.recipes.count(text) > 1:
                raise UsageError(f"{RECIPES_KEY}: {same!r} and {text!r} are one recipe; name each once")

    def _check_latency_table(self) -> None:
        """Refuses one of the metric "latency" and a table without the other."""
        metric, table = self.structured_metric, self.structured_latency_table
        if metric == LATENCY and table is None:
            raise UsageError(
                f"{WHERE}.structured_metric: {metric!r} needs {TABLE_KEY}, a file of the command latency_table"
            )
        if metric != LATENCY and table is not None:
            raise bad_value(TABLE_KEY, table, f"None with {WHERE}.structured_metric = {metric!r}")

    def train_config(self) -> TrainConfig:
        """The fine-tuning of one pass. No weight decay: it would pull shared weights and ranges without a gain."""
        return TrainConfig(self.epochs, self.batch_size, self.learning_rate, weight_decay=0.0)


@dataclass(frozen=True, slots=True)
class _Part:
    """One word of a recipe, with the place it came from for messages."""

    place: str
    word: str
    setting: str | None


def parse_recipe(text: str, config: CompressConfig) -> CompressionRecipe:
    """The recipe that `text` describes; what it does not set comes from `config`.

    Raises UsageError naming the part of the text that is wrong and what is legal.
    """
    parts = _parts(text)
    _check_order(parts)
    passes = tuple(spec for part in parts for spec in _pass_specs(part, config))
    scheme = SCHEMES[parts[-1].word] if parts[-1].word in SCHEMES else SCHEMES["float32"]
    return CompressionRecipe(text, passes, scheme)


def _parts(text: str) -> list[_Part]:
    parts = []
    for number, item in enumerate(text.split("+"), 1):
        place = f"{RECIPES_KEY}: {text!r}, part {number} ({item!r})"
        word, colon, setting = item.partition(":")
        if word not in RANKS and word not in ALIASES:
            raise _illegal(_Part(place, word, setting), "is not a pass")
        if colon and word not in WITH_SETTING:
            raise _illegal(_Part(place, word, setting), "takes no setting")
        parts += [_Part(place, expanded, setting if colon else None) for expanded in ALIASES.get(word, (word,))]
    return parts


def _check_order(parts: list[_Part]) -> None:
    before: list[_Part] = []
    for part in parts:
        for earlier in before:
            if RANKS[part.word] <= RANKS[earlier.word]:
                raise _illegal(part, f"cannot come after {earlier.word!r}")
            if (reason := CONTRADICTIONS.get((earlier.word, part.word))) is not None:
                raise UsageError(f"{part.place}: {part.word!r} cannot come after {earlier.word!r}: {reason}")
        before.append(part)


def _pass_specs(part: _Part, config: CompressConfig) -> tuple[PassSpec, ...]:
    make = _PASSES.get(part.word)
    return () if make is None else make(part, config)


def _structured(part: _Part, config: CompressConfig) -> tuple[PassSpec, ...]:
    """As many passes as rounds, of equal factors."""
    fraction = _number(part, config.structured_fraction, *FRACTION_RANGE)
    settings = StructuredSettings(
        fraction ** (1 / config.structured_rounds),
        config.structured_metric,
        config.structured_importance,
        config.exclude,
        config.channel_multiple,
        config.structured_blocks,
        structured_rates(config),
    )
    return (PassSpec("structured_prune", settings),) * config.structured_rounds


def structured_rates(config: CompressConfig) -> LatencyRates | None:
    """The rates of `structured_latency_table`, None without one. Raises UsageError if the file holds none."""
    if config.structured_latency_table is None:
        return None
    path = Path(config.structured_latency_table)
    try:
        table = read_latency_table(path)
    except UsageError as error:
        raise UsageError(f"{TABLE_KEY}: {error}") from error
    try:
        return fit_rates(table)
    except UsageError as error:
        raise UsageError(f"{TABLE_KEY}: {path}: {error}") from error


def _low_rank(part: _Part, config: CompressConfig) -> tuple[PassSpec, ...]:
    number = _number(part, config.low_rank, *FRACTION_RANGE)
    return _one("low_rank", LowRankSettings(number, config.low_rank_by, config.exclude))


def _prune(part: _Part, config: CompressConfig) -> tuple[PassSpec, ...]:
    settings = PruneSettings(
        config.initial_sparsity,
        config.final_sparsity,
        config.exclude,
        scope=config.prune_scope,
        depthwise=config.prune_depthwise,
        schedule=config.prune_schedule,
        layers=layer_values(f"{WHERE}.layer_sparsity", config.layer_sparsity, *SPARSITY_RANGE),
        policy="xnnpack" if part.word == "sparse" else "",
    )
    if part.word == "prune" and part.setting is not None and ":" in part.setting:
        return _one("prune", _with_pattern(part, settings))
    low, default = SPARSITY_RANGE[0], config.final_sparsity
    if settings.policy:
        _check_all_sparse(part, settings)
        low, default = LEAST_SPARSE, default if default >= LEAST_SPARSE else SPARSE_DEFAULT
    number = _number(part, default, max(config.initial_sparsity, low), SPARSITY_RANGE[1])
    return _one("prune", replace(settings, final_sparsity=number))


def _check_all_sparse(part: _Part, settings: PruneSettings) -> None:
    """Refuses what would give a layer fewer zeros than XNNPACK needs to run it sparse."""
    if settings.scope != "layer":
        raise UsageError(
            f"{part.place}: config.compress.prune_scope 'global' gives some layers fewer zeros than the "
            f"{LEAST_SPARSE:g} that XNNPACK needs to run them sparse; expected 'layer'"
        )
    for pattern, value in settings.layers:
        if value < LEAST_SPARSE:
            where = f"{part.place}: config.compress.layer_sparsity"
            legal = f"a number from {LEAST_SPARSE:g} to {SPARSITY_RANGE[1]:g}, as XNNPACK runs others dense"
            raise bad_value(where, f"{pattern}={value:g}", legal)


def _with_pattern(part: _Part, settings: PruneSettings) -> PruneSettings:
    assert part.setting is not None
    zeros, length = parse_pattern(part.place, part.setting)
    if settings.scope != "layer" or settings.layers:
        raise UsageError(
            f"{part.place}: an M:N pattern has one sparsity for all layers; config.compress.prune_scope must be "
            "'layer', and config.compress.layer_sparsity empty"
        )
    # A pattern is all or nothing: tfmot prunes nothing until a constant schedule begins.
    return replace(
        settings, initial_sparsity=0.0, final_sparsity=zeros / length, schedule="constant", pattern=part.setting
    )


def _cluster(part: _Part, config: CompressConfig) -> tuple[PassSpec, ...]:
    number = _number(part, config.number_of_clusters, *CLUSTER_RANGE)
    if number != int(number):
        raise _illegal(part, "needs a whole number of clusters")
    layers = layer_values(f"{WHERE}.layer_clusters", config.layer_clusters, *CLUSTER_RANGE, whole=True)
    return _one("cluster", ClusterSettings(int(number), config.exclude, config.cluster_depthwise, layers))


def _one(name: str, settings: Settings) -> tuple[PassSpec, ...]:
    return (PassSpec(name, settings),)


_PASSES: dict[str, Callable[[_Part, CompressConfig], tuple[PassSpec, ...]]] = {
    "structured": _structured,
    "low_rank": _low_rank,
    "share": lambda part, config: _one("share", ShareSettings(config.exclude)),
    "prune": _prune,
    "sparse": _prune,
    "cluster": _cluster,
    "qat": lambda part, config: _one("quantize", QuantizeSettings()),
}


def _number(part: _Part, default: float, low: float, high: float) -> float:
    if part.setting is None:
        in_range(part.place, default, low, high)
        return default
    try:
        value = float(part.setting)
    except ValueError:
        raise bad_value(part.place, part.setting, f"a number from {low:g} to {high:g}") from None
    in_range(part.place, value, low, high)
    return value


def _illegal(part: _Part, reason: str) -> UsageError:
    return UsageError(f"{part.place}: {part.word!r} {reason}; legal: {LEGAL_RECIPE}")
