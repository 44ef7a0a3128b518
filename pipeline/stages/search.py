"""Stage "search": Keras Tuner's oracle suggests, we train, convert and measure; the best networks win."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from android_bench.settings import BenchConfig
from compress.recipe import CompressConfig
from core.workspace import atomic_write_json, read_json
from pipeline.data import load
from pipeline.evaluators import MeasuringEvaluator, TrainEvaluatorFactory
from pipeline.found import FoundStrategy, values_of
from pipeline.proxies import ZeroCostEvaluatorFactory, warm_start
from pipeline.runner import Outcome, StageContext
from pipeline.supernet import SharedEvaluatorFactory
from pipeline.supernet_record import SupernetRecord, as_the_loop_sees, read_record, searched_space
from search.dataset import ImageData
from search.evaluate import EvaluatorFactory
from search.front import hypervolume_share, winners
from search.latency.configured import check_latency_table
from search.loop import run_search, search_with
from search.objective import PARETO
from search.oracles.strategy import Strategy
from search.parallel import WorkerPool, threads_per_worker
from search.pareto import front
from search.recipe_space import parse_template
from search.settings import SUPERNET, ZERO_COST, SearchConfig
from search.space import SearchSpace
from search.supernet.settings import SupernetConfig
from search.trials import OK, Trial


def run(context: StageContext) -> Outcome:
    """Writes trials.jsonl and winners.json (the best networks' trials, best first)."""
    config: SearchConfig = context.params["search"]
    data = load(context.input("data"))
    supernet: SupernetConfig = context.params.get("supernet", SupernetConfig())
    named_space = searched_space(config.space, supernet, data.resolution, data.num_classes)
    if config.recipe is not None:
        named_space = dataclasses.replace(named_space, recipe=parse_template(config.recipe))
    check_latency_table(config, named_space)
    trials = _search(context, config, named_space, data)
    chosen = winners(config, trials)
    shutil.copyfile(context.scratch / "trials.jsonl", context.out / "trials.jsonl")
    atomic_write_json(context.out / "winners.json", [dataclasses.replace(trial, seconds={}) for trial in chosen])
    failed = sum(trial.status != OK for trial in trials)
    return Outcome(f"{len(trials)} trials ({failed} failed); {_found(config, trials, chosen)}")


def _search(context: StageContext, config: SearchConfig, named_space: SearchSpace, data: ImageData) -> list[Trial]:
    seed, reporter, tracker = context.params["seed"], context.reporter, context.tracker
    log = context.scratch / "trials.jsonl"
    shared = read_record(context.input("supernet")) if config.evaluator == SUPERNET else None
    if shared is not None:
        config = as_the_loop_sees(config, context.params["supernet"])
    factory = _factory(context)
    if shared is not None and shared.is_found:
        found = FoundStrategy(shared.suggestions[0], config.epochs)
        reporter.line(f"  the network that {shared.method} has found")
        only = dataclasses.replace(config, max_trials=1, warm_start=0)
        evaluator = factory(nullcontext)
        return run_search(only, named_space, found, evaluator, log, seed=seed, reporter=reporter, tracker=tracker)
    reporter.line(
        f"  {config.oracle} over {named_space.name}: {len(named_space.genes)} genes, {named_space.size:.2g} genotypes, "
        f"{config.max_trials} trials {_effort(config, shared)}{_beside(config)}"
    )
    first_values = _first_values(context, config, named_space, data, shared)
    strategy = Strategy(config, named_space, seed, first_values=first_values)
    if config.num_workers == 1:
        evaluator = factory(nullcontext)
        if isinstance(evaluator, MeasuringEvaluator):
            evaluator.reporter = reporter
        return run_search(config, named_space, strategy, evaluator, log, seed=seed, reporter=reporter, tracker=tracker)
    with WorkerPool(factory, config.num_workers, context.scratch, reporter) as workers:
        return search_with(workers, config, named_space, strategy, log, seed=seed, reporter=reporter, tracker=tracker)


def _factory(context: StageContext) -> EvaluatorFactory:
    """What makes the evaluator that the configuration names."""
    config: SearchConfig = context.params["search"]
    data, scratch = context.input("data"), context.scratch
    bench = context.params.get("bench", BenchConfig())
    if config.evaluator == ZERO_COST:
        return ZeroCostEvaluatorFactory(config, data)
    if config.evaluator == SUPERNET:
        supernet, seed, weights = context.params["supernet"], context.params["seed"], context.input("supernet")
        return SharedEvaluatorFactory(config, supernet, seed, bench, data, weights, scratch, context.connections)
    compress = context.params.get("compress", CompressConfig())
    return TrainEvaluatorFactory(config, bench, data, scratch, compress, context.connections, context.tracker)


def _effort(config: SearchConfig, shared: SupernetRecord | None) -> str:
    return f"of {config.epochs} epochs" if shared is None else f"by the weights that {shared.method} has trained"


def _first_values(
    context: StageContext,
    config: SearchConfig,
    named_space: SearchSpace,
    data: ImageData,
    shared: SupernetRecord | None,
) -> list[Mapping[str, Any]]:
    """What the supernet's training suggests, and the warm start. The latter is computed once: elsewhere a score may be
    rounded otherwise, and the log would not replay."""
    path = context.scratch / "warm_start.json"
    if config.warm_start and not path.exists():
        found = warm_start(config, named_space, data, context.params["seed"], context.reporter)
        atomic_write_json(path, found)
    suggested = [values_of(named_space, genotype) for genotype in shared.suggestions] if shared else []
    return [*suggested, *(read_json(path) if config.warm_start else [])]


def _beside(config: SearchConfig) -> str:
    if config.num_workers == 1:
        return ""
    threads = threads_per_worker(config.num_workers)
    return f", {config.num_workers} at once with {threads} thread{'s' if threads > 1 else ''} each"


def _found(config: SearchConfig, trials: Sequence[Trial], chosen: Sequence[Trial]) -> str:
    if config.objective == PARETO:
        size = len(front(trials, config.directions))
        share = hypervolume_share(trials, config.directions)
        return f"front of {size} for {', '.join(config.objectives)}; hypervolume {share:.3f} of the box of all trials"
    top = chosen[0]
    found = f"best: trial {top.index + 1}, score {top.score:.4f}"
    if config.evaluator == ZERO_COST:
        return f"{found}, {config.proxy} {top.metrics[config.proxy]:.6g}"
    accuracy = f"validation accuracy {100 * top.metrics[config.quality]:.2f} %"
    return f"{found}, {accuracy} by {top.recipe}" if top.recipe else f"{found}, {accuracy}"
