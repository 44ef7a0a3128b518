"""Compares the host runner with LiteRT's own `litert-benchmark` on real networks.

    python -m benchmarks.host_latency [--rounds=7] [--core=0] [MODEL.tflite ...]

About 2 minutes. Both tools run single-threaded, pinned to one core, in fresh processes that take turns (ours, theirs,
ours, theirs ...), so that both meet the same drift of the machine. The figure of a tool is the median of its process
medians; the ratio is ours by theirs, expected within 5 % of 1. `litert-benchmark` rounds to 0.01 ms, so networks under
1 ms are shown but not judged. The exit code is 1 if a ratio is out of bounds.

Without arguments the models are MobileNetV2 at several widths and resolutions (random weights: latency does not depend
on them), in float32 and int8, and the .tflite files of ../shared/data/models where present.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from android_bench.protocol import check_model_file
from android_bench.runners.host import HostRunner
from android_bench.session import SessionPlan
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core import process
from core.errors import LitesmithError, one_line
from core.values import Target

JUDGED_FROM_US = 1_000.0
TOLERANCE = 0.05
PLAN = SessionPlan(warmup_runs=20, runs=100, min_seconds=0.0)
WIDTHS_AND_RESOLUTIONS = ((0.35, 224), (0.5, 224), (1.0, 160), (1.0, 224))
WIDTH = 120  # columns where no terminal tells its own
SHARED_MODELS = Path(__file__).resolve().parents[2] / "shared" / "data" / "models"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Process medians of both tools on one model, in microseconds and in the order they were taken."""

    model: str
    ours_us: tuple[float, ...]
    theirs_us: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Our median by theirs."""
        return statistics.median(self.ours_us) / statistics.median(self.theirs_us)

    @property
    def judged(self) -> bool:
        """Whether the network is slow enough for a tool that rounds to 10 us."""
        return statistics.median(self.theirs_us) >= JUDGED_FROM_US

    @property
    def agrees(self) -> bool:
        """Whether the ratio is within the tolerance; true for a network that is not judged."""
        return not self.judged or abs(self.ratio - 1) <= TOLERANCE


def main() -> int:
    """Measures, prints the table, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="fresh processes per tool and model")
    parser.add_argument("--core", type=int, default=0, help="the core that both tools are pinned to")
    parser.add_argument("models", nargs="*", type=Path, help=".tflite files instead of the built-in choice")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        target = resolve_target("host", BenchConfig(cpu_mask=(arguments.core,)))
        with tempfile.TemporaryDirectory() as folder:
            models = [check_model_file(path) for path in arguments.models] or default_models(Path(folder))
            rows = []
            for number, path in enumerate(models, 1):
                console.print(f"{number}/{len(models)} {path.stem}")
                rows.append(compare(path, target, arguments.rounds))
    except LitesmithError as error:
        console.print(one_line(error), markup=False)
        return error.exit_code
    console.print(table(rows))
    return 0 if all(row.agrees for row in rows) else 1


def compare(path: Path, target: Target, rounds: int) -> Comparison:
    """Measures one model with both tools in turns, alone on this machine."""
    ours, theirs = [], []
    runner = HostRunner()
    with runner.exclusive(target):
        for _ in range(rounds):
            ours.append(statistics.median(runner.run(path, target, PLAN).durations_ns) / 1e3)
            theirs.append(litert_benchmark_us(path, target))
    return Comparison(path.stem, tuple(ours), tuple(theirs))


def litert_benchmark_us(path: Path, target: Target) -> float:
    """The median that `litert-benchmark` reports, in microseconds (a multiple of 10)."""
    command = Path(sys.executable).parent / "litert-benchmark"
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        arguments = [
            *("taskset", "--cpu-list", ",".join(map(str, target.cpu_mask)), str(command)),
            *("--model", str(path), "--num_threads", str(target.num_threads)),
            *("--warmup_runs", str(PLAN.warmup_runs), "--num_runs", str(PLAN.runs), "--result_json", str(result)),
        ]
        process.run(arguments, timeout_s=300)
        return float(json.loads(result.read_text())["latency"]["median_ms"]) * 1e3


def default_models(folder: Path) -> list[Path]:
    """Networks written to `folder`, and the shared ones that LiteRT accepts."""
    paths = list(_mobilenets(folder))
    shared = sorted(SHARED_MODELS.glob("*.tflite")) if SHARED_MODELS.is_dir() else []
    return paths + [path for path in shared if "malformed" not in path.name]


def _mobilenets(folder: Path) -> Iterator[Path]:
    from core.keras_env import keras, reset

    for width, resolution in WIDTHS_AND_RESOLUTIONS:
        reset(seed=1)
        shape = (resolution, resolution, 3)
        model = keras.applications.MobileNetV2(input_shape=shape, alpha=width, weights=None)
        for quantized in (False, True):
            path = folder / f"mobilenet_v2_{width}_{resolution}_{'int8' if quantized else 'float32'}.tflite"
            path.write_bytes(_convert(model, shape, quantized))
            yield path


def _convert(model: object, shape: tuple[int, int, int], quantized: bool) -> bytes:
    from core.keras_env import tf

    import numpy as np

    from core.quiet import quiet_stderr

    spec = tf.TensorSpec((1, *shape), tf.float32)
    function = tf.function(lambda images: model(images)).get_concrete_function(spec)  # type: ignore[operator]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_lower_to_saved_model = False
    if quantized:
        random = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [random.uniform(-1, 1, (1, *shape)).astype(np.float32)] for _ in range(4)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with quiet_stderr():
        return bytes(converter.convert())


def table(rows: list[Comparison]) -> Table:
    """The comparison for people; the ranges are those of the process medians."""
    result = Table("model", title="Median latency on host, 1 pinned thread, XNNPACK")
    for heading in ("ours, us", "range", "litert-benchmark, us", "range", "ratio", f"within {TOLERANCE:.0%}"):
        result.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{row.ratio:.3f}", ("yes" if row.agrees else "NO") if row.judged else "under 1 ms"]
        for figures in (row.theirs_us, row.ours_us):
            cells = [f"{statistics.median(figures):.0f}", f"{min(figures):.0f} - {max(figures):.0f}", *cells]
        result.add_row(row.model, *cells)
    return result


if __name__ == "__main__":
    sys.exit(main())
