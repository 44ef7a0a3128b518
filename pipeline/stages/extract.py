"""Stage "extract": the network that is asked for out of a finished supernet; it takes the place of a search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from core.errors import CandidateError, UsageError
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.runner import Outcome, StageContext
from pipeline.supernet import opened_judge
from pipeline.supernet_record import trained_epochs
from search.arch import ArchSpec
from search.cost import cost
from search.grammar import from_text, to_text
from search.latency.configured import check_latency_table, table_latency
from search.loop import candidate_of
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace
from search.supernet.accuracy_predictor import FEWEST, AccuracyPredictor, spread_genotypes
from search.supernet.evaluator import SupernetEvaluator, evaluate_genotypes
from search.supernet.genotypes import genotype_of, smallest_genotype
from search.supernet.settings import SupernetConfig
from search.supernet.specialize import Specialized, specialize
from search.trials import OK, Trial, TrialLog

FINALISTS = 8  # of those that the predictor ranks first: the supernet itself judges them
PREDICTOR = "predictor.json"


def run(context: StageContext) -> Outcome:
    """Writes trials.jsonl (what the supernet judged) and winners.json (the best of it), as a search does.

    Networks whose outputs by the shared weights are not finite are left out. Raises UsageError if no network is within
    the budget, CandidateError if none that is could be judged.
    """
    search: SearchConfig = context.params["search"]
    data = load(context.input("data"))
    supernet, seed = context.params["supernet"], context.params["seed"]
    judge = opened_judge(search, supernet, seed, data, context.input("supernet"))
    check_latency_table(search, judge.shared.space)
    arch = context.params["arch"]
    genotypes = [genotype_of(judge.shared.space, from_text(arch))] if arch else _specialized(context, judge)
    log = TrialLog(context.out / "trials.jsonl")
    reason = ""
    for genotype in genotypes:
        try:
            log.append(_judged(judge, genotype, len(log.trials), seed, trained_epochs(supernet)))
        except CandidateError as error:
            reason = str(error)
            context.reporter.line(f"  a network is left out: {reason}")
    if not log.trials:
        raise CandidateError(f"the supernet could judge none of {len(genotypes)} networks: {reason}")
    best = max(log.trials, key=lambda trial: (trial.score, -trial.index))
    atomic_write_json(context.out / "winners.json", [dataclasses.replace(best, seconds={})])
    return Outcome(f"{len(log.trials)} networks judged; best: validation accuracy {100 * best.score:.2f} %")


def _specialized(context: StageContext, judge: SupernetEvaluator) -> list[Genotype]:
    """The networks that the accuracy predictor takes for the best within the budget."""
    search: SearchConfig = context.params["search"]
    config: SupernetConfig = context.params["supernet"]
    seed, reporter, space = context.params["seed"], context.reporter, judge.shared.space
    sampled = spread_genotypes(space, config.predictor_networks, _macs, seed=seed)
    accuracies = evaluate_genotypes(judge, sampled, context.params["log"], reporter=reporter)
    known = {one: accuracy for one, accuracy in zip(sampled, accuracies, strict=True) if math.isfinite(accuracy)}
    if len(known) < FEWEST:
        judged = f"{len(known)} of {len(sampled)} networks"
        raise CandidateError(f"the supernet could judge only {judged}; a predictor needs {FEWEST}")
    predictor = AccuracyPredictor(space, seed=seed)
    quality = predictor.fit(tuple(known), tuple(known.values()))
    atomic_write_json(context.out / PREDICTOR, quality)
    reporter.line(
        f"  accuracy predictor from {quality.networks} networks: Spearman {quality.spearman:.2f}, "
        f"error {100 * quality.rmse:.2f} points (cross-validated)"
    )
    found = _within(search, space, predictor, tuple(known), seed)
    reporter.line(f"  {len(found)} networks within the budget met; the supernet judges the first {FINALISTS}")
    return [item.genotype for item in found[:FINALISTS]]


def _within(
    search: SearchConfig, space: SearchSpace, predictor: AccuracyPredictor, first: Sequence[Genotype], seed: int
) -> Sequence[Specialized]:
    """Networks within the budget, the best predicted first. Raises UsageError if there are none."""
    first = (*first, smallest_genotype(space))
    if search.max_latency_us is None:
        return specialize(space, predictor, _macs, search.max_macs or 0.0, seed=seed, first=first)
    latency_us = table_latency(search)
    assert latency_us is not None  # a limit of the latency has a table (search.settings)
    try:
        return specialize(space, predictor, latency_us, search.max_latency_us, seed=seed, first=first)
    except UsageError as error:
        raise UsageError(f"--{error}") from error


def _macs(arch: ArchSpec) -> float:
    return float(cost(arch).macs)


def _judged(judge: SupernetEvaluator, genotype: Genotype, index: int, seed: int, epochs: int) -> Trial:
    candidate = candidate_of(judge.shared.space, genotype, seed)
    found = judge.evaluate(candidate, epochs)
    return Trial(
        index=index,
        oracle_id=str(index),
        genotype=genotype,
        arch=to_text(candidate.arch),
        arch_id=candidate.arch_id,
        epochs=epochs,
        seed=candidate.seed,
        status=OK,
        score=found.metrics["val_accuracy"],
        metrics=found.metrics,
        seconds=found.seconds,
    )
