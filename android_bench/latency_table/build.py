"""Measures the latency table of a search space on a target, from its blocks and a few whole networks."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.connections import Connections
from android_bench.latency_table.assemble import block_latencies, disagrees, measured_networks
from android_bench.latency_table.log import Progress, WorkFolder
from android_bench.latency_table.measuring import Measuring
from android_bench.latency_table.units import Unit, block_units, data_type_of, random_networks
from android_bench.protocol import runner_for
from android_bench.session import NOISY, Runner
from android_bench.settings import BenchConfig
from core.progress import Reporter, SilentReporter
from core.spec_io import content_id, to_plain
from core.values import Target
from core.workspace import atomic_write_bytes, locked, remove_temporaries
from deploy.errors import ConversionError
from search.arch import ArchSpec
from search.latency.table import LatencyTable, fit_overhead
from search.space import SearchSpace

# Networks that the overhead is fitted to: a line has two unknowns, and the noise of a network is a few per cent.
WHOLE_NETWORKS = 12

MakeModel = Callable[[Unit, int, str], bytes]
NetworkLatencies = tuple[tuple[ArchSpec, float], ...]


def build_table(
    space: SearchSpace,
    scheme: str,
    target: Target,
    config: BenchConfig,
    folder: Path,
    *,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    seed: int = 1,
    whole_networks: int = WHOLE_NETWORKS,
    runner: Runner | None = None,
    make_model: MakeModel | None = None,
) -> LatencyTable:
    """Measures every block that a network of `space` may have on `target` (of `resolve_target`).

    Blocks are converted to files, alone and, where they can follow themselves, several in a row. These and a few random
    networks are timed in `config.processes` rounds in random order, on this computer in batches that share a process; a
    block whose rounds disagree is measured in more of them. How far a network differs from the sum of its blocks is
    fitted to the networks.

    All that is done is kept in `folder`, and a second call goes on from there; a kill loses the file or the batch under
    way. The folder holds for one space, scheme, target, configuration and set of tool versions.

    Args:
      scheme: "full_integer" or "float32".
      seed: of the networks and of all orders.
      whole_networks: how many networks the overhead is fitted to.
      runner, make_model: replaced by tests.

    Raises UsageError, before anything is measured, for a scheme without a table, a space of too many blocks, a folder
    that was begun with something else; ConversionError and MeasurementError naming the block.
    """
    runner = runner or runner_for(target, connections)
    work = _Work(scheme, target, config, folder, runner, reporter or SilentReporter(), make_model)
    return _measured(work, space, seed, whole_networks, ())[0]


def build_and_test_table(
    space: SearchSpace,
    scheme: str,
    target: Target,
    config: BenchConfig,
    folder: Path,
    tested: Sequence[ArchSpec],
    *,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    seed: int = 1,
    runner: Runner | None = None,
    make_model: MakeModel | None = None,
) -> tuple[LatencyTable, NetworkLatencies]:
    """`build_table`'s, and the latencies in microseconds of the networks `tested`, to which nothing is fitted.

    They are measured in the same rounds: a computer's speed changes by some per cent from one hour to the next, which
    is no error of the table.
    """
    runner = runner or runner_for(target, connections)
    work = _Work(scheme, target, config, folder, runner, reporter or SilentReporter(), make_model)
    return _measured(work, space, seed, WHOLE_NETWORKS, tuple(map(Unit, tested)))


def _measured(
    work: _Work, space: SearchSpace, seed: int, whole_networks: int, tested: Sequence[Unit]
) -> tuple[LatencyTable, NetworkLatencies]:
    data_type = data_type_of(work.scheme)
    blocks = block_units(space, data_type)
    networks = tuple(map(Unit, random_networks(space, whole_networks, seed)))
    about: dict[str, Any] = {
        "space": f"{space.name} {content_id(space)}",
        "seed": seed,
        "whole_networks": whole_networks,
    }
    if tested:
        about["tested"] = [unit.text for unit in tested]
    progress = work.done((*blocks, *networks, *tested), about, seed)
    latencies = block_latencies(blocks, progress.sessions)
    facts, date = _facts(work.target, progress, blocks), time.strftime("%Y-%m-%d")
    table = LatencyTable(space.name, data_type, facts, work.runner.tool, date, latencies)
    fitted = fit_overhead(table, measured_networks(networks, progress.sessions))
    return fitted, measured_networks(tested, progress.sessions)


@dataclass(frozen=True)
class _Work:
    """Makes and measures the models of units in a folder, from where it stands."""

    scheme: str
    target: Target
    config: BenchConfig
    folder: Path
    runner: Runner
    reporter: Reporter
    make_model: MakeModel | None

    def done(self, units: Sequence[Unit], about: Mapping[str, Any], seed: int) -> Progress:
        """All sessions of the units. Raises UsageError if the folder was begun with something else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        work = WorkFolder(self.folder)
        with locked(self.folder):
            remove_temporaries(self.folder)
            work.pin({**about, **self._request()})
            self._make_models(units, work)
            Measuring(self.runner, self.target, self.config, work, self.reporter, seed).run(units)
            return work.progress()

    def _request(self) -> dict[str, Any]:
        """What the figures depend on; of the configuration, what sessions are made of."""
        config = self.config
        return {
            "scheme": self.scheme,
            "target": to_plain(self.target),
            "tool": self.runner.tool,
            "tensorflow": importlib.metadata.version("tensorflow"),
            "sessions": [config.processes, config.warmup_runs, config.runs, config.min_seconds],
        }

    def _make_models(self, units: Sequence[Unit], work: WorkFolder) -> None:
        """Writes the files that are not there yet."""
        wanted = [
            (unit, copies, path)
            for unit in units
            for copies, path in zip(unit.copies, unit.files(work.models), strict=True)
        ]
        missing = [job for job in wanted if not job[2].exists()]
        if not missing:
            return
        make_model = self.make_model or _converter()
        with self.reporter.task("convert", len(missing)) as task:
            for unit, copies, path in missing:
                try:
                    atomic_write_bytes(path, make_model(unit, copies, self.scheme))
                except ConversionError as error:
                    raise ConversionError(f"{unit.text}: {error}") from error
                task.advance(note=unit.note)


def _converter() -> MakeModel:
    from android_bench.latency_table.models import model_content  # imports TensorFlow

    return model_content


def _facts(target: Target, progress: Progress, blocks: Sequence[Unit]) -> dict[str, str]:
    """The target, its condition while it was measured, and what speaks against the figures."""
    plain = {key: value for key, value in to_plain(target).items() if value}
    words = {key: ",".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in plain.items()}
    doubtful = sum(disagrees(unit, progress.sessions[unit.name]) for unit in blocks)
    concerns = [f"{NOISY}: sessions of {doubtful} of {len(blocks)} blocks disagree"] if doubtful else []
    verdict = "; ".join(dict.fromkeys([*progress.concerns, *concerns])) or "ok"
    return words | progress.conditions | {"verdict": verdict}
