"""What a run knows of its supernet: the space that the weights span, and the figures of their training. No TensorFlow
here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from core.spec_io import from_plain
from core.workspace import read_json
from search.choice import OneOf
from search.named import space
from search.settings import SUPERNET, SearchConfig
from search.space import Genotype, SearchSpace
from search.supernet.settings import PROGRESSIVE, SupernetConfig

RECORD = "supernet.json"  # in the supernet stage's folder
INHERITED = "inherited.json"  # in the folder of a float stage that began from shared weights


@dataclass(frozen=True, slots=True)
class Judged:
    """A network of the supernet with its own batch-norm statistics."""

    arch: str
    macs: int
    val_accuracy: float


@dataclass(frozen=True, slots=True)
class SupernetRecord:
    """What is known of trained shared weights.

    Attributes:
      networks: genotypes of the space (several may stand for one network).
      suggestions: genotypes that the training itself prefers, best first.
      is_found: whether the first of them is what the training has chosen, so that nothing is left to search.
      judged: the "largest" and the "smallest" network, of methods that have them.
      recalibration_images, val_images: training and validation images that these were judged with.
      facts: figures of the method in words, by name.
    """

    method: str
    space: str
    networks: float
    suggestions: tuple[Genotype, ...]
    is_found: bool
    judged: dict[str, Judged]
    recalibration_images: int
    val_images: int
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Inherited:
    """The validation accuracy (0..1) of a network as it left the supernet, and after some epochs of fine-tuning."""

    before: float
    after: float
    epochs: int


@dataclass(frozen=True, slots=True)
class SupernetReport:
    """What a run's report tells of its supernet.

    Attributes:
      record: what the training has recorded.
      epochs: of the training, in all.
      winners: what the winners inherited, in their order; None for one that could not be trained further.
    """

    record: SupernetRecord
    epochs: int
    winners: tuple[Inherited | None, ...]


def read_record(directory: Path) -> SupernetRecord:
    """The record in the folder of a finished supernet stage."""
    return from_plain(SupernetRecord, read_json(directory / RECORD))


def searched_space(name: str, config: SupernetConfig, resolution: int, num_classes: int) -> SearchSpace:
    """The named space of a supernet: for the data set's resolution, or for those of `config`.

    Raises UsageError for resolutions that the space cannot have.
    """
    sides = tuple(sorted(config.resolutions))
    return space(name, OneOf(sides) if sides else resolution, num_classes)


def as_the_loop_sees(config: SearchConfig, supernet: SupernetConfig) -> SearchConfig:
    """The settings of a search by shared weights: its trials are trained, but together, for as long as the supernet."""
    if config.evaluator != SUPERNET:
        return config
    return dataclasses.replace(config, epochs=trained_epochs(supernet))


def trained_epochs(config: SupernetConfig) -> int:
    """For how long the shared weights are trained in all."""
    return config.epochs + (config.full_epochs if config.method == PROGRESSIVE else 0)
