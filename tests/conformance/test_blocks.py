"""Every block of BLOCKS (search.blocks) from its line of grammar to LiteRT; a new one joins by its line in EXAMPLES.

In a small network of its own, so that a failure names it: grammar and JSON, costs of spec, model and .tflite, a step of
training, post-training and quantization-aware full-integer conversion, scores of the integer model against the float
model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from search.arch import ArchSpec
from search.blocks.table import BLOCKS
from search.dataset import ImageSet
from search.grammar import from_text
from tests.conformance import chain

RESOLUTION = 16
# What every network has: bytes to int8 and back, stem, pooling, classifier.
COMMON = {"QUANTIZE", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}


@dataclass(frozen=True)
class Example:
    """A stage and the operators that its .tflite has besides COMMON (`qat`: after quantization-aware training)."""

    stage: str
    operators: tuple[str, ...] = ()
    qat: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Whole:
    """A network and all operators of its .tflite."""

    text: str
    operators: tuple[str, ...]


GATE = ("LOGISTIC", "MUL")
GROUPED = ("STRIDED_SLICE", "CONCATENATION")
SHUFFLE = ("RESHAPE", "TRANSPOSE")
EXAMPLES = {
    "ir": Example("ir_r1_k3_s1_e2_c8_se0.25_swish", ("ADD", "DEPTHWISE_CONV_2D", *GATE)),
    # A hard swish is one operator, and the shift of the hard sigmoid is in a bias: no ADD but that of the skip.
    "ir3": Example("ir3_r1_k5_s2_e2_c16_se0.25_hswish", ("DEPTHWISE_CONV_2D", "HARD_SWISH", "MUL")),
    "irg": Example("irg_r2_k3_s2_e2_c16_g2_relu", ("ADD", "DEPTHWISE_CONV_2D", *GROUPED, *SHUFFLE)),
    "fused": Example("fused_r1_k3_s2_e2_c16_se0.25", GATE),
    "uib": Example("uib_r2_a3_k5_s2_e2_c16", ("ADD", "DEPTHWISE_CONV_2D")),
    "conv": Example("conv_r1_k3_s2_c16_g2_hswish_explicit", ("PAD", "HARD_SWISH", *GROUPED)),
    "ds": Example("ds_r1_k3_s2_c16", ("DEPTHWISE_CONV_2D",)),
    "max": Example("max_r1_k3_s2_explicit", ("PAD", "MAX_POOL_2D")),
    "avg": Example("avg_r1_k2_s2_valid", ("AVERAGE_POOL_2D",)),
    "id": Example("id_r2_s2_c24"),
    # No convolution can take this one in. As a depthwise convolution of ones its channels have scales of their own.
    "bn": Example("max_r1_k3_s2+bn_r1_relu", ("MAX_POOL_2D", "MUL", "ADD"), ("MAX_POOL_2D", "DEPTHWISE_CONV_2D")),
    "basic": Example("basic_r1_k3_s2_c16_relu", ("ADD",)),
    "basic8": Example("basic8_r1_k3_s2_c16_relu", ("ADD",)),
    "bottleneck": Example("bottleneck_r1_k3_s1_c16_relu", ("ADD",)),
    "fire": Example("fire_r1_k3_c16_relu", ("CONCATENATION",)),
    "shuffle1": Example(
        "shuffle1_r2_k3_s2_c16_g2_relu", ("ADD", "AVERAGE_POOL_2D", "DEPTHWISE_CONV_2D", "RELU", *GROUPED, *SHUFFLE)
    ),
    "shuffle2": Example("shuffle2_r2_k3_s2_c16_relu", ("DEPTHWISE_CONV_2D", *GROUPED, *SHUFFLE)),
    "shufflex": Example("shufflex_r2_k3_s2_c16_relu", ("DEPTHWISE_CONV_2D", *GROUPED, *SHUFFLE)),
    # Edge by edge: 1x1, skip, 3x3, pooling, none, skip.
    "cell": Example("cell_r1_c8_x213401", ("ADD", "AVERAGE_POOL_2D", "RELU")),
    "reduce": Example("reduce_r1_c16", ("ADD", "AVERAGE_POOL_2D", "RELU")),
}
# What the blocks alone do not have: norms, stems, heads.
WHOLE = {
    "no norm, flatten, hidden layer": Whole(
        "input_r16_n4_w1_nobn stem_s2_c8 conv_r1_k3_s2_c16_relu head_c0_u16_relu_flatten",
        ("QUANTIZE", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"),
    ),
    "bias and norm, linear head": Whole(
        "input_r16_n4_w1_biasbn stem_s1_c8_swish ds_r1_k3_s2_c16_relu head_c16_linear",
        (*COMMON, *GATE, "DEPTHWISE_CONV_2D"),
    ),
    "normalized hidden layer": Whole(
        "input_r16_n4_w1 stem_s2_c8_hswish id_r1_s1_c8 head_c24_u16_hswish_unorm", (*COMMON, "HARD_SWISH")
    ),
    "absolute widths": Whole(
        "input_r16_n4_w1 stem_s2_c8 ir3_r1_k3_s1_h12_c8_q4 bottleneck_r1_k3_s1_h6_c8_relu fire_r1_k3_h3_c16 "
        "shuffle2_r1_k3_s1_h20_c16_relu head_c0",
        (*COMMON, "DEPTHWISE_CONV_2D", "ADD", "MUL", *GROUPED, *SHUFFLE),
    ),
    "pooled scores": Whole(
        "input_r16_n4_w1 stem_s2_c8 fire_r1_k3_c16_relu head_c0_relu_scores",
        ("QUANTIZE", "CONV_2D", "CONCATENATION", "MEAN", "SOFTMAX"),
    ),
}


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return chain.easy_images(chain.TRAIN_IMAGES, RESOLUTION, seed=1)


@pytest.fixture(scope="module")
def test_images() -> ImageSet:
    return chain.easy_images(chain.TEST_IMAGES, RESOLUTION, seed=2)


def network_of(stage: str) -> ArchSpec:
    return from_text(f"input_r{RESOLUTION}_n{chain.NUM_CLASSES}_w1 stem_s2_c8 {stage} head_c0")


def test_every_block_has_an_example() -> None:
    assert set(EXAMPLES) == set(BLOCKS)
    for op, example in EXAMPLES.items():
        assert op in {block.op for block in network_of(example.stage).stages[0].blocks}


@pytest.mark.parametrize("op", EXAMPLES)
def test_block(op: str, images: ImageSet, test_images: ImageSet, tmp_path: Path) -> None:
    example = EXAMPLES[op]
    trained_aware = example.operators if example.qat is None else example.qat
    check(
        network_of(example.stage),
        COMMON | {*example.operators},
        COMMON | {*trained_aware},
        images,
        test_images,
        tmp_path,
    )


@pytest.mark.parametrize("name", WHOLE)
def test_stems_heads_and_norms(name: str, images: ImageSet, test_images: ImageSet, tmp_path: Path) -> None:
    operators = {*WHOLE[name].operators}
    check(from_text(WHOLE[name].text), operators, operators, images, test_images, tmp_path)


def check(arch: ArchSpec, ptq: set[str], qat: set[str], images: ImageSet, test: ImageSet, directory: Path) -> None:
    chain.assert_texts(arch)
    model = chain.taught(arch, images)
    converted = chain.full_integer(model, images, directory / "ptq.tflite")
    assert {*chain.operators(converted)} == ptq
    chain.assert_equals_cost(converted, arch, model)
    chain.assert_integer(converted)
    chain.assert_agrees(converted, model, test)
    trained_aware = chain.quantization_aware(model, images, steps=1)
    converted = chain.full_integer(trained_aware, images, directory / "qat.tflite")
    assert {*chain.operators(converted)} == qat
    chain.assert_integer(converted)
    chain.assert_agrees(converted, model, test)
