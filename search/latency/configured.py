"""What `config.search.latency_table` says. No Keras Tuner and no TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.errors import UsageError
from search.arch import ArchSpec
from search.latency.reachable import distinct_blocks
from search.latency.table import read_latency_table
from search.settings import SearchConfig
from search.space import SearchSpace


def check_latency_table(config: SearchConfig, space: SearchSpace) -> None:
    """Raises UsageError if `config.latency_table` lacks a block of the space, as one for other images does."""
    if config.latency_table is None:
        return
    table = read_latency_table(Path(config.latency_table))
    missing = table.missing(distinct_blocks(space, table.data_type))
    if missing:
        raise UsageError(
            f"config.search.latency_table: {config.latency_table} lacks {len(missing)} blocks of the space "
            f"{space.name}, the first {missing[0].text!r}; it was measured for other images or classes"
        )


def table_latency(config: SearchConfig) -> Callable[[ArchSpec], float] | None:
    """What a network's latency is by `config.latency_table`; None without one. Raises UsageError if unreadable."""
    if config.latency_table is None:
        return None
    table = read_latency_table(Path(config.latency_table))
    return lambda arch: table.predict(arch).latency_us
