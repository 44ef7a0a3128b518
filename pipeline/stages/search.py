"""Stage "search": Keras Tuner's oracle suggests, we train, convert and measure; the best networks win."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from android_bench.settings import BenchConfig
from compress.recipe import CompressConfig
from core.workspace import atomic_write_json, read_json
from pipeline.data import load
from pipeline.evaluators import TrainEvaluator, TrainEvaluatorFactory
from pipeline.proxies import ZeroCostEvaluatorFactory, warm_start, zero_cost_evaluator
from pipeline.runner import Outcome, StageContext
from search.dataset import ImageData
from search.evaluate import Evaluator, EvaluatorFactory
from search.front import hypervolume_share, winners
from search.loop import run_search, search_with
from search.named import space
from search.objective import PARETO
from search.oracles.budget import check_latency_table
from search.oracles.strategy import Strategy
from search.parallel import WorkerPool, threads_per_worker
from search.pareto import front
from search.recipe_space import parse_template
from search.settings import ZERO_COST, SearchConfig
from search.space import SearchSpace
from search.trials import OK, Trial


def run(context: StageContext) -> Outcome:
    """Writes trials.jsonl and winners.json (the best networks' trials, best first)."""
    config: SearchConfig = context.params["search"]
    data = load(context.input("data"))
    named_space = space(config.space, data.resolution, data.num_classes)
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
    seed, reporter, scratch = context.params["seed"], context.reporter, context.scratch
    reporter.line(
        f"  {config.oracle} over {named_space.name}: {len(named_space.genes)} genes, {named_space.size:.2g} genotypes, "
        f"{config.max_trials} trials of {config.epochs} epochs{_beside(config)}"
    )
    bench = context.params.get("bench", BenchConfig())
    compress = context.params.get("compress", CompressConfig())
    log = scratch / "trials.jsonl"
    strategy = Strategy(config, named_space, seed, first_values=_first_values(context, config, named_space, data))
    if config.num_workers == 1:
        evaluator: Evaluator = (
            zero_cost_evaluator(config, data)
            if config.evaluator == ZERO_COST
            else TrainEvaluator(
                config, bench, data, scratch, reporter, compress=compress, connections=context.connections
            )
        )
        return run_search(config, named_space, strategy, evaluator, log, seed=seed, reporter=reporter)
    factory: EvaluatorFactory = (
        ZeroCostEvaluatorFactory(config, context.input("data"))
        if config.evaluator == ZERO_COST
        else TrainEvaluatorFactory(config, bench, context.input("data"), scratch, compress, context.connections)
    )
    with WorkerPool(factory, config.num_workers, scratch, reporter) as workers:
        return search_with(workers, config, named_space, strategy, log, seed=seed, reporter=reporter)


def _first_values(
    context: StageContext, config: SearchConfig, named_space: SearchSpace, data: ImageData
) -> list[Mapping[str, Any]]:
    """The warm start, computed once: elsewhere a score may be rounded otherwise, and the log would not replay."""
    path = context.scratch / "warm_start.json"
    if config.warm_start and not path.exists():
        found = warm_start(config, named_space, data, context.params["seed"], context.reporter)
        atomic_write_json(path, found)
    return list(read_json(path)) if config.warm_start else []


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
