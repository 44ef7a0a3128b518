"""Stage "search": Keras Tuner's oracle suggests, we train, convert and measure; the best networks win."""

from __future__ import annotations

import dataclasses
import shutil

from android_bench.settings import BenchConfig
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.evaluators import TrainEvaluator
from pipeline.runner import Outcome, StageContext
from search.loop import run_search
from search.named import space
from search.oracles.strategy import Strategy
from search.settings import SearchConfig
from search.trials import OK, best


def run(context: StageContext) -> Outcome:
    """Writes trials.jsonl and winners.json (the best networks' trials, best first)."""
    config: SearchConfig = context.params["search"]
    seed: int = context.params["seed"]
    data = load(context.input("data"))
    named_space = space(config.space, data.resolution, data.num_classes)
    context.reporter.line(
        f"  {config.oracle} over {named_space.name}: {len(named_space.genes)} genes, {named_space.size:.2g} genotypes, "
        f"{config.max_trials} trials of {config.epochs} epochs"
    )
    bench = context.params.get("bench", BenchConfig())
    evaluator = TrainEvaluator(config, bench, data, context.scratch, context.reporter)
    log = context.scratch / "trials.jsonl"
    strategy = Strategy(config, named_space, seed)
    trials = run_search(config, named_space, strategy, evaluator, log, seed=seed, reporter=context.reporter)
    winners = best(trials, config.num_winners)
    shutil.copyfile(log, context.out / "trials.jsonl")
    atomic_write_json(context.out / "winners.json", [dataclasses.replace(trial, seconds={}) for trial in winners])
    failed = sum(trial.status != OK for trial in trials)
    top = winners[0]
    return Outcome(
        f"{len(trials)} trials ({failed} failed); best: trial {top.index + 1}, score {top.score:.4f}, "
        f"validation accuracy {100 * top.metrics['val_accuracy']:.2f} %"
    )
