"""Stage "convert": Keras model -> .tflite, with metadata and labels if it will be released."""

from __future__ import annotations

import dataclasses

from compress.storage import load_model
from core.workspace import atomic_write_bytes, atomic_write_json
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.flatbuffer import artifact
from deploy.metadata import write
from deploy.release import zipped_bytes
from pipeline.data import load
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import read_node

FILE = "model.tflite"


def run(context: StageContext) -> Outcome:
    """Writes model.tflite and artifact.json. Raises CandidateError if the model cannot be converted."""
    params = context.params
    data = load(context.input("data"))
    node = context.inputs[context.stage.inputs[1]]
    converted = convert(load_model(node / "model"), params["scheme"], representative_images(data.train))
    path = context.out / FILE
    atomic_write_bytes(path, converted.content)
    if params["metadata"] is not None:
        name = f"{params['metadata'].name} {params['recipe']}"
        write(path, path, data.class_names, name, f"Image classifier for {data.name}: {read_node(node).arch}")
    content = path.read_bytes()
    made = dataclasses.replace(artifact(path, params["scheme"], parents=(node.name,)), path=FILE)
    zipped = zipped_bytes(content)
    atomic_write_json(context.out / "artifact.json", {"artifact": made, "zipped_bytes": zipped, "path": converted.path})
    return Outcome(
        f"{params['scheme']}: {len(content) / 1000:.1f} kB, {zipped / 1000:.1f} kB zipped ({converted.path} path)"
    )
