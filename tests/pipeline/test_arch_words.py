"""The words of the report's network table: every operator has some, every token a shape."""

from __future__ import annotations

from pipeline.arch_words import _NAMES, network_words
from search.blocks.table import BLOCKS


def test_every_operator_has_a_name():
    assert _NAMES.keys() == BLOCKS.keys()


def test_words_and_shapes_of_a_mixed_network():
    text = (
        "input_r32_n10_w1 stem_s2_c16_hswish id_r1_s1_c16 "
        "ir3_r2_k5_s2_e3_c24_se0.25_hswish+uib_r1_a3_k0_s1_e4_c24_noskip max_r1_k3_s2 head_c64_u32_relu"
    )
    rows = network_words(text)
    assert [token for token, _, _ in rows] == text.split()
    assert [words for _, words, _ in rows] == [
        "RGB image, 10 classes, width multiplier 1",
        "3×3 convolution, stride 2",
        "1 identity",
        "2 MobileNetV3 blocks and 1 universal inverted bottleneck, 5×5 kernel, expansion 3/4, stride 2, "
        "squeeze-excite 0.25",
        "1 maximum pool, 3×3 kernel, stride 2",
        "1×1 convolution, global average pooling, hidden layer of 32, classifier, softmax",
    ]
    assert [shape for _, _, shape in rows] == [
        "32 × 32 × 3",
        "16 × 16 × 16",
        "16 × 16 × 16",  # an identity has no layers of its own
        "8 × 8 × 24",
        "4 × 4 × 24",
        "1 × 1 × 10",
    ]
