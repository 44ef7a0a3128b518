from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from compress.invariants import Invariants
from core.spec_io import canonical_json
from deploy.convert import convert
from deploy.flatbuffer import read
from deploy.layers import weights_by_layer
from deploy.schemes import CONVERTIBLE
from deploy.validate import validate
from search.dataset import ImageSet
from tests.deploy.conftest import CLUSTERS, PLANTED

Digits = tuple[ImageSet, ImageSet]


def planted_promises(model: keras.Model) -> Invariants:
    sparsity = tuple((name, float(np.mean(model.get_layer(name).kernel.numpy() == 0))) for name in PLANTED)
    return Invariants(sparsity, tuple((name, CLUSTERS) for name in PLANTED))


def test_full_integer_holds_the_accuracy(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    result = validate(files["full_integer"], network, digits[1], "full_integer")
    assert result.problems == ()
    assert result.images == 1000 and result.output_step == 1 / 256
    # Five short epochs give about 90 %; below 80 % the network would be too undecided for the comparisons that follow.
    assert result.keras_accuracy > 0.8
    # 3 of 100 is several times what int8 costs a network this small; a wrong input mapping costs far more.
    assert result.tflite_accuracy > result.keras_accuracy - 0.03
    assert result.top1_agreement > 0.95
    assert result.mean_abs_error <= result.max_abs_error <= 1
    assert sum(map(sum, result.confusion)) == 1000
    assert sum(result.confusion[i][i] for i in range(10)) == round(result.tflite_accuracy * 1000)
    canonical_json(result)


def test_confusion_has_true_classes_in_rows(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    fours = ImageSet(digits[1].images, digits[1].all_labels, digits[1].rows[digits[1].labels == 4])
    result = validate(files["float32"], network, fours, "float32")
    assert [sum(row) for row in result.confusion] == [len(fours) if label == 4 else 0 for label in range(10)]


def test_float32_is_the_same_network(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    result = validate(files["float32"], network, digits[1], "float32")
    assert result.problems == () and result.output_step == 0 and result.clusters is None
    # float32 sums in another order.
    assert result.max_abs_error < 1e-4


@pytest.mark.parametrize("scheme", CONVERTIBLE)
def test_sparsity_and_clusters_survive_in_the_file(
    planted: keras.Model, calibration: np.ndarray, digits: Digits, tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(planted, scheme, calibration).content)
    result = validate(path, planted, digits[1].first(50), scheme, planted_promises(planted))
    assert result.problems == ()
    assert result.clusters is not None and result.clusters <= CLUSTERS
    assert [layer.layer for layer in result.layers] == ["stem", "expand", "depthwise", "project", "last", "logits"]
    assert 0.4 < result.sparsity < 0.6  # half of the planted layers, which hold all but 8 % of the weights


def test_lost_sparsity_and_clusters_are_named(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    promised = Invariants((("expand", 0.5), ("vanished", 0.5)), (("last", CLUSTERS),), (("project", "2:4"),))
    problems = validate(files["full_integer"], network, digits[1].first(50), "full_integer", promised).problems
    assert [problem.split(":")[0] for problem in problems] == [
        "layer expand",
        "layer last",
        "layer project",
        "layer vanished",
    ]
    assert "expected at least 0.5000" in problems[0] and "expected at most 16" in problems[1]
    assert problems[2].endswith("a block of 4 weights has 0 zeros; expected at least 2")


def test_a_model_of_the_wrong_scheme_is_named(files: dict[str, Path], network: keras.Model, digits: Digits) -> None:
    few = digits[1].first(10)
    problems = validate(files["dynamic_range"], network, few, "full_integer").problems
    assert "operator SOFTMAX computes in floating point" in problems
    assert any(problem.startswith("input is float32") for problem in problems)
    problems = validate(files["full_integer"], network, few, "float32").problems
    assert problems == ("input is uint8; expected float32", "output is uint8; expected float32")


def test_quantization_aware_weights_are_found(quantization_aware: keras.Model, digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(quantization_aware, "full_integer").content)
    result = validate(path, quantization_aware, digits[1], "full_integer")
    assert result.problems == ()
    assert [layer.layer for layer in result.layers] == ["stem", "expand", "depthwise", "project", "last", "logits"]
    # Training imitated int8: it may lose the odd image to rounding, not 2 of 100.
    assert result.tflite_accuracy > result.keras_accuracy - 0.02


def test_layers_are_found_by_shape_when_names_are_lost(files: dict[str, Path], network: keras.Model) -> None:
    weights = read(files["float32"]).weights
    nameless = tuple(_renamed(weight) for weight in weights)
    found = weights_by_layer(nameless, network)
    assert {name: weight.values.shape for name, weight in found.items()} == {
        name: weight.values.shape for name, weight in weights_by_layer(weights, network).items() if name in found
    }
    # expand and project have the same sizes, so nobody can tell which is which.
    assert set(found) == {"stem", "depthwise", "last", "logits"}


def _renamed(weight):  # type: ignore[no-untyped-def]
    return type(weight)("const", "", weight.operator, weight.values, weight.zero_point, weight.channel_axis)
