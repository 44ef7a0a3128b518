"""Stage "float": a winner of the search, trained in full with distillation; the parent of all its artifacts.

A winner that was judged by shared weights begins with its part of them, and is only fine-tuned.
"""

from __future__ import annotations

import dataclasses

from core.keras_env import keras, reset

from compress.invariants import Invariants
from compress.model_cost import model_cost
from compress.storage import save_model
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.node import NodeRecord
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import supervision, winner
from pipeline.supernet_record import INHERITED, Inherited, searched_space
from search.build import build
from search.dataset import ImageData
from search.grammar import from_text
from search.settings import TrainConfig
from search.supernet.methods import load_shared
from search.supernet.settings import SupernetConfig
from search.train import accuracy, fit
from search.trials import Trial


def run(context: StageContext) -> Outcome:
    """Saves the trained float model. Raises CandidateError if it diverges."""
    data = load(context.input("data"))
    trial = winner(context.input("search"), context.params["winner"])
    supernet: SupernetConfig | None = context.params.get("supernet")
    reset(trial.seed)
    if supernet is None:
        model = build(from_text(trial.arch))
        val_accuracy = _trained(context, model, data, trial, context.params["train"], "float training")
        summary = f"validation accuracy {100 * val_accuracy:.2f} %"
    else:
        model = _extracted(context, supernet, data, trial)
        found = _fine_tuned(context, supernet, model, data, trial)
        atomic_write_json(context.out / INHERITED, found)
        val_accuracy = found.after
        summary = f"validation accuracy {100 * val_accuracy:.2f} %, inherited {100 * found.before:.2f} %"
    save_model(model, context.out / "model")
    cost = model_cost(model)
    record = NodeRecord(trial.arch, "float", val_accuracy, Invariants(), cost.macs, cost.params)
    atomic_write_json(context.out / "node.json", record)
    return Outcome(summary)


def _trained(
    context: StageContext, model: keras.Model, data: ImageData, trial: Trial, config: TrainConfig, label: str
) -> float:
    """Trains the model in place; its validation accuracy."""
    fit(
        model,
        data.train,
        config,
        supervision(context, data, config.label_smoothing),
        seed=trial.seed,
        augment=data.augment,
        checkpoint=context.scratch / "checkpoint.npz",
        reporter=context.reporter,
        label=label,
        tracker=context.tracker,
    )
    val_accuracy = accuracy(model, data.val)
    values = {"network": trial.arch, "train": config, "distill": context.params["distill"]}
    context.tracker.compare(values, {"val_accuracy": val_accuracy}, step=config.epochs)
    return val_accuracy


def _extracted(context: StageContext, supernet: SupernetConfig, data: ImageData, trial: Trial) -> keras.Model:
    """The winner as it leaves the supernet, with its own batch-norm statistics."""
    named_space = searched_space(context.params["space"], supernet, data.resolution, data.num_classes)
    shared = load_shared(supernet, named_space, context.input("supernet"), context.params["seed"])
    arch = from_text(trial.arch)
    shared.recalibrate(arch, data.train.first(supernet.recalibration_images))
    return shared.extract(arch)


def _fine_tuned(
    context: StageContext, supernet: SupernetConfig, model: keras.Model, data: ImageData, trial: Trial
) -> Inherited:
    before, epochs = accuracy(model, data.val), supernet.fine_tune_epochs
    if not epochs:
        return Inherited(before, before, epochs)
    rate = supernet.fine_tune_learning_rate
    config = dataclasses.replace(context.params["train"], epochs=epochs, learning_rate=rate)
    return Inherited(before, _trained(context, model, data, trial, config, "fine-tuning"), epochs)
