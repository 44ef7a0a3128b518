"""Measures every reference network and writes docs/networks.md.

    python -m benchmarks.networks [--out=out/networks] [--only=NAME,...] [--latency] [--doc=docs/networks.md]

Each network is built with random weights (neither sizes nor latency depend on them) at its published resolution and
converted to float32 and full-integer .tflite in a process of its own, one at a time; then the int8 file's latency is
measured on this machine. Finished networks are kept in the --out folder: a killed run goes on with the next one, and a
network whose layers have changed is done again. `--latency` measures only the latencies again, all of them: run
it on an idle machine. The page has a dash where nothing has been measured yet.

Converting all took 25 minutes on 2 cores that others used as well, up to 8 GB of memory (VGG-16) and 0.5 GB in --out;
the latencies took 6 minutes. The exit code is 1 if a network failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_bench.protocol import measure
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from benchmarks.networks_page import Entry, page
from core import process
from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LitesmithError, one_line
from core.progress import Reporter
from core.registry import check_name
from core.spec_io import content_id, from_plain
from core.values import Measurement
from core.workspace import atomic_write_bytes, atomic_write_json, read_json
from pipeline.describe import Asked, named_page
from search.arch import ArchSpec
from search.lowering import layers_of
from search.networks import NETWORKS

# Enough for a median that moves by about 1 %, and the slowest network (2 s a run) still takes no more than a minute.
BENCH = BenchConfig(processes=3, warmup_runs=2, runs=10, min_seconds=1.0)
CALIBRATION_IMAGES = 2
CONVERT_TIMEOUT_S = 1800.0
SEED = 1


@dataclass(frozen=True, slots=True)
class Converted:
    """What the conversion of a network gave: sizes of its files, the seconds it took and the tools' versions."""

    layers_id: str
    float32_size_bytes: int
    int8_size_bytes: int
    seconds: float
    tool_versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Timed:
    """A latency, and the network that it is of."""

    layers_id: str
    measurement: Measurement


