"""One more network out of a finished supernet: for a device or a budget, or the one that is named.

The network goes the way of a search's winner - fine-tuning, compression, conversion, checks, benchmark, report - in a
folder of its own, a run's folder with another kind of search. What the supernet's run has made is linked there.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from android_bench.connections import Connections
from android_bench.latency_table.build import build_table
from android_bench.settings import target_stem
from android_bench.targets import resolve_target
from core.checks import in_range
from core.errors import UsageError, bad_value
from core.progress import Reporter
from core.spec_io import content_id, from_plain, to_plain
from core.workspace import AppendLog, atomic_write_json, locked, read_json
from deploy.schemes import FULL_INTEGER
from pipeline.closing import closing_lines
from pipeline.config import Config
from pipeline.plan import Extraction, Plan
from pipeline.plan_keys import keyed_bench, keyed_judging
from pipeline.planning import checked_plan
from pipeline.runner import SUMMARY_KINDS, is_done, run_stages
from pipeline.supernet_record import searched_space
from pipeline.workdir import EXTRACT, EXTRACTED, Workdir
from search.cost import cost
from search.grammar import from_text, to_text
from search.latency.configured import check_latency_table, table_latency
from search.latency.reachable import distinct_blocks
from search.latency.table import read_latency_table, write_latency_table
from search.settings import LIMIT, SUPERNET, SearchConfig
from search.space import Genotype, SearchSpace
from search.supernet.accuracy_predictor import FEWEST
from search.supernet.genotypes import genotype_of, smallest_genotype
from search.supernet.specialize import specialize
from search.trials import Trial

BUDGETS = ("arch", "max_latency_us", "max_macs")
MIN_PROCESSES = 2  # of a table: of one session alone, nothing tells how far it is to be trusted


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Which network to take.

    Attributes:
      arch: its text; or "", and there is a budget:
      max_latency_us, max_macs: the most that it may take.
      target: what to measure on, "" for those of the configuration.
      latency_table: a file of the command latency_table, which predicts the latency; "" for that of the configuration,
        or one that is measured on the target now.
    """

    arch: str = ""
    max_latency_us: float | None = None
    max_macs: float | None = None
    target: str = ""
    latency_table: str = ""

    def __post_init__(self) -> None:
        given = [name for name in BUDGETS if getattr(self, name) not in ("", None)]
        if len(given) != 1:
            found = ", ".join(f"--{name}" for name in given) or "none"
            raise UsageError(f"extract: expected one of --arch, --max_latency_us and --max_macs, got {found}")
        for name in BUDGETS[1:]:
            value = getattr(self, name)
            if value is not None:
                in_range(f"--{name}", value, *LIMIT)


@dataclass(frozen=True)
class Extracted:
    """What to print, and the recipes' failures, a line each."""

    lines: list[str]
    failures: list[str]


def extract_command(
    request: ExtractRequest,
    config: Config,
    workdir: Path,
    out: Path,
    reporter: Reporter,
    connections: Connections | None = None,
    command: str = "",
) -> Extracted:
    """Fills `out` with the network that is asked for. The same call again goes on where it stands.

    The report and the release in `out` tell `command`, the command line. Nothing is published: a network for one device
    is no successor of what the run released.

    Evaluated sub-networks and measured latency tables are kept in WORKDIR/extract for the next network.
    Raises UsageError for bad input, a supernet that is not finished and a network of another space. Nothing is then
    left in an `out` that was new or empty, but for stages that were finished there.
    """
    if config.search.evaluator != SUPERNET:
        raise bad_value("config.search.evaluator", config.search.evaluator, f"{SUPERNET!r} for extract")
    config = dataclasses.replace(config, release=config.release.unpublished())
    whole = checked_plan(config)
    space = _space(whole, config, workdir)
    _check_budget(request, config, space)
    if request.arch:
        request = dataclasses.replace(request, arch=_named(request.arch, space))
    _check_folder(request, config, out)
    with _kept(workdir) as kept:
        table = _latency_table(request, config, space, kept, reporter, connections or Connections())
        own = _own_config(request, config, table)
        _check_reachable(own.search, space)
        supernet = whole.stage("supernet")
        judged = (supernet.key, keyed_judging(config.supernet), config.supernet.predictor_networks)
        log = kept / f"evaluated-{content_id(judged, length=12)}.jsonl"
        plan = checked_plan(own, Extraction(request.arch, log, config.search), command)
        with _folder(request, own, out) as folder:
            _link(plan, workdir, out)
            failures = run_stages(
                plan.for_command("run"), plan, own, folder, reporter, connections=connections or Connections()
            )
        return Extracted([*_network_lines(plan, out), *closing_lines(out)], failures)


