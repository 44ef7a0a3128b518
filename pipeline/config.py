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
from compress.recipe import CompressConfig, DistillConfig
from core.checks import in_range
from core.errors import UsageError, bad_value
from core.registry import check_name
from core.spec_io import from_plain
from pipeline.data import DataConfig
from search.networks import NETWORKS
from search.settings import BATCH_SIZE, EPOCHS, LEARNING_RATE, SearchConfig, TrainConfig

MAX_SEED = 2**31 - 2
NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """The teacher: a user's .keras/.h5 file, else a reference network that is trained here, or (both None) none.

    Attributes:
      network: a name of search.networks.NETWORKS; not used if there is a `file`.
      file: a Keras model that takes the data set's RGB images in 0..1 and gives one output per class.
      width_multiplier: of `network`.
      epochs, learning_rate, batch_size: of the training of `network`.
    """

    network: str | None = "mobilenet_v2_small"
    file: str | None = None
    width_multiplier: float = 1.0
    epochs: int = 10
    learning_rate: float = 2e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.network is not None:
            check_name(NETWORKS, self.network, "config.teacher.network")
        in_range("config.teacher.width_multiplier", self.width_multiplier, 0.05, 20)
        in_range("config.teacher.epochs", self.epochs, *EPOCHS)
        in_range("config.teacher.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.teacher.batch_size", self.batch_size, *BATCH_SIZE)

    @property
    def training(self) -> TrainConfig:
        """How `network` is trained."""
        return TrainConfig(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)


@dataclass(frozen=True, slots=True)
class ReleaseConfig:
    """`name` begins the names of the release's files; `metadata` adds TFLite metadata and labels to them."""

    name: str = "litesmith"
    metadata: bool = True

    def __post_init__(self) -> None:
        if not self.name or not set(self.name) <= set(NAME_CHARACTERS) or self.name[0] in ".-":
            legal = "letters, digits, '.', '_' and '-', beginning with a letter or a digit"
            raise bad_value("config.release.name", self.name, legal)


@dataclass(frozen=True, slots=True)
class Config:
    """One pipeline run."""

    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
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


def default_config() -> ConfigDict:
    """All keys with their defaults, as a locked ConfigDict: an unknown key is an error, a wrong type too."""
    return _to_config_dict(Config).lock()


def validated(config: Any) -> Config:
    """The frozen value of a ConfigDict. Raises UsageError naming the key, the value and the legal values."""
    if not isinstance(config, ConfigDict):
        raise UsageError(
            f"--config: get_config() returned a {type(config).__name__}; expected an ml_collections ConfigDict"
        )
    return from_plain(Config, config.to_dict(), "config")


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
