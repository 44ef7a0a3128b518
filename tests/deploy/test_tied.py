"""A tied table in .tflite files: once in float, and in int8 once after `with_one_table`."""

from __future__ import annotations

from core.keras_env import keras, reset, tf

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from compress.tying import TiedEmbedding
from core.quiet import quiet_stderr
from deploy.interpreter import open_interpreter
from deploy.merge import merge_buffers
from deploy.tied import with_one_table
from tests.deploy.conftest import constant_bytes

ROWS, UNITS, WINDOW = 20, 32, 5


def language_model(*, tied: bool, use_bias: bool = True, convolution: bool = False) -> keras.Model:
    """Lookup, [a convolution, before which the rows are padded and reshaped,] pool, two dense layers."""
    reset(1)
    tokens = keras.Input((WINDOW,), dtype="int32", name="tokens")
    table = TiedEmbedding(ROWS, UNITS, use_bias=use_bias, name="table")
    x = table(tokens)
    if convolution:
        x = keras.layers.Conv1D(UNITS, 3, padding="causal", name="conv")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    x = keras.layers.Dense(UNITS, activation="relu", name="hidden")(x)
    end = table(x, reverse=True) if tied else keras.layers.Dense(ROWS, use_bias=use_bias, name="end")(x)
    model = keras.Model(tokens, end)
    for variable in model.weights:
        if "bias" in variable.name:
            variable.assign(np.random.default_rng(5).normal(size=variable.shape) * 0.1)
    return model


def converted(model: keras.Model, *, full_integer: bool) -> bytes:
    signature = [tf.TensorSpec((1, WINDOW), tf.int32, name="tokens")]
    function = tf.function(lambda tokens: model(tokens, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    if full_integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_output_type = tf.int8
        converter.representative_dataset = lambda: ([tokens[None]] for tokens in some_tokens())
    with quiet_stderr():
        return bytes(converter.convert())


def some_tokens() -> np.ndarray:
    return np.random.default_rng(2).integers(0, ROWS, (60, WINDOW)).astype(np.int32)


def scores(content: bytes) -> tuple[np.ndarray, float]:
    """The real outputs of the tokens above, and the step of their quantization."""
    interpreter = open_interpreter(content)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = outputs["quantization"]
    rows = []
    for tokens in some_tokens():
        interpreter.set_tensor(inputs["index"], tokens[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(outputs["index"])[0].astype(np.float32))
    return (np.array(rows) - zero_point) * (scale or 1.0), scale


def tables(content: bytes) -> list[object]:
    """The buffers of all constants of the table's shape."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    tensors = model.subgraphs[0].tensors
    return [tensor.buffer for tensor in tensors if list(tensor.shape) == [ROWS, UNITS]]


def test_float_model_holds_the_table_once() -> None:
    content = merge_buffers(converted(language_model(tied=True), full_integer=False))
    assert len(set(tables(content))) == 1
    untied = merge_buffers(converted(language_model(tied=False), full_integer=False))
    assert constant_bytes(untied) - constant_bytes(content) == 4 * ROWS * UNITS
    np.testing.assert_allclose(scores(content)[0], language_model(tied=True)(some_tokens()), atol=1e-5)


@pytest.mark.parametrize("convolution", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_int8_model_holds_the_table_once(use_bias: bool, convolution: bool) -> None:
    model = language_model(tied=True, use_bias=use_bias, convolution=convolution)
    content = converted(model, full_integer=True)
    assert len(set(tables(merge_buffers(content)))) == 2
    one = with_one_table(content)
    assert len(set(tables(one))) == 1
    # The table once less, its scales by row too (4 bytes each, in tables outside the constants).
    assert constant_bytes(merge_buffers(content)) - constant_bytes(one) == ROWS * UNITS
    assert len(one) <= len(content) - ROWS * UNITS
    before, step = scores(content)
    after, same_step = scores(one)
    assert step == same_step
    # The weights are rounded again, to the scale of the largest row: as far from the float scores as before, or nearly.
    expected = model(some_tokens()).numpy()
    assert np.sqrt(np.mean((after - expected) ** 2)) <= 1.5 * np.sqrt(np.mean((before - expected) ** 2)) + step
    assert np.corrcoef(after.ravel(), expected.ravel())[0, 1] > 0.99
    assert with_one_table(one) == one


def test_no_weight_is_minus_128() -> None:
    one = with_one_table(converted(language_model(tied=True), full_integer=True))
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(one))
    values = np.asarray(model.buffers[tables(one)[0]].data, np.uint8).view(np.int8)
    assert values.min() == -127 or values.max() == 127
    assert values.min() >= -127


def test_other_tables_are_left_alone() -> None:
    """The same shape, but not the same numbers: an untied model's files are only merged."""
    content = converted(language_model(tied=False), full_integer=True)
    assert with_one_table(content) == merge_buffers(content)
    # A Dense kernel is transposed in the file, so it has the table's shape.
    assert len(set(tables(content))) == 2


def test_lookups_that_are_outputs_are_left_alone() -> None:
    """Their scale is part of the model's interface."""
    model = flatbuffer_utils.convert_bytearray_to_object(
        bytearray(converted(language_model(tied=True), full_integer=True))
    )
    graph = model.subgraphs[0]
    graph.outputs = [*graph.outputs, graph.operators[0].outputs[0]]  # the first operator is the lookup
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert with_one_table(content) == merge_buffers(content)
