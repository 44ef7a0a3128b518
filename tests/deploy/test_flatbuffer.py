from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from core.values import file_sha256
from deploy import flatbuffer
from tests.deploy.conftest import SHARED_MODELS


def shared_model(name: str) -> Path:
    path = SHARED_MODELS / name
    if not path.is_file():
        pytest.skip(f"needs the shared model {name}")
    return path


def test_describes_a_full_integer_model(files: dict[str, Path]) -> None:
    (image,), (scores,) = flatbuffer.describe(files["full_integer"])
    assert (image.name, image.shape, image.dtype, image.zero_point) == ("image", (1, 28, 28, 3), "uint8", 0)
    assert image.scale == float(np.float32(1 / 255))
    assert (scores.name, scores.shape, scores.dtype) == ("scores", (1, 10), "uint8")
    assert (scores.scale, scores.zero_point) == (1 / 256, 0)


def test_finds_float_operators_and_signature(files: dict[str, Path]) -> None:
    whole, mixed = flatbuffer.read(files["full_integer"]), flatbuffer.read(files["dynamic_range"])
    assert whole.float_operators == () and "SOFTMAX" in mixed.float_operators
    assert whole.custom_operators == ()
    assert whole.signatures == ("serving_default",)


@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_weights_of_float_models(files: dict[str, Path], scheme: str) -> None:
    weights = flatbuffer.read(files[scheme]).weights
    assert [weight.operator for weight in weights] == ["CONV_2D"] * 2 + ["DEPTHWISE_CONV_2D"] + ["CONV_2D"] * 2 + [
        "FULLY_CONNECTED"
    ]
    assert {str(weight.values.dtype) for weight in weights} == {scheme}
    assert [weight.channel_axis for weight in weights] == [0, 0, 3, 0, 0, 0]


def test_unique_values_are_counted_along_an_axis() -> None:
    values = np.array([[1, 2, 0], [3, 4, 0]], np.int8)
    weight = flatbuffer.WeightTensor("w", "o", "FULLY_CONNECTED", values, 0, 0)
    assert weight.unique_values == weight.most_unique_values(None) == 5
    assert (weight.most_unique_values(0), weight.most_unique_values(-1)) == (3, 2)
    assert weight.sparsity == pytest.approx(2 / 6)


def test_artifact_tells_file_and_tools(files: dict[str, Path]) -> None:
    value = flatbuffer.artifact(files["float32"], "float32", parents=["abc"])
    assert value.sha256 == file_sha256(files["float32"])
    assert value.size_bytes == files["float32"].stat().st_size
    assert value.parents == ("abc",) and value.inputs[0].dtype == "float32"
    assert value.tool_versions is not None and value.tool_versions["ai-edge-litert"]


def test_reads_a_model_of_another_toolchain() -> None:
    path = shared_model("mobilenet_v1_0.25_224_quant.tflite")
    (image,), (scores,) = flatbuffer.describe(path)
    assert (image.dtype, image.shape) == ("uint8", (1, 224, 224, 3))
    assert scores.shape == (1, 1001)


def assert_one_line(message: str) -> None:
    assert "\n" not in message and "Traceback" not in message


def test_a_malformed_real_model_gives_one_line() -> None:
    path = shared_model("malformed_person_detect.tflite")
    with pytest.raises(UsageError, match="quantized_dimension must be in range") as caught:
        flatbuffer.describe(path)
    assert str(path) in str(caught.value)
    assert_one_line(str(caught.value))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04" + bytes(100), b"\x1c\x00\x00\x00TFL3", b"\xff\xff\xff\xffTFL3" + bytes(range(256))],
    ids=["empty", "zip", "header only", "garbage after the mark"],
)
def test_other_content_gives_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.tflite") as caught:
        flatbuffer.describe(path)
    assert_one_line(str(caught.value))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_model_gives_one_line(files: dict[str, Path], tmp_path: Path, fraction: float) -> None:
    content = files["full_integer"].read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UsageError, match=r"cut\.tflite") as caught:
        flatbuffer.describe(path)
    assert_one_line(str(caught.value))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.tflite: cannot be read"):
        flatbuffer.describe(tmp_path / "absent.tflite")
