"""Where the quantize pass puts ranges, which of them are equal, and that passes and storage take the custom layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.finetune import FineTune
from compress.invariants import Invariants, observe, plain_name, short_name
from compress.passes import PASSES
from compress.passes.contract import CompressPass
from compress.passes.quantize import Quantize
from compress.passes.quantize_plan import QuantizePlan, plan_of
from compress.recipe import CompressConfig, parse_recipe
from compress.settings import QuantizeSettings
from compress.storage import copy_of, load_model, save_model
from core.errors import CandidateError
from core.registry import load
from search.build import build
from search.dataset import ImageSet
from search.grammar import from_text
from search.settings import TrainConfig
from search.train import labels_supervision

RESOLUTION = 16
ROOT = Path(__file__).resolve().parents[2]
# Every custom layer: hard swish and sigmoid, swish, slices, shuffles, and a normalization without a convolution.
STAGES = "ir3_r1_k3_s1_e2_c8_se0.25_hswish ir_r1_k3_s1_e2_c8_se0.25_swish shuffle2_r1_k3_s1_c8 max_r1_k3_s2+bn_r1_relu"


@pytest.fixture(scope="module")
def fine_tune() -> FineTune:
    images = np.random.default_rng(0).integers(0, 256, (32, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    train = ImageSet(images, (np.arange(32) % 3).astype(np.int32), np.arange(32))
    return FineTune(train, labels_supervision(3), TrainConfig(epochs=1, batch_size=32), "none", seed=1)


def network(stages: str, stem: str = "stem_s2_c8") -> keras.Model:
    reset(1)
    return build(from_text(f"input_r{RESOLUTION}_n3_w1 {stem} {stages} head_c0"))


def plan(stages: str, stem: str = "stem_s2_c8") -> QuantizePlan:
    return plan_of(network(stages, stem))


def test_what_the_converter_fuses_has_no_range() -> None:
    found = plan("basic_r1_k3_s1_c8_relu").ranges
    # Convolution, normalization and ReLU are one operator; so are the addition and its ReLU.
    assert found == {"stem_relu6", "s0_b0_1_relu", "s0_b0_2_bn", "s0_b0_relu", "pool", "logits"}


def test_gates() -> None:
    found = plan("ir3_r1_k3_s1_e2_c8_se0.25_hswish").ranges
    # The hard sigmoid's shift goes into the bias of the convolution before it; a hard swish needs its input's range.
    assert "s0_b0_se_expand" not in found
    assert {"s0_b0_se_hard_sigmoid", "s0_b0_dw_bn", "s0_b0_dw_hswish", "s0_b0_se_multiply"} <= found


def test_values_passed_on_share_a_range() -> None:
    found = plan("shuffle2_r2_k3_s2_c16_relu")
    # The first unit's halves are concatenated, shuffled and sliced; one slice is concatenated again.
    assert found.shared == (("s0_b0_2_relu", "s0_b0_pass_relu", "s0_b1_2_relu"),)
    assert not {name for name in found.ranges if "concat" in name or "shuffle" in name or "slice" in name}


def test_the_image_keeps_its_range() -> None:
    found = plan("shuffle1_r1_k3_s2_c16_g1_relu", stem="stem_s1_c0")
    assert "s0_b0_concat" in found.ranges  # the pooled image stays 0..1, so this is made anew
    assert found.shared == ()


def test_normalization_without_convolution() -> None:
    assert plan("max_r1_k3_s2+bn_r1_relu").lone_norms == {"s0_b1_bn"}
    assert plan("conv_r1_k3_s1_c8_linear+bn_r1_relu").lone_norms == frozenset()


def test_shared_ranges_are_equal_after_training(fine_tune: FineTune) -> None:
    model = network("shuffle2_r2_k3_s2_c16_relu")
    (group,) = plan_of(model).shared
    quantize = Quantize(QuantizeSettings())
    wrapped = quantize.wrap(model, Invariants(), fine_tune)
    assert len({output_range(wrapped, name) for name in group}) == 1
    wrapped(fine_tune.train.rgb().astype(np.float32), training=True)  # brighter than any image: each moves its own way
    assert len({output_range(wrapped, name) for name in group}) > 1
    stripped = quantize.strip(wrapped)
    assert len({output_range(stripped, name) for name in group}) == 1


def output_range(wrapped: keras.Model, name: str) -> tuple[float, float]:
    (layer,) = (layer for layer in wrapped.layers if plain_name(layer) == name)
    found = {short_name(variable): float(variable) for variable in layer.weights if not variable.shape.rank}
    return found["output_min"], found["output_max"]


def test_kernels_have_their_ranges_without_a_step_of_training(fine_tune: FineTune) -> None:
    """Depthwise kernels have one for each channel, which tfmot's do not."""
    model = network("ds_r1_k3_s1_c8")
    kernel = np.abs(model.get_layer("s0_b0_dw").depthwise_kernel.numpy()).max(axis=(0, 1, 3))
    wrapped = Quantize(QuantizeSettings()).wrap(model, Invariants(), fine_tune)
    (layer,) = (layer for layer in wrapped.layers if plain_name(layer) == "s0_b0_dw")
    found = {short_name(variable): variable.numpy() for variable in layer.weights}
    np.testing.assert_array_equal(found["depthwise_kernel_max"], kernel)
    np.testing.assert_array_equal(found["depthwise_kernel_min"], -kernel)


def test_all_passes_and_storage_take_the_custom_layers(fine_tune: FineTune, tmp_path: Path) -> None:
    model = network(STAGES)
    pixels = fine_tune.train.rgb().astype(np.float32) / 255
    layers = {state.layer for state in observe(model)}
    for spec in parse_recipe("prune+cluster:8+qat", CompressConfig()).passes:
        compress_pass: CompressPass = load(PASSES, spec.name, "pass")(spec.settings)
        wrapped = compress_pass.wrap(model, Invariants(), fine_tune)
        assert np.isfinite(wrapped(pixels)).all()
        model = copy_of(compress_pass.strip(wrapped))
        assert {state.layer for state in observe(model)} == layers, spec.name
    save_model(model, tmp_path)
    np.testing.assert_array_equal(load_model(tmp_path)(pixels), model(pixels))
    # A process that imports nothing but the storage knows the layers too.
    program = f"from compress.storage import load_model; load_model(__import__('pathlib').Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_an_activation_without_an_integer_form_is_refused_by_name() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Activation("gelu", name="bend")(keras.layers.Conv2D(4, 1)(image))
    with pytest.raises(CandidateError, match="layer 'bend' \\(Activation\\) cannot be trained quantization-aware"):
        plan_of(keras.Model(image, x))