def _space(plan: Plan, config: Config, workdir: Path) -> SearchSpace:
    """The space of the finished supernet in `workdir`. Raises UsageError if there is none."""
    supernet, data = plan.stage("supernet"), plan.stage("data")
    if not is_done(supernet, workdir) or not is_done(data, workdir):
        raise UsageError(
            f"--workdir: {workdir} holds no finished supernet of this configuration; the command search with the same "
            "--config and --workdir trains it"
        )
    described = read_json(data.directory(workdir) / "data.json")
    names = described["class_names"]
    return searched_space(config.search.space, config.supernet, described["resolution"], len(names))


def _check_budget(request: ExtractRequest, config: Config, space: SearchSpace) -> None:
    """Raises UsageError if not even the smallest network keeps to it, or nothing could learn what is best within it."""
    networks = config.supernet.predictor_networks
    if not request.arch and networks < FEWEST:
        legal = f"{FEWEST} or more for a network within a budget; without a predictor only --arch can be taken"
        raise bad_value("config.supernet.predictor_networks", networks, legal)
    least = cost(space.decode(smallest_genotype(space))).macs
    if request.max_macs is not None and request.max_macs < least:
        legal = f"at least {least:,}, those of the smallest network of space {space.name}"
        raise bad_value("--max_macs", request.max_macs, legal)


def _check_folder(request: ExtractRequest, config: Config, out: Path) -> Workdir:
    """The network's folder. Raises UsageError if it is not one for this request."""
    folder, pin = Workdir(out, "--out"), out / EXTRACTED
    folder.check(config, new_config=True)  # the network's own configuration is not known yet
    if pin.is_file() and read_json(pin) != to_plain(request):
        raise UsageError(f"--out: {out} holds another network, or was begun with other flags; use a new folder")
    return folder


def _check_reachable(search: SearchConfig, space: SearchSpace) -> None:
    """Raises UsageError if by the table no network is within the limit of the latency. Nothing is judged for that."""
    check_latency_table(search, space)
    latency_us = table_latency(search)
    if latency_us is None or search.max_latency_us is None:
        return
    smallest = smallest_genotype(space)
    if latency_us(space.decode(smallest)) <= search.max_latency_us:
        return
    try:  # the smallest need not be the fastest
        specialize(space, _Alike(), latency_us, search.max_latency_us, seed=0, population=4, generations=0)
    except UsageError as error:
        raise UsageError(f"--{error}") from error


class _Alike:
    """A search.supernet.specialize.Predictor to which all networks are equally good."""

    def predict(self, genotypes: Sequence[Genotype]) -> NDArray[np.float64]:
        return np.zeros(len(genotypes))


def _named(text: str, space: SearchSpace) -> str:
    """The text of a network as the space has it. Raises UsageError if it has none such."""
    try:
        return to_text(space.decode(genotype_of(space, from_text(text))))
    except UsageError as error:
        raise UsageError(f"--arch: {error}") from error


@contextmanager
def _kept(workdir: Path) -> Iterator[Path]:
    """The folder of what is kept for the next network, held for this process."""
    folder = workdir / EXTRACT
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"--workdir: {workdir} is not writable ({error.strerror})") from error
    with locked(folder):
        yield folder


