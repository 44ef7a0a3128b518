"""Stage "float": a winner of the search, trained in full with distillation; the parent of all its artifacts."""

from __future__ import annotations

from core.keras_env import reset

from compress.invariants import Invariants
from compress.model_cost import model_cost
from compress.storage import save_model
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.node import NodeRecord
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import supervision, winner
from search.build import build
from search.grammar import from_text
from search.train import accuracy, fit


def run(context: StageContext) -> Outcome:
    """Saves the trained float model. Raises CandidateError if it diverges."""
    data = load(context.input("data"))
    trial = winner(context.input("search"), context.params["winner"])
    config = context.params["train"]
    loss = supervision(context, data, config.label_smoothing)
    reset(trial.seed)
    model = build(from_text(trial.arch))
    fit(
        model,
        data.train,
        config,
        loss,
        seed=trial.seed,
        augment=data.augment,
        checkpoint=context.scratch / "checkpoint.npz",
        reporter=context.reporter,
        label="float training",
    )
    val_accuracy = accuracy(model, data.val)
    save_model(model, context.out / "model")
    cost = model_cost(model)
    record = NodeRecord(trial.arch, "float", val_accuracy, Invariants(), cost.macs, cost.params)
    atomic_write_json(context.out / "node.json", record)
    return Outcome(f"validation accuracy {100 * val_accuracy:.2f} %")
