"""What is measured for a latency table: every block of the space, and a few whole networks. No TensorFlow here."""

from __future__ import annotations

import random
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from core.checks import in_choices
from core.errors import bad_value
from core.spec_io import content_id
from deploy.schemes import FLOAT32, FULL_INTEGER
from search.arch import ArchSpec
from search.grammar import to_text
from search.latency.blocks import BlockKey, is_chainable
from search.latency.reachable import distinct_blocks
from search.sampling import Sampler
from search.space import SearchSpace

# The data type that the blocks of a scheme compute in.
DATA_TYPES = {FULL_INTEGER: "int8", FLOAT32: "float32"}
# Blocks in a row in the longer file of a block that can follow itself: two more than in the other, so that the error of
# the difference of the two files is halved.
COPIES = 3
MAX_NETWORKS = 1_000


@dataclass(frozen=True, slots=True)
class Unit:
    """A block or a network: one file or two, which are always measured in turns in the same process."""

    part: BlockKey | ArchSpec

    @property
    def is_network(self) -> bool:
        """Whether it is a network, not a block."""
        return isinstance(self.part, ArchSpec)

    @property
    def text(self) -> str:
        """What it is called in messages; that of a block is its key in the table."""
        return self.part.text if isinstance(self.part, BlockKey) else to_text(self.part)

    @property
    def note(self) -> str:
        """What it is called in a line of progress."""
        return "a whole network" if self.is_network else self.text

    @property
    def name(self) -> str:
        """What it is called in file names and in the log."""
        return content_id(self.part)

    @property
    def copies(self) -> tuple[int, ...]:
        """How often each of its files holds it."""
        return (1, COPIES) if isinstance(self.part, BlockKey) and is_chainable(self.part) else (1,)

    def files(self, folder: Path) -> tuple[Path, ...]:
        """Its files in a folder, in the order of `copies`."""
        return tuple(folder / f"{self.name}_{copies}.tflite" for copies in self.copies)


def data_type_of(scheme: str) -> str:
    """The data type of a scheme's blocks. Raises UsageError for a scheme that has no latency table."""
    in_choices("--scheme", scheme, DATA_TYPES)
    return DATA_TYPES[scheme]


def block_units(space: SearchSpace, data_type: str) -> tuple[Unit, ...]:
    """Every block that a network of the space may have. Raises UsageError if there are too many of them."""
    return tuple(map(Unit, distinct_blocks(space, data_type)))


def random_networks(
    space: SearchSpace, count: int, seed: int, without: Container[ArchSpec] = ()
) -> tuple[ArchSpec, ...]:
    """Different networks, drawn evenly from the genotypes of the space, none of them in `without`.

    Raises UsageError for a count out of range, LitesmithError if the space has not so many.
    """
    if not 1 <= count <= MAX_NETWORKS:
        raise bad_value("latency table: number of whole networks", count, f"1 to {MAX_NETWORKS}")
    sampler = Sampler(space, random.Random(seed))
    found: dict[ArchSpec, None] = {}
    for _ in range(100 * count):
        arch = space.decode(sampler.sample())
        if arch not in without:
            found[arch] = None
        if len(found) == count:
            return tuple(found)
    raise bad_value("latency table: number of whole networks", count, f"at most {len(found)} in space {space.name}")
