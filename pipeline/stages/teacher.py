"""Stage "teacher": a reference network trained here, or the user's model, checked."""

from __future__ import annotations

from core.keras_env import keras, reset

from compress.storage import save_model
from compress.teacher import load_teacher
from core.workspace import atomic_write_json
from pipeline.config import TeacherConfig
from pipeline.data import load
from pipeline.runner import Outcome, StageContext
from search.build import build
from search.dataset import ImageData
from search.grammar import to_text
from search.named import network
from search.train import accuracy, fit, labels_supervision


def run(context: StageContext) -> Outcome:
    """Saves the teacher's model and its validation accuracy."""
    data = load(context.input("data"))
    path = context.params["file"]
    if path is not None:
        input_range = context.params["teacher"]["input_range"]
        model, arch = load_teacher(path, data.num_classes, data.resolution, input_range=input_range), ""
    else:
        model, arch = _trained(context, data)
    val_accuracy = accuracy(model, data.val)
    if arch:
        teacher: TeacherConfig = context.params["teacher"]
        context.tracker.compare(
            {"network": arch, "train": teacher.training}, {"val_accuracy": val_accuracy}, step=teacher.epochs
        )
    save_model(model, context.out / "model")
    atomic_write_json(context.out / "teacher.json", {"arch": arch, "file": path, "val_accuracy": val_accuracy})
    return Outcome(f"validation accuracy {100 * val_accuracy:.2f} %")


def _trained(context: StageContext, data: ImageData) -> tuple[keras.Model, str]:
    config: TeacherConfig = context.params["teacher"]
    assert config.network is not None  # the plan has no teacher stage without a network or a file
    arch = network(config.network, data.resolution, data.num_classes, config.width_multiplier)
    reset(context.params["seed"])
    model = build(arch)
    fit(
        model,
        data.train,
        config.training,
        labels_supervision(data.num_classes),
        seed=context.params["seed"],
        augment=data.augment,
        checkpoint=context.scratch / "checkpoint.npz",
        reporter=context.reporter,
        label="teacher",
        tracker=context.tracker,
    )
    return model, to_text(arch)
