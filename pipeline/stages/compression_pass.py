"""Stage "pass": one compression pass on one model."""

from __future__ import annotations

from core.keras_env import keras

from compress.finetune import FineTune
from compress.run import PassResult, apply_pass
from compress.settings import PassSpec
from compress.storage import load_model, save_model
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.node import NodeRecord, read_node
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import supervision
from search.dataset import ImageData
from search.settings import TrainConfig


def run(context: StageContext) -> Outcome:
    """Saves the compressed model with what it promises. Raises InvariantError if a promise is broken."""
    spec: PassSpec = context.params["spec"]
    parent = context.inputs[context.stage.inputs[1]]
    data, model = load(context.input("data")), load_model(parent / "model")
    record, result = compress(context, spec, read_node(parent), model, data, context.params["train"])
    save_model(result.model, context.out / "model")
    atomic_write_json(context.out / "node.json", record)
    return Outcome(f"{spec.name}: validation accuracy {100 * result.val_accuracy:.2f} %{_predicted(result)}")


def compress(
    context: StageContext,
    spec: PassSpec,
    parent: NodeRecord,
    model: keras.Model,
    data: ImageData,
    config: TrainConfig,
    part: str = "",
) -> tuple[NodeRecord, PassResult]:
    """One pass on one model, with a checkpoint in the stage's scratch folder; `part` tells a stage's passes apart."""
    tracker = context.tracker.of(part)
    fine_tune = FineTune(
        train=data.train,
        supervision=supervision(context, data, config.label_smoothing, fine_tuning=True),
        config=config,
        augment=data.augment,
        seed=context.params["seed"],
        checkpoint=context.scratch / f"{part or 'checkpoint'}.npz",
        reporter=context.reporter,
        tracker=tracker,
    )
    result = apply_pass(spec, model, parent.invariants, fine_tune, data.val, parent.arch)
    cost = result.cost
    values = {"network": result.arch, "pass": spec.label, "train": config, "distill": context.params["distill"]}
    metrics = {"val_accuracy": result.val_accuracy, "macs": cost.macs, "params": cost.params}
    tracker.compare(values, metrics, step=config.epochs)
    predicted = parent.predicted_us
    if result.predicted_us is not None:
        before, after = result.predicted_us
        predicted = (*(predicted[:1] or (before,)), after)
    record = NodeRecord(
        result.arch,
        spec.name,
        result.val_accuracy,
        result.invariants,
        cost.macs,
        cost.params,
        predicted_us=predicted,
    )
    return record, result


def _predicted(result: PassResult) -> str:
    if result.predicted_us is None:
        return ""
    before, after = result.predicted_us
    return f", predicted latency {before:.0f} -> {after:.0f} us"
