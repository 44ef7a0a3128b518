"""Stage "convert": Keras model -> .tflite, with metadata and labels if it will be released."""

from __future__ import annotations

import dataclasses

from compress.settings import is_sparse_step
from compress.storage import load_model
from core.workspace import atomic_write_bytes, atomic_write_json
from deploy.calibration import representative_images
from deploy.conversion import Conversion, convert_any
from deploy.flatbuffer import artifact
from deploy.interpreter import accuracy
from deploy.metadata import write
from deploy.release import zipped_bytes
from pipeline.data import load
from pipeline.node import read_node
from pipeline.runner import Outcome, StageContext

FILE = "model.tflite"
MIXED_IMAGES = 1000  # validation images on which layers are chosen to stay in float32


def run(context: StageContext) -> Outcome:
    """Writes model.tflite and artifact.json. Raises CandidateError if the model cannot be converted."""
    params = context.params
    data = load(context.input("data"))
    node = context.inputs[context.stage.inputs[1]]
    record, model = read_node(node), load_model(node / "model")
    scheme = record.scheme or params["scheme"]
    calibration = representative_images(data.train)
    sparse = any(is_sparse_step(step) for step in record.steps or params["steps"])
    val = data.val.first(MIXED_IMAGES)
    max_loss, spare_classes = params.get("max_loss", 0.0), params.get("spare_classes", 0)
    converted = convert_any(model, scheme, calibration, val, max_loss, sparse=sparse, spare_classes=spare_classes)
    if converted.fall_back is not None:
        atomic_write_json(context.out / "fall_back.json", converted.fall_back)
    if converted.encoding is not None:
        atomic_write_json(context.out / "encoding.json", converted.encoding.figures)
    path = context.out / FILE
    atomic_write_bytes(path, converted.content)
    if params["metadata"] is not None:
        name = f"{params['metadata'].name} {record.recipe or params['recipe']}"
        about = f"Image classifier for {data.name}" + (f": {record.arch}" if record.arch else "")
        write(path, path, data.class_names, name, about)
    content = path.read_bytes()
    made = dataclasses.replace(artifact(path, scheme, parents=(node.name,)), path=FILE)
    zipped = zipped_bytes(content)
    val_accuracy = accuracy(content, data.val)
    found = {"artifact": made, "zipped_bytes": zipped, "path": converted.path, "val_accuracy": val_accuracy}
    atomic_write_json(context.out / "artifact.json", found)
    summary = f"{scheme}: {len(content) / 1000:.1f} kB, {zipped / 1000:.1f} kB zipped ({converted.path} path)"
    return Outcome(summary + _choices(converted))


def _choices(converted: Conversion) -> str:
    """What the conversion chose by itself, in words that follow others."""
    if converted.encoding is not None:
        return f"; {converted.encoding.summary}"
    if converted.fall_back is None:
        return ""
    in_float = sum(operator.is_float for operator in converted.fall_back.operators)
    return f"; {in_float} of {len(converted.fall_back.operators)} operators in float32"
