"""Whether a latency table predicts whole networks: the blocks of space mobilenet_v2 and random networks of it on host.

    python -m benchmarks.latency_table [--networks=40] [--seed=1] [--scheme=full_integer] [--out=DIR]

Builds the table (at most 15 minutes on 2 cores, conversion and the networks below included), and in the same rounds
measures networks that nothing is fitted to. Compared with the table's predictions, Spearman's rank correlation must be
at least 0.98, and at least 90 % of the networks within 10 % of the prediction. The exit code is 1 if one of the three
is missed.

The networks are of 96 pixels and 1,000 classes: they take 0.3 to 7 ms on a server's core, while their early blocks and
their late ones differ as those of larger images do. Everything is kept in --out (default out/latency_table): the same
command goes on after an interruption, and after its end shows the result again. The seconds of an interrupted build
are not known; then they are not judged.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from android_bench.latency_table.build import WHOLE_NETWORKS, build_and_test_table
from android_bench.latency_table.units import random_networks
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from benchmarks.latency_predictor import spearman
from core.errors import LitesmithError, one_line
from core.progress import Reporter
from core.workspace import atomic_write_json, read_json
from search.arch import ArchSpec
from search.grammar import to_text
from search.latency.table import LatencyPrediction, LatencyTable, write_latency_table
from search.named import space

SPACE, RESOLUTION, CLASSES = "mobilenet_v2", 96, 1000
MIN_SPEARMAN = 0.98
TOLERANCE, MIN_WITHIN = 0.10, 0.90
MAX_BUILD_SECONDS = 15 * 60
WIDTH = 150  # columns where no terminal tells its own
NETWORK_WIDTH = 80  # of them for the beginning of a network's text


@dataclass(frozen=True, slots=True)
class Comparison:
    """A network with its prediction and its measured latency."""

    arch: ArchSpec
    predicted: LatencyPrediction
    measured_us: float

    @property
    def ratio(self) -> float:
        """Measured by predicted."""
        return self.measured_us / self.predicted.latency_us


def main() -> int:
    """Builds, measures, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40, help="networks to measure")
    parser.add_argument("--seed", type=int, default=1, help="of the networks and of the order of measuring")
    parser.add_argument("--scheme", default="full_integer", help="full_integer or float32")
    parser.add_argument("--out", type=Path, default=Path("out/latency_table"), help="where everything is kept")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        table, rows, seconds = _measured(arguments, Reporter())
    except LitesmithError as error:
        console.print(one_line(error), markup=False)
        return error.exit_code
    console.print(shown(rows))
    return _judged(console, table, rows, seconds)


def _measured(arguments: argparse.Namespace, reporter: Reporter) -> tuple[LatencyTable, list[Comparison], float | None]:
    """The table, the networks, and the seconds that both took if they are known."""
    name = f"{arguments.scheme}_{arguments.seed}_{arguments.networks}"
    work, facts = arguments.out / f"{name}.work", arguments.out / f"{name}.seconds.json"
    resumed = work.exists()
    searched = space(SPACE, RESOLUTION, CLASSES)
    fitted = random_networks(searched, WHOLE_NETWORKS, arguments.seed)  # those of the table's overhead
    archs = random_networks(searched, arguments.networks, arguments.seed + 1, without=fitted)
    config, began = BenchConfig(), time.monotonic()
    table, measured = build_and_test_table(
        searched,
        arguments.scheme,
        resolve_target("host", config),
        config,
        work,
        archs,
        reporter=reporter,
        seed=arguments.seed,
    )
    if not resumed:
        atomic_write_json(facts, time.monotonic() - began)
    write_latency_table(arguments.out / f"{name}.json", table)
    rows = [Comparison(arch, table.predict(arch), us) for arch, us in measured]
    return table, rows, read_json(facts) if facts.exists() else None


def shown(rows: Sequence[Comparison]) -> Table:
    """The networks in the order of their latencies."""
    result = Table(title=f"Networks of space {SPACE} at {RESOLUTION} pixels on host, 1 pinned thread, XNNPACK")
    for heading in ("measured, us", "predicted, us", "95 % interval", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("network", overflow="ellipsis", no_wrap=True, max_width=NETWORK_WIDTH)
    for row in sorted(rows, key=lambda row: row.measured_us):
        told = row.predicted
        interval = f"{told.low_us:.0f} - {told.high_us:.0f}"
        result.add_row(
            f"{row.measured_us:.0f}", f"{told.latency_us:.0f}", interval, f"{row.ratio:.3f}", to_text(row.arch)
        )
    return result


def _judged(console: Console, table: LatencyTable, rows: Sequence[Comparison], seconds: float | None) -> int:
    ratios = np.array([row.ratio for row in rows])
    inside = np.mean([row.predicted.low_us <= row.measured_us <= row.predicted.high_us for row in rows])
    within = float(np.mean(np.abs(ratios - 1) <= TOLERANCE))
    rank = spearman(np.array([row.predicted.latency_us for row in rows]), np.array([row.measured_us for row in rows]))
    overhead = table.overhead
    took = f"{seconds:.0f} s (limit {MAX_BUILD_SECONDS} s)" if seconds is not None else "seconds not known"
    console.print(f"table: {len(table.blocks)} blocks, {took}; {table.target.get('verdict', '')}", markup=False)
    console.print(
        f"overhead: {overhead.constant_us:.0f} us + {overhead.factor:.3f} x sum, residual {overhead.residual:.1%}; "
        f"{inside:.0%} of the networks in their 95 % interval"
    )
    console.print(
        f"Spearman {rank:.4f} (at least {MIN_SPEARMAN}); "
        f"within {TOLERANCE:.0%}: {within:.1%} (at least {MIN_WITHIN:.0%}); "
        f"median ratio {np.median(ratios):.3f}, largest error {np.abs(ratios - 1).max():.1%}"
    )
    in_time = seconds is None or seconds <= MAX_BUILD_SECONDS
    return 0 if rank >= MIN_SPEARMAN and within >= MIN_WITHIN and in_time else 1


if __name__ == "__main__":
    sys.exit(main())
