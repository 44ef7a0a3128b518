"""Stage "supernet": the weights that all networks of the search space share, trained once."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import reset

from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.runner import Outcome, StageContext
from pipeline.supernet_record import RECORD, Judged, SupernetRecord, searched_space, trained_epochs
from search.cost import cost
from search.dataset import ImageData
from search.grammar import to_text
from search.latency.configured import check_latency_table
from search.latency.table import LatencyTable, read_latency_table
from search.settings import SearchConfig
from search.space import SearchSpace
from search.supernet.evaluator import SupernetEvaluator
from search.supernet.methods import WEIGHTS, Request, Trained, bounds, train
from search.supernet.settings import MIXED_METHODS, SupernetConfig


def run(context: StageContext) -> Outcome:
    """Saves the weights and what is known of them. Raises CandidateError if the training diverges."""
    config: SupernetConfig = context.params["supernet"]
    search: SearchConfig = context.params["search"]
    data = load(context.input("data"))
    named_space = searched_space(search.space, config, data.resolution, data.num_classes)
    table = _latency_table(config, search, named_space)
    context.reporter.line(
        f"  {config.method} over {named_space.name}: {named_space.size:.2g} genotypes share their weights, "
        f"{trained_epochs(config)} epochs"
    )
    reset(context.params["seed"])
    request = Request(
        config, named_space, data, context.params["seed"], context.scratch, context.reporter, table, context.tracker
    )
    trained = train(request)
    trained.shared.save(context.out / WEIGHTS)
    record = _record(config, named_space, data, trained)
    atomic_write_json(context.out / RECORD, record)
    accuracies = {f"val_accuracy/{name}": judged.val_accuracy for name, judged in record.judged.items()}
    context.tracker.compare({"supernet": config}, accuracies, step=trained_epochs(config))
    return Outcome(_summary(record))


def _latency_table(config: SupernetConfig, search: SearchConfig, named_space: SearchSpace) -> LatencyTable | None:
    """The table whose latencies the training weighs. Raises UsageError if it lacks a block of the space."""
    check_latency_table(search, named_space)
    if config.method not in MIXED_METHODS or search.latency_table is None:
        return None
    return read_latency_table(Path(search.latency_table))


def _record(config: SupernetConfig, named_space: SearchSpace, data: ImageData, trained: Trained) -> SupernetRecord:
    judge = SupernetEvaluator(trained.shared, config, data)
    judged = {
        name: Judged(to_text(arch), cost(arch).macs, judge.accuracy(arch))
        for name, arch in bounds(config, named_space).items()
    }
    return SupernetRecord(
        method=config.method,
        space=named_space.name,
        networks=float(named_space.size),
        suggestions=trained.suggestions,
        is_found=trained.is_found,
        judged=judged,
        recalibration_images=min(len(data.train), config.recalibration_images),
        val_images=len(data.val.first(config.val_images)),
        facts=trained.facts,
    )


def _summary(record: SupernetRecord) -> str:
    """What the weights are worth, in words."""
    worth = [
        f"{name} network {100 * judged.val_accuracy:.2f} % ({judged.macs / 1e6:.2f}M MACs)"
        for name, judged in record.judged.items()
    ]
    words = ", ".join([*worth, *(f"{name} {value}" for name, value in record.facts.items())])
    return f"{record.method}, {record.networks:.2g} genotypes: {words}; {record.val_images} validation images"
