"""The configuration of a pipeline run: defaults, overrides, and validation into frozen values before TensorFlow loads.

A file in configs/ defines `get_config()`, which starts from `default_config()` and changes what it needs. Command-line
overrides (`--config.search.max_trials=20`) are ml_collections' own.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict, config_dict

from android_bench.settings import BenchConfig
from compress.distill_config import DistillConfig
from compress.recipe import CompressConfig, parse_recipe
from core.checks import in_choices, in_range
from core.errors import UsageError, bad_value
from core.registry import check_name
from core.spec_io import from_plain
from pipeline.data import MAX_RESOLUTION, MIN_RESOLUTION, DataConfig
from pipeline.release_config import ReleaseConfig
from search.networks import NETWORKS
from search.oracles import ORACLES
from search.recipe_space import RecipeTemplate, parse_template
from search.settings import (
    BATCH_SIZE,
    EPOCHS,
    KERAS_TUNER_ORACLES,
    LEARNING_RATE,
    SUPERNET,
    SearchConfig,
    TrainConfig,
)
from search.supernet.settings import ENAS, MIXED_METHODS, SupernetConfig

MAX_SEED = 2**31 - 2
MAX_RECIPES = 10_000  # of a joint search: each is checked before the run begins
MODEL_FILE = "config.model.file"
INPUT_RANGES = ("0..1", "0..255", "-1..1")


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """The teacher: a user's .keras/.h5 file, else a reference network that is trained here, or (both None) none.

    Attributes:
      network: a name of search.networks.NETWORKS; not used if there is a `file`.
      file: a Keras model (.keras, .h5 or a SavedModel's folder) that takes the data set's images and gives one output
        per class.
      input_range: of the images that `file` takes, "0..1", "0..255" or "-1..1".
      width_multiplier: of `network`.
      epochs, learning_rate, batch_size: of the training of `network`.
    """

    network: str | None = "mobilenet_v2_small"
    file: str | None = None
    input_range: str = INPUT_RANGES[0]
    width_multiplier: float = 1.0
    epochs: int = 10
    learning_rate: float = 2e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.network is not None:
            check_name(NETWORKS, self.network, "config.teacher.network")
        in_choices("config.teacher.input_range", self.input_range, INPUT_RANGES)
        in_range("config.teacher.width_multiplier", self.width_multiplier, 0.05, 20)
        in_range("config.teacher.epochs", self.epochs, *EPOCHS)
        in_range("config.teacher.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.teacher.batch_size", self.batch_size, *BATCH_SIZE)

    @property
    def training(self) -> TrainConfig:
        """How `network` is trained."""
        return TrainConfig(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model of the user's, which is compressed in place of what a search would find.

    Attributes:
      file: .keras (Keras 2 or 3), .h5 or a SavedModel's folder; None: there is none, and networks are searched.
      input_range: of the images that the model was trained on: "0..1", "0..255" or "-1..1".
      allow_custom: whether Lambda layers and custom objects may be loaded, which runs code that is in the file.
    """

    file: str | None = None
    input_range: str = INPUT_RANGES[0]
    allow_custom: bool = False

    def __post_init__(self) -> None:
        in_choices("config.model.input_range", self.input_range, INPUT_RANGES)


@dataclass(frozen=True, slots=True)
class Config:
    """One pipeline run. `supernet` counts with config.search.evaluator = "supernet" alone."""

    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compress: CompressConfig = field(default_factory=CompressConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)

    def __post_init__(self) -> None:
        in_range("config.seed", self.seed, 0, MAX_SEED)
        if self.search.target not in self.bench.targets:
            legal = "one of config.bench.targets: " + ", ".join(self.bench.targets)
            raise bad_value("config.search.target", self.search.target, legal)
        if self.search.recipe is not None:
            self._check_joint(parse_template(self.search.recipe))
        if self.search.evaluator == SUPERNET:
            self._check_supernet()
        has_teacher = self.model.file is None and (self.teacher.network or self.teacher.file) is not None
        if self.distill.features != "none" and not has_teacher and self.distill.teacher != "self":
            legal = "'none' without a teacher (or config.distill.teacher = 'self')"
            raise bad_value("config.distill.features", self.distill.features, legal)
        if self.model.file is not None and not self.compress.recipes:
            raise bad_value("config.compress.recipes", (), f"at least one recipe with {MODEL_FILE}")

    def _check_supernet(self) -> None:
        search, supernet = self.search, self.supernet
        why = f"with config.supernet.method = {supernet.method!r}"
        if self.model.file is not None:
            raise bad_value("config.search.evaluator", SUPERNET, f"another one with {MODEL_FILE}: nothing is searched")
        if supernet.method in MIXED_METHODS:
            for name, only in (("num_winners", 1), ("warm_start", 0)):
                if getattr(search, name) != only:
                    legal = f"{only} {why}, which chooses one network"
                    raise bad_value(f"config.search.{name}", getattr(search, name), legal)
        if supernet.method == ENAS:  # its policy's networks are the search's first suggestions
            in_choices(f"config.search.oracle {why}", search.oracle, sorted(set(ORACLES) - set(KERAS_TUNER_ORACLES)))
        if supernet.resolutions and search.warm_start:
            legal = "0 with config.supernet.resolutions: proxies see the images in one resolution alone"
            raise bad_value("config.search.warm_start", search.warm_start, legal)
        for side in supernet.resolutions:
            in_range("config.supernet.resolutions", side, MIN_RESOLUTION, MAX_RESOLUTION)
        has_teacher = (self.teacher.network or self.teacher.file) is not None
        if supernet.resolutions and self.distill.features != "none" and has_teacher:
            legal = "'none' with config.supernet.resolutions, where the teacher's maps have another size"
            raise bad_value("config.distill.features", self.distill.features, legal)

    def _check_joint(self, template: RecipeTemplate) -> None:
        where = "config.search.recipe"
        if self.model.file is not None:
            raise bad_value(where, self.search.recipe, f"None with {MODEL_FILE}: nothing is searched")
        if template.size > MAX_RECIPES:
            raise bad_value(where, self.search.recipe, f"at most {MAX_RECIPES} recipes, not {template.size}")
        for text in template.all():
            if not text:
                raise bad_value(
                    where, self.search.recipe, "a recipe that is never empty: let it end in {ptq,qat} or the like"
                )
            try:
                parse_recipe(text, self.compress)
            except UsageError as error:
                raise UsageError(f"{where}: of its recipes one is illegal: {error}") from error


def default_config() -> ConfigDict:
    """All keys with their defaults, as a locked ConfigDict: an unknown key is an error, a wrong type too."""
    return _to_config_dict(Config).lock()


def validated(config: Any) -> Config:
    """The frozen value of a ConfigDict. Raises UsageError naming the key, the value and the legal values."""
    if not isinstance(config, ConfigDict):
        raise UsageError(
            f"--config: get_config() returned a {type(config).__name__}; expected an ml_collections ConfigDict"
        )
    found = from_plain(Config, config.to_dict(), "config")
    check_mixture(found)
    return found


def check_mixture(config: Config) -> None:
    """Raises UsageError for settings of the search that a mixture's training could not heed, or would lack.

    Not a check of Config itself: one network out of a trained mixture is chosen in another way, with limits.
    """
    search, method = config.search, config.supernet.method
    if search.evaluator != SUPERNET or method not in MIXED_METHODS:
        return
    why = f"with config.supernet.method = {method!r}"
    for metric, limit in search.limits.items():
        legal = f"None {why}, which heeds config.supernet.latency_weight or target_latency_us and no limit"
        raise bad_value(f"config.search.max_{metric}", limit, legal)
    weighs_latency = config.supernet.latency_weight or config.supernet.target_latency_us is not None
    if weighs_latency and search.latency_table is None:
        raise bad_value("config.search.latency_table", None, f"a table of the latencies that are weighed {why}")


def _to_config_dict(cls: type) -> ConfigDict:
    hints = typing.get_type_hints(cls)
    result = ConfigDict()
    defaults = cls()
    for entry in dataclasses.fields(cls):
        value, kind = getattr(defaults, entry.name), hints[entry.name]
        if dataclasses.is_dataclass(value):
            result[entry.name] = _to_config_dict(type(value))
        elif isinstance(kind, types.UnionType):
            # A placeholder has a type though its value is None, so that a flag can set it.
            result[entry.name] = config_dict.placeholder(next(k for k in typing.get_args(kind) if k is not type(None)))
            result[entry.name] = value
        else:
            result[entry.name] = value
    return result