class Results:
    """The --out folder: NAME.json, NAME.int8.tflite and NAME.latency.json for each finished network.

    What belongs to other layers than the network's present ones counts as missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def converted(self, name: str) -> Converted | None:
        """The sizes of a network, if it has been converted and its int8 file is still there."""
        path = self.root / f"{name}.json"
        found = from_plain(Converted, read_json(path)) if path.exists() and self.model(name).exists() else None
        return found if found and found.layers_id == layers_id(name) else None

    def latency(self, name: str) -> Measurement | None:
        """The latency of a network, if it has been measured."""
        path = self.root / f"{name}.latency.json"
        found = from_plain(Timed, read_json(path)) if path.exists() else None
        return found.measurement if found and found.layers_id == layers_id(name) else None

    def model(self, name: str) -> Path:
        """The int8 file of a network."""
        return self.root / f"{name}.int8.tflite"

    def keep_conversion(self, name: str, converted: Converted, int8: bytes) -> None:
        """Keeps a finished conversion; the record comes last, so that it says that all is there."""
        atomic_write_bytes(self.model(name), int8)
        atomic_write_json(self.root / f"{name}.json", converted)

    def keep_latency(self, name: str, measurement: Measurement) -> None:
        """Keeps a latency, in place of an earlier one."""
        atomic_write_json(self.root / f"{name}.latency.json", Timed(layers_id(name), measurement))


def published_arch(name: str) -> ArchSpec:
    """A reference network as it was published: resolution, classes, width 1."""
    return named_page(name, Asked()).arch


def layers_id(name: str) -> str:
    """What tells a network from itself after a change of its specification or of a block."""
    return content_id(layers_of(published_arch(name)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is missing and writes the page; the exit code."""
    arguments = _parser().parse_args(argv)
    results = Results(arguments.out)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.convert:
            convert(arguments.convert, results)
            return EXIT_DONE
        names = _names(arguments.only)
        reporter = Reporter()
        failures = [] if arguments.latency else convert_all(names, results, reporter)
        failures += measure_all(names, results, reporter, again=arguments.latency)
        write_page(arguments.doc, results)
    except LitesmithError as error:
        print(f"networks: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"networks: {one_line(error)}", file=sys.stderr)
        return EXIT_USAGE
    reporter.line(f"{arguments.doc} written")
    for failure in failures:
        print(f"networks: {failure}", file=sys.stderr)
    return EXIT_FAILED if failures else EXIT_DONE


def convert_all(names: Sequence[str], results: Results, reporter: Reporter) -> list[str]:
    """Converts what has not been, each network in a process of its own; what failed, a line each."""
    todo = [name for name in names if results.converted(name) is None]
    failures = []
    with reporter.task("converting", len(todo)) as task:
        for name in todo:
            command = [sys.executable, "-m", "benchmarks.networks", f"--convert={name}", f"--out={results.root}"]
            try:
                process.run(command, timeout_s=CONVERT_TIMEOUT_S)
            except process.ProcessError as error:
                failures.append(f"{name}: {one_line(error)}")
            task.advance(note=name)
    return failures


def measure_all(names: Sequence[str], results: Results, reporter: Reporter, *, again: bool) -> list[str]:
    """Measures the latency of each converted network, or of those without one; what failed, a line each."""
    todo = [name for name in names if results.converted(name) and (again or results.latency(name) is None)]
    target = resolve_target("host", BENCH)
    failures = []
    with reporter.task("measuring", len(todo)) as task:
        for name in todo:
            try:
                results.keep_latency(name, measure(results.model(name), target, BENCH))
            except LitesmithError as error:
                failures.append(f"{name}: {one_line(error)}")
            task.advance(note=name)
    return failures


def convert(name: str, results: Results) -> None:
    """Builds and converts one network in this process."""
    from core.keras_env import reset

    import numpy as np

    from core.quiet import quiet_stderr
    from deploy.convert import convert as to_tflite
    from deploy.flatbuffer import tool_versions
    from deploy.schemes import FLOAT32, FULL_INTEGER
    from search.build import build

    started = time.monotonic()
    reset(SEED)
    arch = published_arch(name)
    shape = (CALIBRATION_IMAGES, arch.resolution, arch.resolution, 3)
    images = np.random.default_rng(SEED).random(shape, np.float32)
    images[0, 0, 0], images[-1, -1, -1] = 0, 1
    with quiet_stderr():
        model = build(arch)
        float32_size_bytes = len(to_tflite(model, FLOAT32).content)
        int8 = to_tflite(model, FULL_INTEGER, images).content
    seconds = round(time.monotonic() - started, 1)
    converted = Converted(layers_id(name), float32_size_bytes, len(int8), seconds, tool_versions())
    results.keep_conversion(name, converted, int8)


def write_page(path: Path, results: Results) -> None:
    """Writes docs/networks.md of what has been measured."""
    entries = []
    for name in NETWORKS:
        converted = results.converted(name)
        float32, int8 = (converted.float32_size_bytes, converted.int8_size_bytes) if converted else (None, None)
        entries.append(Entry(name, named_page(name, Asked()), float32, int8, results.latency(name)))
    atomic_write_bytes(path, page(entries).encode())


def _names(only: str) -> list[str]:
    names = [name for name in only.split(",") if name]
    for name in names:
        check_name(NETWORKS, name, "--only")
    return [name for name in NETWORKS if name in names or not names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/networks"), help="folder of finished networks")
    parser.add_argument(
        "--only", default="", help="names of networks, separated by commas; the others stay as they are"
    )
    parser.add_argument("--latency", action="store_true", help="convert nothing and measure all latencies again")
    parser.add_argument("--doc", type=Path, default=Path("docs/networks.md"), help="the page to write")
    parser.add_argument("--convert", choices=NETWORKS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
