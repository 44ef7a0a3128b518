"""Stage "convert": Keras model -> .tflite, with metadata and labels if it will be released."""

from __future__ import annotations

import dataclasses

import numpy as np

from compress.storage import load_model
from core.workspace import atomic_write_bytes, atomic_write_json
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.flatbuffer import artifact
from deploy.interpreter import predict
from deploy.metadata import write
from deploy.mixed_precision import convert_mixed
from deploy.release import zipped_bytes
from deploy.schemes import MIXED
from deploy.sparse import sparse_or_dense
from pipeline.data import load
from pipeline.node import read_node
from pipeline.runner import Outcome, StageContext

FILE = "model.tflite"
SPARSE = "sparse"  # the first letters of the step that prunes for sparse kernels
MIXED_IMAGES = 1000  # validation images on which layers are chosen to stay in float32


def run(context: StageContext) -> Outcome:
    """Writes model.tflite and artifact.json. Raises CandidateError if the model cannot be converted."""
    params = context.params
    data = load(context.input("data"))
    node = context.inputs[context.stage.inputs[1]]
    record, model = read_node(node), load_model(node / "model")
    scheme = record.scheme or params["scheme"]
    calibration = representative_images(data.train)
    if scheme == MIXED:
        converted, fall_back = convert_mixed(model, calibration, data.val.first(MIXED_IMAGES), params["max_loss"])
        atomic_write_json(context.out / "fall_back.json", fall_back)
    else:
        converted = convert(model, scheme, calibration)
    if any(step.startswith(SPARSE) for step in record.steps or params["steps"]):
        encoding = sparse_or_dense(model, scheme, calibration, converted.content)
        converted = dataclasses.replace(converted, content=encoding.content)
        atomic_write_json(context.out / "encoding.json", dataclasses.replace(encoding, content=b""))
    path = context.out / FILE
    atomic_write_bytes(path, converted.content)
    if params["metadata"] is not None:
        name = f"{params['metadata'].name} {record.recipe or params['recipe']}"
        about = f"Image classifier for {data.name}" + (f": {record.arch}" if record.arch else "")
        write(path, path, data.class_names, name, about)
    content = path.read_bytes()
    made = dataclasses.replace(artifact(path, scheme, parents=(node.name,)), path=FILE)
    zipped = zipped_bytes(content)
    val_accuracy = float(np.mean(predict(content, data.val.rgb()).argmax(axis=1) == data.val.labels))
    found = {"artifact": made, "zipped_bytes": zipped, "path": converted.path, "val_accuracy": val_accuracy}
    atomic_write_json(context.out / "artifact.json", found)
    return Outcome(f"{scheme}: {len(content) / 1000:.1f} kB, {zipped / 1000:.1f} kB zipped ({converted.path} path)")
