"""The host's two tools against `litert-benchmark` run by hand, and the order of networks that grow by construction.

    python -m benchmarks.host_tools [--rounds=7] [--core=0]

About 3 minutes; nothing else should run. Networks are MobileNetV2 (Sandler et al. 2018) with random weights, of which
the latency does not depend, built by search.build and converted by deploy.convert.

First, five networks above 1 ms: our Interpreter, our CompiledModel and `litert-benchmark` measure in turns, each in a
fresh process pinned to the same core, so that all meet the same drift of the machine. A ratio is the median of our
process medians by that of theirs, expected within 5 % of 1. (`litert-benchmark` rounds to 0.01 ms: no smaller network.)

Second, one network at five sizes, each wider or of a higher resolution than the one before, with four to six times its
MACs, from some 30 us to 8 ms: the protocol measures them in turns, and its medians must have the order of the sizes,
with intervals that do not overlap.

The exit code is 1 if a ratio or the order is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from android_bench.connections import Connections
from android_bench.protocol import measure_all, runner_for
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from benchmarks.host_latency import PLAN, TOLERANCE, WIDTH, litert_benchmark_us
from core.errors import LitesmithError, one_line
from core.values import LatencyStats, Target
from deploy.schemes import FLOAT32, FULL_INTEGER
from search.arch import ArchSpec
from search.cost import cost
from search.networks.mobilenet_v2 import mobilenet_v2

CLASSES = 10
CALIBRATION_IMAGES = 2  # ranges of random weights: only that there are some
# (width multiplier, resolution, scheme)
ABOVE_1_MS = (
    (0.5, 224, FLOAT32),
    (1.0, 160, FLOAT32),
    (1.0, 224, FULL_INTEGER),
    (1.0, 224, FLOAT32),
    (1.4, 224, FLOAT32),
)
GROWING = (
    (0.35, 32, FLOAT32),
    (0.35, 64, FLOAT32),
    (0.5, 112, FLOAT32),
    (1.0, 128, FLOAT32),
    (1.4, 224, FLOAT32),
)
OUR_TARGETS = ("host", "host_compiled")


@dataclass(frozen=True, slots=True)
class Ratios:
    """Process medians on one model in microseconds, in the order they were taken: of our tools by target, and of
    `litert-benchmark`."""

    model: str
    ours_us: dict[str, list[float]]
    theirs_us: list[float]

    def ratio(self, target: str) -> float:
        """Our median by theirs."""
        return statistics.median(self.ours_us[target]) / statistics.median(self.theirs_us)


@dataclass(frozen=True, slots=True)
class Grown:
    """One size of the growing network, and what was measured of it."""

    model: str
    macs: int
    latency: LatencyStats


def main() -> int:
    """Measures, prints both tables, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="fresh processes per tool and model")
    parser.add_argument("--core", type=int, default=0, help="the core that all tools are pinned to")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        config = BenchConfig(cpu_mask=(arguments.core,), processes=arguments.rounds)
        with tempfile.TemporaryDirectory() as folder:
            rows = [ratios(_network(Path(folder), *size), config) for size in ABOVE_1_MS]
            grown = growing(Path(folder), config)
    except LitesmithError as error:
        console.print(one_line(error), markup=False)
        return error.exit_code
    console.print(ratio_table(rows), order_table(grown))
    agree = all(abs(row.ratio(name) - 1) <= TOLERANCE for row in rows for name in OUR_TARGETS)
    return 0 if agree and is_ordered(grown) else 1


def ratios(path: Path, config: BenchConfig) -> Ratios:
    """Measures one model with all three tools in turns, alone on this machine."""
    targets = [resolve_target(name, config) for name in OUR_TARGETS]
    runners = {target.name: runner_for(target, Connections()) for target in targets}
    result = Ratios(path.stem, {target.name: [] for target in targets}, [])
    with runners["host"].exclusive(targets[0]):
        for _ in range(config.processes):
            for target in targets:
                session = runners[target.name].run(path, target, PLAN)
                result.ours_us[target.name].append(statistics.median(session.durations_ns) / 1e3)
            result.theirs_us.append(litert_benchmark_us(path, targets[0]))
    return result


def growing(folder: Path, config: BenchConfig) -> list[Grown]:
    """The growing network measured by the protocol at all sizes in turns, the smallest first."""
    target: Target = resolve_target("host", config)
    paths = [_network(folder, *size) for size in GROWING]
    grown = []
    for path, size, result in zip(paths, GROWING, measure_all(paths, target, config), strict=True):
        if isinstance(result, LitesmithError):
            raise result
        grown.append(Grown(path.stem, cost(_arch(size[0], size[1])).macs, result.latency))
    return sorted(grown, key=lambda one: one.macs)


def is_ordered(grown: Sequence[Grown]) -> bool:
    """Whether each interval lies above that of the next smaller network."""
    latencies = [one.latency for one in grown]
    return all(first.high_us < second.low_us for first, second in itertools.pairwise(latencies))


def ratio_table(rows: Sequence[Ratios]) -> Table:
    """Our tools by `litert-benchmark`, for people."""
    result = Table("MobileNetV2", title="Median latency by that of litert-benchmark: host, 1 pinned thread, XNNPACK")
    for heading in ("litert-benchmark, us", "Interpreter, us", "ratio", "CompiledModel, us", "ratio", "within 5 %"):
        result.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{statistics.median(row.theirs_us):.0f}"]
        for name in OUR_TARGETS:
            cells += [f"{statistics.median(row.ours_us[name]):.0f}", f"{row.ratio(name):.3f}"]
        agrees = all(abs(row.ratio(name) - 1) <= TOLERANCE for name in OUR_TARGETS)
        result.add_row(row.model, *cells, "yes" if agrees else "NO")
    return result


def order_table(grown: Sequence[Grown]) -> Table:
    """The growing network, for people."""
    words = "in the order of the MACs" if is_ordered(grown) else "NOT IN THE ORDER OF THE MACS"
    result = Table("MobileNetV2", title=f"One network, growing: {words}")
    for heading in ("MACs", "median, us", "95 % interval, us", "spread"):
        result.add_column(heading, justify="right")
    for one in grown:
        latency = one.latency
        interval = f"{latency.low_us:.1f} - {latency.high_us:.1f}"
        result.add_row(one.model, f"{one.macs:,}", f"{latency.median_us:.1f}", interval, f"{latency.spread:.1%}")
    return result


def _arch(width_multiplier: float, resolution: int) -> ArchSpec:
    return mobilenet_v2(resolution, CLASSES, width_multiplier)


def _network(folder: Path, width_multiplier: float, resolution: int, scheme: str) -> Path:
    """Builds and converts one network with random weights into `folder`."""
    from core.keras_env import reset

    import numpy as np

    from deploy.convert import convert
    from search.build import build

    path = folder / f"{width_multiplier} {resolution} {scheme}.tflite"
    if not path.exists():
        reset(seed=1)
        shape = (CALIBRATION_IMAGES, resolution, resolution, 3)
        images = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
        images[:, 0, 0], images[:, 0, 1] = 0, 1  # the whole range of a pixel
        path.write_bytes(convert(build(_arch(width_multiplier, resolution)), scheme, images).content)
    return path


if __name__ == "__main__":
    sys.exit(main())
