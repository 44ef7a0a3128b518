"""A block alone as a Keras model computes what it does in its network; its file converts no types of its own."""

from __future__ import annotations

from core.keras_env import keras, reset, tf

import numpy as np
import pytest

from core.quiet import quiet_stderr
from search.build import build
from search.grammar import from_text
from search.latency.blocks import BlockKey, block_layers, blocks_of, carrier, io_types, is_chainable
from search.latency.build_block import build_block

NET = "input_r16_n10_w1 stem_s2_c8 ir_r2_k3_s2_e4_c16_se0.25 uib_r1_a3_k5_s1_e2_c16_noskip head_c24_u12_hswish"
KEYS = blocks_of(from_text(NET), "int8")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.text)
def test_a_block_computes_what_it_does_in_its_network(key):
    reset(seed=1)
    model = build_block(key)
    assert model.input_shape[1:] == key.input_shape
    reset(seed=1)  # the same weights again
    whole = build(carrier(key))
    before = block_layers(key)
    own = {layer.name for layer in before}
    names = [layer.name for layer in whole.layers]
    first, last = min(names.index(name) for name in own - {"image"}), before[-1].name
    inner = keras.Model(whole.input, [whole.layers[first].input, whole.get_layer(last).output])
    images = np.random.default_rng(0).random((2, *whole.input_shape[1:]), dtype=np.float32)
    given, expected = inner(images)
    expected = tf.nn.softmax(expected) if key.part == "head" else expected
    np.testing.assert_array_equal(model(given), expected)


def test_copies_have_weights_of_their_own():
    key = next(key for key in KEYS if is_chainable(key))
    assert build_block(key, copies=3).count_params() == 3 * build_block(key).count_params()


@pytest.mark.parametrize("key", [KEYS[0], KEYS[1], KEYS[-1]], ids=lambda key: key.part)
def test_an_int8_file_converts_types_only_where_the_network_does(key):
    # The stem's and the head's conversion of uint8 are among the network's own operators.
    expected = {"stem": 1, "block": 0, "head": 1}[key.part]
    names = operators(int8_file(key))
    assert names.count("QUANTIZE") == expected
    assert "DEQUANTIZE" not in names
    assert (names[-2:] == ["SOFTMAX", "QUANTIZE"]) == (key.part == "head")


def int8_file(key: BlockKey) -> bytes:
    """The block converted as docs say that a caller should."""
    model, shape = build_block(key), (1, *key.input_shape)
    function = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_lower_to_saved_model = False
    random = np.random.default_rng(0)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([random.random(shape, dtype=np.float32)] for _ in range(2))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = map(tf.dtypes.as_dtype, io_types(key))
    with quiet_stderr():
        return bytes(converter.convert())


def operators(content: bytes) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=content)._get_ops_details()
    return [item["op_name"] for item in details if item["op_name"] != "DELEGATE"]