def _latency_table(
    request: ExtractRequest,
    config: Config,
    space: SearchSpace,
    kept: Path,
    reporter: Reporter,
    connections: Connections,
) -> str:
    """The file that predicts latencies, "" if none is needed."""
    if request.latency_table:
        _check_table(request.latency_table, space)
        return request.latency_table
    known = "" if request.target else config.search.latency_table or ""
    if known or request.max_latency_us is None:
        return known
    name, bench = request.target or config.search.target, config.bench
    target = resolve_target(name, bench, "--target")
    key = content_id((space, keyed_bench(dataclasses.replace(bench, targets=(name,)))), length=12)
    path = kept / f"latency-{target_stem(name)}-{key}.json"
    if path.exists():
        return str(path)
    if bench.processes < MIN_PROCESSES:
        raise bad_value("config.bench.processes", bench.processes, f"{MIN_PROCESSES} or more for a latency table")
    reporter.line(f"latency table of {space.name} on {target.name}")
    work = path.with_suffix(".work")
    table = build_table(
        space, FULL_INTEGER, target, bench, work, connections=connections, reporter=reporter, seed=config.seed
    )
    write_latency_table(path, table)
    shutil.rmtree(work)
    return str(path)


def _check_table(path: str, space: SearchSpace) -> None:
    """Raises UsageError if the table cannot be read, or lacks a block of the space."""
    try:
        table = read_latency_table(Path(path))
    except UsageError as error:
        raise UsageError(f"--latency_table: {error}") from error
    if table.space != space.name or table.missing(distinct_blocks(space, table.data_type)):
        legal = f"a table of the space {space.name} for these images and classes"
        raise bad_value("--latency_table", path, f"{legal}; this one is of {table.space}")


def _own_config(request: ExtractRequest, config: Config, table: str) -> Config:
    """The configuration of the network's own folder: the budget is the limit of its search, the rest as it was."""
    search, bench, target = config.search, config.bench, request.target
    if target:
        bench = dataclasses.replace(bench, targets=(target,))
    common = SearchConfig(
        space=search.space,
        oracle="regularized_evolution",
        evaluator=SUPERNET,
        objective="accuracy",
        target=target or search.target,
        max_macs=request.max_macs,
        target_macs=request.max_macs or search.target_macs,
        cost="latency_us" if table else "macs",
        latency_table=table or None,
        max_latency_us=request.max_latency_us,
        target_latency_us=request.max_latency_us or search.target_latency_us,
    )
    return dataclasses.replace(config, search=common, bench=bench)


@contextmanager
def _folder(request: ExtractRequest, config: Config, out: Path) -> Iterator[Workdir]:
    """The network's folder, pinned to the request. Bad input leaves nothing of it (Workdir.opened)."""
    folder = _check_folder(request, config, out)
    folder.check(config, new_config=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        atomic_write_json(out / EXTRACTED, request)
        yield folder
    except OSError as error:
        raise UsageError(f"--out: {out} is not writable ({error.strerror})") from error


def _link(plan: Plan, workdir: Path, out: Path) -> None:
    """Links what the supernet's run has finished of the plan."""
    for stage in plan.stages:
        source, link = stage.directory(workdir), stage.directory(out)
        if stage.kind in SUMMARY_KINDS or link.exists() or not is_done(stage, workdir):
            continue
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)  # one that leads nowhere
        os.symlink(source.resolve(), link, target_is_directory=True)


def _network_lines(plan: Plan, out: Path) -> list[str]:
    """The network, and what was foreseen of it."""
    found = plan.stage("search").directory(out)
    trial = from_plain(Trial, read_json(found / "winners.json")[0])
    metrics = trial.metrics
    latency = f", predicted {metrics['latency_us']:.1f} us" if "latency_us" in metrics else ""
    return [
        f"network: {trial.arch}",
        f"{metrics['macs'] / 1e6:.2f}M MACs, {metrics['params'] / 1e3:.0f}k parameters{latency}; best of "
        f"{len(AppendLog(found / 'trials.jsonl').read())} that the supernet judged",
    ]
