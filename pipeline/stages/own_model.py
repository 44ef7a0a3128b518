"""Stage "own_model": the user's Keras model, checked and made of plain layers; the parent of all artifacts."""

from __future__ import annotations

from pathlib import Path

from compress.importing.load import load_user_model
from compress.invariants import Invariants
from compress.model_cost import model_cost
from compress.storage import save_model
from core.workspace import atomic_write_json
from pipeline.config import MODEL_FILE, ModelConfig
from pipeline.data import load
from pipeline.node import NodeRecord
from pipeline.runner import Outcome, StageContext
from search.train import accuracy


def run(context: StageContext) -> Outcome:
    """Saves the model as plain layers. Raises UsageError if it is refused or does not fit the data."""
    data = load(context.input("data"))
    config: ModelConfig = context.params["model"]
    model = load_user_model(
        Path(context.params["file"]),
        data.num_classes,
        data.resolution,
        allow_custom=config.allow_custom,
        input_range=config.input_range,
        where=MODEL_FILE,
    )
    val_accuracy, cost = accuracy(model, data.val), model_cost(model)
    save_model(model, context.out / "model")
    record = NodeRecord("", "float", val_accuracy, Invariants(), cost.macs, cost.params)
    atomic_write_json(context.out / "node.json", record)
    if config.allow_custom:
        context.reporter.line("  code that is in the file was allowed to run (config.model.allow_custom)")
    return Outcome(
        f"{context.params['file']}: {cost.params:,} parameters, {cost.macs / 1e6:.2f}M MACs, "
        f"validation accuracy {100 * val_accuracy:.2f} %"
    )
