"""Runs in tflite-support's own environment: writes metadata into a model, runs it through the Task Library, or
generates an Android wrapper for it.

A request is one JSON object on standard input, the answer one on standard output (see `deploy.metadata`). Imports
nothing of litesmith. The submodules are imported directly because the package `tflite_support` also loads audio code,
which needs PortAudio.
"""

from __future__ import annotations

import json
import sys
import zipfile
from typing import Any

import numpy as np


class _NoClock:
    """Stands in for the module `time` in `zipfile`, so that the packed labels carry no time of day."""

    @staticmethod
    def time() -> float:
        return 0.0

    @staticmethod
    def localtime(seconds: float) -> tuple[int, ...]:
        return (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can hold


def write_metadata(request: dict[str, Any]) -> dict[str, Any]:
    """Writes `request["out"]`: the model with image-classifier metadata and the labels file packed in."""
    from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema
    from tensorflow_lite_support.metadata.python.metadata_writers import image_classifier, metadata_info, writer_utils

    zipfile.time = _NoClock  # type: ignore[attr-defined]  # equal models must be equal files
    with open(request["model"], "rb") as file:
        content = bytearray(file.read())
    writer = image_classifier.MetadataWriter.create_from_metadata_info(
        content,
        general_md=metadata_info.GeneralMd(name=request["name"], description=request["description"]),
        input_md=metadata_info.InputImageTensorMd(
            name="image",
            description="RGB image, one byte per channel.",
            norm_mean=[request["mean"]],
            norm_std=[request["std"]],
            color_space_type=schema.ColorSpaceType.RGB,
            tensor_type=writer_utils.get_input_tensor_types(content)[0],
        ),
        output_md=metadata_info.ClassificationTensorMd(
            name="probability",
            description="Probability of each label.",
            label_files=[metadata_info.LabelFileMd(file_path=request["labels"])],
            tensor_type=writer_utils.get_output_tensor_types(content)[0],
        ),
    )
    with open(request["out"], "wb") as file:
        file.write(writer.populate())
    return {}


def classify(request: dict[str, Any]) -> dict[str, Any]:
    """Scores by class index and the first label of every image in the .npy file `request["images"]`."""
    from tensorflow_lite_support.python.task.core import base_options
    from tensorflow_lite_support.python.task.processor.proto import classification_options_pb2
    from tensorflow_lite_support.python.task.vision import image_classifier
    from tensorflow_lite_support.python.task.vision.core import tensor_image

    options = image_classifier.ImageClassifierOptions(
        base_options.BaseOptions(file_name=request["model"], num_threads=1),
        classification_options_pb2.ClassificationOptions(),
    )
    classifier = image_classifier.ImageClassifier.create_from_options(options)
    scores, labels = [], []
    for image in np.load(request["images"], allow_pickle=False):
        result = classifier.classify(tensor_image.TensorImage.create_from_array(image))
        categories = result.classifications[0].categories
        by_index = {category.index: category.score for category in categories}
        scores.append([by_index[index] for index in sorted(by_index)])
        labels.append(categories[0].category_name)
    return {"scores": scores, "labels": labels}


def generate(request: dict[str, Any]) -> dict[str, Any]:
    """The files that the code generator makes for the model with metadata `request["model"]`: path -> text.

    Raises ValueError with the generator's reason if it does not take the model.
    """
    from tensorflow_lite_support.codegen.python import _pywrap_codegen as codegen  # its command line only wraps this

    generator = codegen.AndroidJavaGenerator("")
    with open(request["model"], "rb") as file:
        content = file.read()
    result = generator.generate(content, request["package"], request["class"], request["asset"])
    reason = generator.get_error_message().strip()
    if reason or not result.files:
        raise ValueError(reason or "the code generator made nothing")
    return {file.path.lstrip("/"): file.content for file in result.files}


def main() -> int:
    """Answers one request; an exception becomes one line on standard error and exit code 1."""
    commands = {"write": write_metadata, "classify": classify, "generate": generate}
    request = json.load(sys.stdin)
    try:
        json.dump(commands[request["command"]](request), sys.stdout)
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
