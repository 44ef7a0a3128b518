from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.process import ProcessError
from deploy import metadata
from deploy.app.wrapper import refusal, write_wrapper
from deploy.manifest import Manifest
from deploy.schemes import INT4_WEIGHTS, PERSONALIZE
from search.dataset import ImageSet
from tests.deploy.app.releases import make_release

Release = tuple[Path, Manifest]
READ_METADATA = (
    "import sys; from tensorflow_lite_support.metadata.python import metadata\n"
    "print(metadata.MetadataDisplayer.with_model_file(sys.argv[1]).get_metadata_json())"
)


def normalization(model: Path) -> tuple[np.float32, np.float32]:
    """(mean, std) of the input, as tflite-support reads them."""
    command = [str(metadata.find_interpreter()), "-c", READ_METADATA, str(model)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ""}).stdout
    options = json.loads(text)["subgraph_metadata"][0]["input_tensor_metadata"][0]["process_units"][0]["options"]
    return np.float32(options["mean"][0]), np.float32(options["std"][0])


def test_the_wrapper_is_there_and_names_the_model(release_with_metadata: Release) -> None:
    folder, manifest = release_with_metadata
    for model in manifest.artifacts:
        stem = Path(model.file).stem
        wrapper = [path for path in model.extras if path.startswith(f"android/{stem}/")]
        (java,) = (path for path in wrapper if path.endswith(".java"))
        assert "/src/main/java/com/example/litesmith/" in java
        text = (folder / java).read_text()
        assert f'MODEL_NAME = "{model.file}"' in text and f"public class {Path(java).stem} " in text
        build_file = (folder / f"android/{stem}/build.gradle").read_text()
        assert model.file in build_file and "tensorflow-lite-support:" in build_file
        assert not any("AndroidManifest" in path or path.endswith(".tflite") for path in wrapper)


def test_the_wrapper_feeds_every_byte_as_it_is(release_with_metadata: Release) -> None:
    """The wrapper's NormalizeOp, QuantizeOp and CastOp, in Java's float arithmetic: no byte may change."""
    folder, manifest = release_with_metadata
    model = next(model for model in manifest.artifacts if model.input.dtype == "uint8")
    mean, std = normalization(folder / model.file)
    scale, zero_point = np.float32(model.input.scale), np.float32(model.input.zero_point)
    pixels = np.arange(256, dtype=np.float32)
    quantized = ((pixels - mean) / std - -zero_point * scale) / scale
    np.testing.assert_array_equal(np.trunc(np.clip(quantized, 0, 255)), pixels)


def test_a_float_model_is_fed_byte_by_255(release_with_metadata: Release) -> None:
    mean, std = normalization(release_with_metadata[0] / "float32.tflite")
    assert mean == 0 and std == 255


@pytest.mark.usefixtures("release_with_metadata")  # skips where tflite-support is not there
def test_the_generators_reason_is_told(release: Release) -> None:
    folder, manifest = release
    with pytest.raises(ProcessError, match=r"exit code 1: ValueError: .*[Mm]etadata"):
        write_wrapper(folder, manifest.artifacts[0], "com.example.litesmith")
    assert not (folder / "android").exists()


@pytest.mark.usefixtures("release_with_metadata")
def test_a_model_that_the_generator_does_not_take_goes_without(
    app_files: dict[str, Path], app_test: ImageSet, tmp_path: Path
) -> None:
    manifest = make_release(tmp_path / "release", {"float32": app_files["float32"]}, app_test, metadata=True)
    assert not (tmp_path / "release/android").exists()
    assert not any(path.startswith("android") for path in manifest.artifacts[0].extras)
    card = (tmp_path / "release/float32.md").read_text()
    assert re.search(r"No wrapper by TFLite Support's code generator: .*[Mm]etadata", card)


def test_models_that_get_none(release: Release) -> None:
    model = release[1].artifacts[0]
    assert refusal(model, metadata=True) == ""
    assert "without metadata" in refusal(model, metadata=False)
    assert "int4" in refusal(replace(model, scheme=INT4_WEIGHTS), metadata=True)
    assert "training" in refusal(replace(model, scheme=PERSONALIZE), metadata=True)
