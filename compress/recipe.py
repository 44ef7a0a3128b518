"""Compression recipes: what is done to a trained network, in which order, and what is deployed. No TensorFlow here.

A recipe is one word per pass joined by "+", in the order prune, cluster, ending: `prune:0.7+cluster:8+qat`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.checks import in_range
from core.errors import UsageError, bad_value
from search.settings import BATCH_SIZE, EPOCHS, LEARNING_RATE, TrainConfig

RECIPES_KEY = "config.compress.recipes"
SCHEMES = {
    "float32": "float32",
    "float16": "float16",
    "dynamic_range": "dynamic_range",
    "ptq": "full_integer",
    "qat": "full_integer",
}
ALIASES = {"pqat": ("prune", "qat"), "cqat": ("cluster", "qat"), "pcqat": ("prune", "cluster", "qat")}
LEGAL_RECIPE = (
    "prune[:SPARSITY] + cluster[:NUMBER] + one of qat, ptq, dynamic_range, float16, float32 (the default), "
    "in this order, each at most once; or pqat, cqat, pcqat"
)
MAX_SPARSITY = 0.99
# tfmot needs 3 clusters to keep zeros; an int8 tensor has 255 values, so more clusters would say nothing.
CLUSTER_RANGE = (3, 255)


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """Magnitude pruning of every layer by itself; `exclude` are fnmatch patterns of layer names left alone."""

    initial_sparsity: float
    final_sparsity: float
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Weight sharing: at most `number_of_clusters` distinct values in a layer's kernel, zero included."""

    number_of_clusters: int
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuantizeSettings:
    """Int8 quantization-aware training: there is nothing to set."""


@dataclass(frozen=True, slots=True)
class PassSpec:
    """One pass with all its settings: `content_id` of it, of the parent and of the fine-tuning names the result."""

    name: str
    settings: PruneSettings | ClusterSettings | QuantizeSettings


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
      recipes: recipe texts (see `parse_recipe`), each another one; without any the float32 parent alone is released.
      epochs, batch_size, learning_rate: the fine-tuning of each pass that trains.
      final_sparsity: fraction of zeros in each pruned layer; a polynomial schedule rises to it from
        `initial_sparsity` (Zhu and Gupta 2017).
      number_of_clusters: distinct values in each clustered layer.
      exclude: fnmatch patterns of layer names that are neither pruned nor clustered. Depthwise kernels never are:
        they are a few percent of the weights, each of which matters.
    """

    recipes: tuple[str, ...] = ("ptq", "qat", "pcqat")
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 2e-3
    final_sparsity: float = 0.5
    initial_sparsity: float = 0.0
    number_of_clusters: int = 16
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = "config.compress"
        in_range(f"{where}.epochs", self.epochs, *EPOCHS)
        in_range(f"{where}.batch_size", self.batch_size, *BATCH_SIZE)
        in_range(f"{where}.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range(f"{where}.final_sparsity", self.final_sparsity, 0.01, MAX_SPARSITY)
        in_range(f"{where}.initial_sparsity", self.initial_sparsity, 0.0, self.final_sparsity)
        in_range(f"{where}.number_of_clusters", self.number_of_clusters, *CLUSTER_RANGE)
        texts: dict[CompressionRecipe, str] = {}
        for text in self.recipes:
            same = texts.setdefault(replace(parse_recipe(text, self), name=""), text)
            if same != text or self.recipes.count(text) > 1:
                raise UsageError(f"{RECIPES_KEY}: {same!r} and {text!r} are one recipe; name each once")

    def train_config(self) -> TrainConfig:
        """The fine-tuning of one pass. No weight decay: it would pull shared weights and ranges without a gain."""
        return TrainConfig(self.epochs, self.batch_size, self.learning_rate, weight_decay=0.0)


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Distillation: the softmax `temperature`, and the weight `alpha` (0..1) of the teacher against the labels."""

    temperature: float = 4.0
    alpha: float = 0.7

    def __post_init__(self) -> None:
        in_range("config.distill.temperature", self.temperature, 0.1, 100.0)
        in_range("config.distill.alpha", self.alpha, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Part:
    """One word of a recipe, with the place it came from for messages."""

    place: str
    word: str
    setting: str | None


def parse_recipe(text: str, config: CompressConfig) -> CompressionRecipe:
    """The recipe that `text` describes; what it does not set comes from `config`.

    Raises UsageError naming the part of the text that is wrong and the legal order.
    """
    parts = _parts(text)
    passes, scheme, last_rank, last_word = [], SCHEMES["float32"], -1, ""
    for part in parts:
        rank = _rank(part)
        if rank <= last_rank:
            raise _illegal(part, f"cannot come after {last_word!r}")
        last_rank, last_word = rank, part.word
        if part.word in SCHEMES:
            scheme = SCHEMES[part.word]
        if (spec := _pass_spec(part, config)) is not None:
            passes.append(spec)
    return CompressionRecipe(text, tuple(passes), scheme)


def _parts(text: str) -> list[_Part]:
    parts = []
    for number, item in enumerate(text.split("+"), 1):
        place = f"{RECIPES_KEY}: {text!r}, part {number} ({item!r})"
        word, colon, setting = item.partition(":")
        if colon and word not in ("prune", "cluster"):
            raise _illegal(_Part(place, word, setting), "takes no setting")
        parts += [_Part(place, expanded, setting if colon else None) for expanded in ALIASES.get(word, (word,))]
    return parts


def _rank(part: _Part) -> int:
    ranks = {"prune": 0, "cluster": 1} | dict.fromkeys(SCHEMES, 2)
    if part.word not in ranks:
        raise _illegal(part, "is not a pass")
    return ranks[part.word]


def _pass_spec(part: _Part, config: CompressConfig) -> PassSpec | None:
    if part.word == "prune":
        low = max(config.initial_sparsity, 0.01)
        sparsity = _number(part, config.final_sparsity, low, MAX_SPARSITY)
        return PassSpec("prune", PruneSettings(config.initial_sparsity, sparsity, config.exclude))
    if part.word == "cluster":
        clusters = _number(part, config.number_of_clusters, *CLUSTER_RANGE)
        if clusters != int(clusters):
            raise _illegal(part, "needs a whole number of clusters")
        return PassSpec("cluster", ClusterSettings(int(clusters), config.exclude))
    return PassSpec("quantize", QuantizeSettings()) if part.word == "qat" else None


def _number(part: _Part, default: float, low: float, high: float) -> float:
    if part.setting is None:
        return default
    try:
        value = float(part.setting)
    except ValueError:
        raise bad_value(part.place, part.setting, f"a number from {low:g} to {high:g}") from None
    in_range(part.place, value, low, high)
    return value


def _illegal(part: _Part, reason: str) -> UsageError:
    return UsageError(f"{part.place}: {part.word!r} {reason}; legal: {LEGAL_RECIPE}")
