"""Stage "pass": one compression pass on one model."""

from __future__ import annotations

from compress.finetune import FineTune
from compress.recipe import PassSpec
from compress.run import apply_pass
from compress.storage import load_model, save_model
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import NodeRecord, read_node, supervision


def run(context: StageContext) -> Outcome:
    """Saves the compressed model with what it promises. Raises InvariantError if a promise is broken."""
    data = load(context.input("data"))
    parent_directory = context.inputs[context.stage.inputs[1]]
    parent = read_node(parent_directory)
    spec: PassSpec = context.params["spec"]
    fine_tune = FineTune(
        train=data.train,
        supervision=supervision(context, data),
        config=context.params["train"],
        augment=data.augment,
        seed=context.params["seed"],
        checkpoint=context.scratch / "checkpoint.npz",
        reporter=context.reporter,
    )
    result = apply_pass(spec, load_model(parent_directory / "model"), parent.invariants, fine_tune, data.val)
    save_model(result.model, context.out / "model")
    record = NodeRecord(parent.arch, spec.name, result.val_accuracy, result.invariants)
    atomic_write_json(context.out / "node.json", record)
    atomic_write_json(context.out / "layers.json", result.states)
    return Outcome(f"{spec.name}: validation accuracy {100 * result.val_accuracy:.2f} %")
